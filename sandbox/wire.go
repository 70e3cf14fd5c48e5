package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Names under which this program runs itself (argv[0]); Main tells them apart.
const (
	initName   = "release-sandbox"
	usernsName = "release-userns"
)

// Descriptors that every init inherits. The spec tells the numbers of the others.
const (
	fdChannel = 3 // SOCK_SEQPACKET to the starter
	fdSpec    = 4 // memory file with the JSON of an initSpec
)

// initSpec is what the init is told. It travels in memory only, since the environment may hold secrets.
type initSpec struct {
	Root      Root
	Command   []string
	Env       []string
	Dir, User string
	Hostname  string
	Network   Network
	Mounts    []Mount
	Fixed     bool
	Detached  bool
	Terminal  bool // attached to the starter's terminal
	LogBytes  int64
	LogKeep   int

	// Numbers of inherited descriptors; 0 is none.
	DirFD     int // detached: the state folder
	ControlFD int // detached: the listening control socket
	EventsFD  int // detached: where the kernel counts kills for lack of memory
	JoinFD    int // the cgroup file to which the thread that starts the command writes itself
}

// message is one packet on the channel or a control connection.
type message struct {
	// From the starter or a client.
	Go     bool         `json:"go,omitempty"`
	Signal int          `json:"signal,omitempty"`
	Info   bool         `json:"info,omitempty"`
	Exec   *execRequest `json:"exec,omitempty"`

	// From the init.
	Started bool   `json:"started,omitempty"` // the sender's credentials carry the PID
	Exit    *Exit  `json:"exit,omitempty"`
	Error   string `json:"error,omitempty"`
}

type execRequest struct {
	Command []string
	Env     []string // added to the command's own
	TTY     bool
	Columns int
	Rows    int
}

// errClosed: the other side is gone.
var errClosed = errors.New("the other side closed the connection")

// maxPacket bounds a packet; the kernel's default send buffer takes as much.
const maxPacket = 160 << 10

// packetConn sends and receives messages with descriptors and a PID.
type packetConn struct{ c *net.UnixConn }

func newPacketConn(f *os.File) (*packetConn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("open channel: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		_ = c.Close()
		return nil, errors.New("open channel: not a unix socket")
	}
	return &packetConn{u}, nil
}

// send sends a message; pid, when not 0, is a process of the sender's PID namespace that the receiver gets to see in
// its own numbering.
func (p *packetConn) send(m message, pid int, files ...int) error {
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	if len(data) > maxPacket {
		return fmt.Errorf("send message: %d bytes are more than the %d that fit", len(data), maxPacket)
	}
	var oob []byte
	if pid != 0 {
		oob = append(oob, unix.UnixCredentials(&unix.Ucred{Pid: int32(pid)})...)
	}
	if len(files) > 0 {
		oob = append(oob, unix.UnixRights(files...)...)
	}
	if _, _, err := p.c.WriteMsgUnix(data, oob, nil); err != nil {
		return fmt.Errorf("send message: %w", err)
	}
	return nil
}

// receive waits for a message. The PID is 0 when none came along; descriptors are the caller's to close.
func (p *packetConn) receive() (m message, pid int, files []*os.File, err error) {
	data := make([]byte, maxPacket)
	oob := make([]byte, 512)
	n, oobn, _, _, err := p.c.ReadMsgUnix(data, oob)
	if err != nil || n == 0 {
		if err == nil || errors.Is(err, io.EOF) {
			err = errClosed
		}
		return message{}, 0, nil, fmt.Errorf("receive message: %w", err)
	}
	pid, files = ancillary(oob[:oobn])
	if err := json.Unmarshal(data[:n], &m); err != nil {
		closeAll(files)
		return message{}, 0, nil, fmt.Errorf("decode message: %w", err)
	}
	return m, pid, files, nil
}

// passCredentials makes received messages carry the sender's PID.
func (p *packetConn) passCredentials() error {
	raw, err := p.c.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = raw.Control(func(fd uintptr) {
		serr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	})
	return errors.Join(err, serr)
}

func (p *packetConn) close() { _ = p.c.Close() }

func ancillary(oob []byte) (pid int, files []*os.File) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, nil
	}
	for i := range msgs {
		if cred, err := unix.ParseUnixCredentials(&msgs[i]); err == nil {
			pid = int(cred.Pid)
		}
		if fds, err := unix.ParseUnixRights(&msgs[i]); err == nil {
			for _, fd := range fds {
				unix.CloseOnExec(fd)
				files = append(files, os.NewFile(uintptr(fd), "received"))
			}
		}
	}
	return pid, files
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
