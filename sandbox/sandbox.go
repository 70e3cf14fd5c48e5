// Package sandbox runs one command isolated in a root file system: the run steps of a bake and the nodes of the
// sandbox driver. It needs no daemon, no container engine and no privileges beyond user namespaces.
//
// A sandbox is one re-execution of this program: Start clones it into fresh user, mount, pid, ipc, uts (and net)
// namespaces, where it is PID 1, the init. The init mounts an overlay as its root, gives up what the command
// must not have, starts the command as its child and stays: it reaps, forwards signals, and for a detached
// sandbox keeps the output in files, writes the exit status and answers on a control socket. All mounts live and
// die with the init: there is nothing to unmount, and killing the init ends every process of the sandbox.
//
// Every program that uses this package calls Main first thing in main, and test binaries in TestMain.
//
// # The folder of a detached sandbox
//
//	log, log.1, log.2 …   output, newest in log: "RFC3339Nano stream text\n", stream is out or err; appended only
//	exit                  JSON of Exit, written whole when the command has ended
//	control.sock          SOCK_SEQPACKET: one request and its answers a connection, see control.go
//	init.err              what the init itself had to say, usually empty
package sandbox

import (
	"io"

	"github.com/bootandshoot/release/sandbox/internal/guest"
)

// What the inside of a sandbox is told, and says, in the same words.
type (
	// Network is what a sandbox sees of the network.
	Network = guest.Network
	// Mount is something of the host, or a fresh tmpfs, at a place in the sandbox.
	Mount = guest.Mount
	// Root is an overlay: what the sandbox writes lands in Upper, Lower is never changed.
	Root = guest.Root
	// Exit is how the command ended.
	Exit = guest.Exit
)

const (
	// HostNetwork shares the machine's network.
	HostNetwork = guest.HostNetwork
	// NoNetwork is a network namespace with nothing but its own loopback.
	NoNetwork = guest.NoNetwork
	// OwnNetwork is a network namespace that the caller fits out, through /proc/PID/ns/net, in Spec.Prepare.
	OwnNetwork = guest.OwnNetwork
)

// Limits bounds a sandbox where the cgroup tree is writable. Zero means no limit.
type Limits struct {
	CPUs   float64 // cores
	Memory int64   // bytes
	Pids   int64   // processes and threads
}

// Spec describes a sandbox.
type Spec struct {
	Root     Root
	Command  []string // the program is looked up in PATH of Env inside the root
	Env      []string // the whole environment, "K=V"
	Dir      string   // working folder inside; "": "/"; made when missing
	User     string   // "", "name", "uid", "name:group", "uid:gid"; names are looked up in the root's passwd and group
	Hostname string
	Network  Network // "": NoNetwork
	Mounts   []Mount
	Limits   Limits
	// CgroupName names the sandbox's group below our own part of the cgroup tree; "": no group, no limits.
	CgroupName string
	// Fixed makes all that the command can see the same on every machine: host name "release", one CPU, fixed
	// figures in /proc, no /sys. Bakes use it.
	Fixed bool
	// Emulator, when set, is the text of Emulator, for programs of another architecture.
	Emulator string

	// Attached sandboxes: where the command's streams go; nil is /dev/null. The end of ctx kills the sandbox.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// TTY, when set, gives the command of an attached sandbox a terminal of its own: Stdin goes to it, and all output of the
	// command comes on Stdout.
	TTY *TTY

	// Control, when set, is a folder in which an attached sandbox answers on a control socket too, for ControlOf.
	Control string

	// Detach, when set, makes a sandbox that outlives this process and ctx.
	Detach *Detach
	// Prepare, when set, is called once the sandbox exists and before the command starts: to fit out its network
	// and to note its PID. An error, or the death of this process meanwhile, ends the sandbox unstarted.
	Prepare func(p *Process) error
}

// TTY is the size of a terminal, at the start and later, in columns and rows. Resize may be nil.
type TTY struct {
	Columns, Rows int
	Resize        <-chan [2]int
}

// Detach is the place of a detached sandbox.
type Detach struct {
	Dir      string // folder of its own; see the package's documentation
	LogBytes int64  // size at which log is rotated; 0: 8 MiB
	LogKeep  int    // rotated files kept; 0: 2
}
