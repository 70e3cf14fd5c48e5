package sandbox

import (
	"context"
	"errors"
)

var errSoon = errors.New("sandbox: not there yet")

// Process is a running sandbox.
type Process struct {
	PID       int    // of the init, in the caller's numbering
	StartTime uint64 // of the init, in clock ticks since boot: with PID and BootID names the process for ever
	BootID    string
	Command   int // PID of the command, in the caller's numbering; 0 before it is started
}

// Start starts a sandbox and returns once its command is started (or could not be: Wait says so).
func Start(ctx context.Context, s Spec) (*Process, error) { return nil, errSoon }

// Wait waits for the end of the sandbox.
func (p *Process) Wait() (Exit, error) { return Exit{}, errSoon }

// Run starts an attached sandbox and waits for its end; the end of ctx kills it.
func Run(ctx context.Context, s Spec) (Exit, error) { return Exit{}, errSoon }

// Main runs the sandbox init if this process is one, and then never returns; else it returns false at once.
func Main() bool { return false }

// EnterUserNamespace gives an ordinary user's process all the ids that the user may use, by running it again.
func EnterUserNamespace(args []string) (entered bool, exitCode int, err error) { return false, 0, nil }

// HostUID is the user id that this process has outside of any user namespace that it entered.
func HostUID() int { return 0 }

// Problem is something that keeps sandboxes from working, or from working fully.
type Problem struct{ What, Why, Hint string }

// Support is what this machine lets this process do.
type Support struct {
	Rootless                            bool // an ordinary user's process
	FullRange                           bool // 65,536 ids are at hand
	UserNamespaces, Overlay             bool
	NetNamespaces                       bool // nodes can have a network of their own
	CgroupMemory, CgroupCPU, CgroupPids bool
	Problems                            []Problem
}

// Probe tries out what this machine lets this process do.
func Probe(ctx context.Context) Support { return Support{} }
