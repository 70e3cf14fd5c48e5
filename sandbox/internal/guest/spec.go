package guest

import "time"

// InitName is what the starter calls this program (argv[0]) to make it an init.
const InitName = "release-sandbox"

// Descriptors that every init inherits. The spec tells the numbers of the others.
const (
	FDChannel = 3 // SOCK_SEQPACKET to the starter
	fdSpec    = 4 // memory file with the JSON of a Spec
)

// Network is what a sandbox sees of the network.
type Network string

const (
	// HostNetwork shares the machine's network.
	HostNetwork Network = "host"
	// NoNetwork is a network namespace with nothing but its own loopback.
	NoNetwork Network = "none"
	// OwnNetwork is a network namespace that the starter fits out before the command starts.
	OwnNetwork Network = "own"
)

// Mount is something of the host, or a fresh tmpfs, at a place in the sandbox.
type Mount struct {
	Source   string // file or folder of the host; ignored for a tmpfs
	Target   string // absolute path inside; made when missing, without a trace in Root.Upper
	ReadOnly bool
	Tmpfs    bool
	Size     int64 // of a tmpfs, in bytes; 0: 64 MiB
	// Memory makes a file with this Content that lies on no disk: mode 0400, owned by the command's user.
	Memory  bool
	Content []byte
}

// Root is an overlay: what the sandbox writes lands in Upper, Lower is never changed.
type Root struct {
	Lower []string // folders, topmost first; at least one
	Upper string   // folder
	Work  string   // empty folder on the file system of Upper
}

// Exit is how the command ended.
type Exit struct {
	Code   int       `json:"code"`             // exit code; 128 + signal; 126 or 127 when it could not start
	Signal string    `json:"signal,omitempty"` // name without SIG, if a signal ended it
	Reason string    `json:"reason,omitempty"` // for people: "out of memory", "could not start: …"
	At     time.Time `json:"at"`
}

// OutOfMemory is the reason of an exit that the kernel brought about for lack of memory.
const OutOfMemory = "out of memory"

// Spec is what the init is told. It travels in memory only, since the environment may hold secrets.
type Spec struct {
	Root      Root
	Command   []string
	Env       []string
	Dir, User string
	Hostname  string
	Network   Network
	Mounts    []Mount
	Fixed     bool
	Emulator  string // line for the kernel's binfmt_misc; "" for none
	Detached  bool
	Terminal  bool // attached to the starter's terminal
	TTY       bool // attached: a terminal of the sandbox's own, whose other end goes to the starter
	Columns   int  // with TTY
	Rows      int  // with TTY
	LogBytes  int64
	LogKeep   int

	// Numbers of inherited descriptors; 0 is none.
	DirFD     int // detached: the state folder
	ControlFD int // the listening control socket; always there when detached
	EventsFD  int // detached: where the kernel counts kills for lack of memory
	JoinFD    int // the cgroup file to which the thread that starts the command writes itself
}

// Message is one packet on the channel or a control connection.
type Message struct {
	// From the starter or a client.
	Go     bool         `json:"go,omitempty"`
	Signal int          `json:"signal,omitempty"`
	Info   bool         `json:"info,omitempty"`
	Exec   *ExecRequest `json:"exec,omitempty"`

	// From the init.
	Started bool   `json:"started,omitempty"` // the sender's credentials carry the PID
	Exit    *Exit  `json:"exit,omitempty"`
	Error   string `json:"error,omitempty"`
}

// ExecRequest is a command to run beside.
type ExecRequest struct {
	Command []string
	Env     []string // added to the command's own
	User    string   // "": that of the command
	TTY     bool
	Columns int
	Rows    int
}
