package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/fault"
)

// An upgrade: the successor inherits, from descriptor 3 on, a socket to its predecessor and the files that
// inheritance.Names names; handoffVar holds the inheritance as JSON. On the socket they agree on whose turn it is (handoffturn.go);
// from then on the successor is the client there, and the predecessor serves successorRoutes. Closing the socket says that
// the predecessor's last counters were read.
const (
	handoffVar     = "RELEASE_ROUTER_HANDOFF"
	handoffSchema  = 1
	firstFd        = 3
	askPatience    = 2 * time.Second // for one question to the predecessor
	showPatience   = 5 * time.Second // for the successor's status, after the handover
	apiPatience    = 2 * time.Second // for requests to the control API when the process ends after a handover
	absorbPatience = 10 * time.Second
	nameLock       = "lock"
	nameControl    = "control"
	nameMetrics    = "metrics"
	nameIdle       = "idle"
	nameRoute      = "route " // and the listen address
	nameGiven      = "given " // and the service manager's name of a socket that is its own
)

// inheritance is what a successor gets.
type inheritance struct {
	Schema   int      `json:"schema"`
	Instance string   `json:"instance"`
	Edge     string   `json:"edge,omitempty"`  // its name, which may not be on disk
	Names    []string `json:"names"`           // of the descriptors from firstFd+1 on
	Turns    bool     `json:"turns,omitempty"` // the predecessor says when it is the successor's turn

	peer    net.Conn
	lock    *os.File
	control *net.UnixListener
	metrics *net.TCPListener
	idle    *net.UnixConn // where idle connections come from; nil: an older program hands none over
	routes  map[string]*net.TCPListener
	given   []given
}

// inherited is what this process got from a predecessor, or nil.
func inherited() (*inheritance, error) {
	text := os.Getenv(handoffVar)
	if text == "" {
		return nil, nil
	}
	if err := os.Unsetenv(handoffVar); err != nil {
		return nil, fmt.Errorf("take over from predecessor: %w", err)
	}
	in := &inheritance{routes: map[string]*net.TCPListener{}}
	if err := json.Unmarshal([]byte(text), in); err != nil {
		return nil, fmt.Errorf("take over from predecessor: %w", err)
	}
	if in.Schema != handoffSchema {
		return nil, fault.New(fault.Unsupported, "take over from predecessor: it speaks schema %d, this program %d", in.Schema, handoffSchema)
	}
	peer := os.NewFile(firstFd, "predecessor")
	conn, err := net.FileConn(peer)
	_ = peer.Close()
	if err != nil {
		return nil, fmt.Errorf("take over from predecessor: %w", err)
	}
	in.peer = conn
	for i, name := range in.Names {
		if err := in.take(name, os.NewFile(uintptr(firstFd+1+i), name)); err != nil {
			return nil, fmt.Errorf("take over %s from predecessor: %w", name, err)
		}
	}
	if in.lock == nil || in.control == nil {
		return nil, errors.New("take over from predecessor: it gave no lock or control socket")
	}
	return in, nil
}

func (in *inheritance) take(name string, f *os.File) error {
	if name == nameLock {
		unix.CloseOnExec(int(f.Fd()))
		in.lock = f
		return nil
	}
	if name == nameIdle {
		conn, err := net.FileConn(f)
		_ = f.Close()
		if err == nil {
			in.idle = conn.(*net.UnixConn)
		}
		return err
	}
	if name, is := strings.CutPrefix(name, nameGiven); is {
		g, err := newGiven(name, f)
		in.given = append(in.given, g)
		return err
	}
	l, err := net.FileListener(f)
	_ = f.Close()
	if err != nil {
		return err
	}
	address, isRoute := strings.CutPrefix(name, nameRoute)
	switch l := l.(type) {
	case *net.UnixListener:
		l.SetUnlinkOnClose(false)
		in.control = l
	case *net.TCPListener:
		switch {
		case isRoute:
			in.routes[address] = l
		case name == nameMetrics:
			in.metrics = l
		default:
			_ = l.Close() // of a later program than this
		}
	}
	return nil
}

// inherit keeps sockets that came from a predecessor until there is a table to serve.
func (s *listeners) inherit(routes map[string]*net.TCPListener) {
	for address, ln := range routes {
		s.adopt(address, ln)
	}
}

