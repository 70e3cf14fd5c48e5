package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/pid1"
)

// ErrNoGo: the starter died, or gave up, before the go-ahead.
var ErrNoGo = errors.New("could not start: the starter ended before the go-ahead")

// guest is the sandbox as its init sees it.
type guest struct {
	spec    Spec
	channel *Conn
	dir     int // descriptor of the state folder; -1 when attached
	user    identity
	env     []string
	spawner *spawner
	log     *logWriter
	master  *os.File // the starter's end of the command's terminal, until it is sent
}

// run is the whole life of a sandbox's init.
func run() {
	// The heap of a start is small and short-lived: it is not worth collecting before the command runs.
	debug.SetGCPercent(-1)
	g, err := openGuest()
	if err != nil {
		fmt.Fprintln(os.Stderr, "sandbox init:", err)
		os.Exit(125)
	}
	if err := g.build(); err != nil {
		g.refuse(err)
	}
	if err := g.awaitGo(); err != nil {
		g.refuse(err)
	}
	exit := g.supervise()
	if g.spec.Detached {
		if err := g.writeExit(exit); err != nil {
			fmt.Fprintln(os.Stderr, "sandbox init:", err)
		}
	} else {
		_ = g.channel.Send(Message{Exit: &exit}, 0)
	}
	os.Exit(exit.Code)
}

func openGuest() (*guest, error) {
	g := &guest{dir: -1}
	channel, err := NewConn(FDChannel)
	if err != nil {
		return nil, err
	}
	g.channel = channel
	spec := os.NewFile(fdSpec, "spec")
	defer spec.Close()
	if err := json.NewDecoder(spec).Decode(&g.spec); err != nil {
		return nil, fmt.Errorf("read spec: %w", err)
	}
	if g.spec.Detached {
		g.dir = g.spec.DirFD
	}
	for _, fd := range []int{g.spec.DirFD, g.spec.ControlFD, g.spec.EventsFD, g.spec.JoinFD} {
		if fd != 0 {
			unix.CloseOnExec(fd)
		}
	}
	return g, closeStrays()
}

// closeStrays closes what the starter had inherited itself without knowing: whatever is not marked close-on-exec and
// not ours. The Go runtime's own descriptors are marked.
func closeStrays() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list descriptors: %w", err)
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= 2 || fd == fdSpec {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd)
		}
	}
	return nil
}

// build makes the world of the command.
func (g *guest) build() error {
	unix.Umask(0o022)
	if err := buildRoot(&g.spec); err != nil {
		return err
	}
	if g.spec.Network != HostNetwork {
		if err := loopbackUp(); err != nil {
			return err
		}
	}
	return nil
}

// awaitGo waits for the starter. End of file means that it died: then nothing of the command may ever run.
func (g *guest) awaitGo() error {
	m, _, files, err := g.channel.Receive()
	CloseAll(files)
	if err != nil || !m.Go {
		return ErrNoGo
	}
	return nil
}

// refuse ends a sandbox whose command never started.
func (g *guest) refuse(err error) {
	_ = g.channel.Send(Message{Error: err.Error()}, 0)
	if g.spec.Detached {
		_ = g.writeExit(Exit{Code: 125, Reason: err.Error(), At: time.Now().UTC()})
	}
	os.Exit(125)
}

// supervise starts the command and waits for its end.
func (g *guest) supervise() Exit {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	main, err := g.startMain()
	if err != nil {
		exit := startFailure(err)
		if g.spec.Detached { // attached: it is told once, when the init ends
			_ = g.channel.Send(Message{Exit: &exit}, 0)
		}
		return exit
	}
	g.tellStarted(main)
	g.letGo(main)
	debug.SetGCPercent(50)
	status := g.loop(signals, main)
	exit := exitOf(status)
	if g.spec.EventsFD != 0 && exit.Code != 0 && OOMKills(g.spec.EventsFD) > 0 {
		exit.Reason = OutOfMemory
	}
	g.endOthers()
	return exit
}

// tellStarted hands the terminal over, if there is one.
func (g *guest) tellStarted(main *child) {
	if g.master == nil {
		_ = g.channel.Send(Message{Started: true}, main.pid)
		return
	}
	_ = g.channel.Send(Message{Started: true}, main.pid, int(g.master.Fd()))
	_ = g.master.Close()
}

// letGo drops what ties a detached sandbox to its starter; an attached one dies with it.
func (g *guest) letGo(main *child) {
	if g.spec.Detached {
		g.channel.Close()
		go g.serveControl(main)
		return
	}
	if g.spec.ControlFD != 0 {
		go g.serveControl(main)
	}
	go func() {
		_, _, files, _ := g.channel.Receive()
		CloseAll(files)
		os.Exit(137)
	}()
}

// loop reaps and forwards signals until the command ended.
func (g *guest) loop(signals <-chan os.Signal, main *child) syscall.WaitStatus {
	g.spawner.reap()
	for {
		select {
		case status := <-main.ended:
			return status
		case s := <-signals:
			g.onSignal(s.(syscall.Signal), main)
		}
	}
}

func (g *guest) onSignal(s syscall.Signal, main *child) {
	if s == unix.SIGCHLD {
		g.spawner.reap()
	}
	if pid1.Incidental(s) {
		return
	}
	switch s {
	case unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP, unix.SIGWINCH:
		if !g.spec.Terminal { // a terminal has sent it to the command already
			_ = unix.Kill(main.pid, s)
		}
	default:
		_ = unix.Kill(main.pid, s)
	}
}

// endOthers ends every other process of the sandbox and takes the output that is still in the pipes.
func (g *guest) endOthers() {
	_ = unix.Kill(-1, unix.SIGKILL)
	if g.log != nil {
		g.log.drain(time.Second)
	}
}

func exitOf(status syscall.WaitStatus) Exit {
	exit := Exit{Code: status.ExitStatus(), At: time.Now().UTC()}
	if status.Signaled() {
		exit.Code = 128 + int(status.Signal())
		exit.Signal = pid1.SignalName(status.Signal())
	}
	return exit
}

// startFailure is the exit of a command that could not be started, with a shell's codes: 127 not found, 126 else.
func startFailure(err error) Exit {
	code := 126
	if errors.Is(err, os.ErrNotExist) {
		code = 127
	}
	return Exit{Code: code, Reason: "could not start: " + err.Error(), At: time.Now().UTC()}
}

// writeExit makes the exit file appear whole.
func (g *guest) writeExit(exit Exit) error {
	data, err := json.Marshal(exit)
	if err != nil {
		return err
	}
	fd, err := unix.Openat(g.dir, "exit.tmp", unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("write exit: %w", err)
	}
	f := os.NewFile(uintptr(fd), "exit.tmp")
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = unix.Renameat(g.dir, "exit.tmp", g.dir, "exit")
	}
	if err == nil {
		err = unix.Fsync(g.dir)
	}
	if err != nil {
		return fmt.Errorf("write exit: %w", err)
	}
	return nil
}

// onThread runs f on a thread of its own that is never used for anything else afterwards.
func onThread(f func()) {
	go func() {
		runtime.LockOSThread()
		f()
	}()
}