// upgrade replaces this process by one of exe. Until the successor says that it serves, this one does. One that does not say in time
// that it could is killed, and nothing has changed; one that may serve is waited for as long as it lives.
func (p *process) upgrade(ctx context.Context, exe string) (Status, error) {
	if err := p.replace(ctx, exe); err != nil {
		return Status{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, showPatience)
	defer cancel()
	c := NewClient(p.cfg.Dir)
	defer c.Close()
	return c.Status(ctx)
}

// replace is upgrade but for the successor's status, which is asked for without op.
func (p *process) replace(ctx context.Context, exe string) error {
	p.op.Lock()
	defer p.op.Unlock()
	if p.handed || p.e.draining.Load() || p.isStopping() {
		return fault.New(fault.Busy, "upgrade router: it is stopping or has been upgraded already")
	}
	if exe == "" {
		return fault.New(fault.Invalid, "upgrade router: no executable was named")
	}
	if p.control == nil {
		return fault.New(fault.Failed, "upgrade router: there is no control socket to hand over yet")
	}
	if err := p.e.saveAgain(); err != nil {
		return fmt.Errorf("upgrade router: %w", err)
	}
	ours, idle, cmd, err := p.spawnSuccessor(exe)
	if err != nil {
		return fault.New(fault.Failed, "upgrade router: start %s: %w", exe, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if err := awaitReady(ctx, ours, ended); err != nil {
		_ = cmd.Process.Kill()
		_ = ours.Close()
		idle.close()
		return fault.New(fault.Failed, "upgrade router to %s: %w", exe, err).
			WithHint("the old process goes on; the new one's output is in %s", p.cfg.Dir+"/"+logName)
	}
	p.handOver(ours, idle)
	if err := notify(fmt.Sprintf("MAINPID=%d", cmd.Process.Pid)); err != nil {
		p.log.Error("the service manager does not know the new process", "pid", cmd.Process.Pid, "error", err)
	}
	return nil
}

// spawnSuccessor starts exe with copies of all sockets.
func (p *process) spawnSuccessor(exe string) (net.Conn, *idleSender, *exec.Cmd, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, nil, err
	}
	mine, theirs := os.NewFile(uintptr(pair[0]), "successor"), os.NewFile(uintptr(pair[1]), "predecessor")
	defer theirs.Close()
	conn, err := net.FileConn(mine)
	_ = mine.Close()
	if err != nil {
		return nil, nil, nil, err
	}
	in := inheritance{Schema: handoffSchema, Instance: p.instance, Edge: p.edge, Turns: true}
	files := []*os.File{theirs}
	defer func() {
		for _, f := range files[1:] {
			_ = f.Close()
		}
	}()
	give := func(name string, s syscall.Conn) {
		f, derr := duplicate(s)
		if derr != nil {
			err = errors.Join(err, derr)
			return
		}
		in.Names, files = append(in.Names, name), append(files, f)
	}
	idle, theirIdle, err := idlePair()
	if err != nil {
		_ = conn.Close()
		return nil, nil, nil, err
	}
	in.Names, files = append(in.Names, nameIdle), append(files, theirIdle)
	give(nameLock, p.lock)
	give(nameControl, p.control)
	if p.metrics != nil {
		give(nameMetrics, p.metrics)
	}
	for _, l := range p.e.listeners.all() {
		give(nameRoute+l.address, l.ln)
	}
	for i := range p.e.listeners.given {
		give(nameGiven+p.e.listeners.given[i].name, &p.e.listeners.given[i])
	}
	if err != nil {
		_ = conn.Close()
		_ = idle.Close()
		return nil, nil, nil, err
	}
	cmd, err := startDetached(exe, p.cfg.Args, in.environment(), files, os.Stdout, os.Stderr)
	if err != nil {
		_ = conn.Close()
		_ = idle.Close()
		return nil, nil, nil, err
	}
	return conn, &idleSender{conn: idle}, cmd, nil
}

func (in *inheritance) environment() []string {
	b, _ := json.Marshal(in) // strings and numbers only
	return append(os.Environ(), handoffVar+"="+string(b))
}

// duplicate copies a descriptor for a child. It goes around File(), whose Fd would put the socket that both processes
// share into blocking mode.
func duplicate(s syscall.Conn) (*os.File, error) {
	raw, err := s.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var derr error
	if err := raw.Control(func(old uintptr) { fd, derr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return nil, err
	}
	if derr != nil {
		return nil, derr
	}
	return os.NewFile(uintptr(fd), "inherited"), nil
}

// handOver stops accepting here and hands idle connections over. Others go when they become idle, or, where that cannot
// be, are told with their next answer that they close.
func (p *process) handOver(successor net.Conn, idle *idleSender) {
	p.mu.Lock()
	p.handed = true
	p.mu.Unlock()
	p.leave(false) // the successor has a companion of its own
	p.e.draining.Store(true)
	for _, l := range p.e.listeners.all() {
		l.stop()
	}
	p.e.certs.Close() // the successor obtains and renews
	_ = p.control.Close()
	if p.metrics != nil {
		_ = p.metrics.Close()
	}
	_ = p.lock.Close()
	p.e.successor.Store(idle)
	for _, l := range p.e.listeners.all() {
		l.giveIdle()
	}
	p.successor <- successor
}

func (p *process) handedOver() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.handed
}
