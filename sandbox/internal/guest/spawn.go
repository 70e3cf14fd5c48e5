package guest

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/pid1"
)

// spawner starts processes from one thread that has given up what they must not have, and reaps all children.
type spawner struct {
	requests chan spawnRequest
	mu       sync.Mutex // held over fork and registration, so that no child is reaped unknown
	children map[int]*child
}

type child struct {
	pid   int
	ended chan syscall.WaitStatus // gets one value
}

type spawnRequest struct {
	path  string
	args  []string
	attr  *syscall.ProcAttr
	reply chan spawnReply
}

type spawnReply struct {
	child *child
	err   error
}

// newSpawner restricts its thread before it returns.
func newSpawner(spec Spec) (*spawner, error) {
	s := &spawner{requests: make(chan spawnRequest), children: map[int]*child{}}
	ready := make(chan error)
	onThread(func() {
		err := joinGroup(spec.JoinFD)
		if err == nil {
			err = restrictThread(spec.Fixed)
		}
		ready <- err
		if err != nil {
			return
		}
		for r := range s.requests {
			c, err := s.fork(r)
			r.reply <- spawnReply{c, err}
		}
	})
	return s, <-ready
}

// joinGroup puts the calling thread, and with it what it starts, into the group that limits the number of processes.
// The init itself stays out of it: a program written in Go dies when it cannot have one more thread.
func joinGroup(fd int) error {
	if fd == 0 {
		return nil
	}
	if _, err := unix.Write(fd, []byte("0")); err != nil {
		return fmt.Errorf("join cgroup: %w", err)
	}
	return unix.Close(fd)
}

func (s *spawner) fork(r spawnRequest) (*child, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pid, err := syscall.ForkExec(r.path, r.args, r.attr)
	if err != nil {
		return nil, err
	}
	c := &child{pid: pid, ended: make(chan syscall.WaitStatus, 1)}
	s.children[pid] = c
	return c, nil
}

func (s *spawner) start(file string, args []string, attr *syscall.ProcAttr) (*child, error) {
	r := spawnRequest{file, args, attr, make(chan spawnReply, 1)}
	s.requests <- r
	reply := <-r.reply
	return reply.child, reply.err
}

// reap takes every child that ended, orphans of the sandbox included.
func (s *spawner) reap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	pid1.Reap(func(pid int, status syscall.WaitStatus) {
		if c, ok := s.children[pid]; ok {
			delete(s.children, pid)
			c.ended <- status
		}
	})
}

// startMain starts the sandbox's command.
func (g *guest) startMain() (*child, error) {
	user, err := lookupUser(g.spec.User)
	if err != nil {
		return nil, err
	}
	g.user = user
	if err := g.giveFiles(); err != nil {
		return nil, err
	}
	g.env = completeEnv(g.spec.Env, user.home)
	if err := setLimits(); err != nil {
		return nil, err
	}
	if g.spawner, err = newSpawner(g.spec); err != nil {
		return nil, err
	}
	files, closeFiles, err := g.mainStreams()
	if err != nil {
		return nil, err
	}
	defer closeFiles()
	sys := &syscall.SysProcAttr{Setsid: g.spec.Detached || g.spec.TTY, Setctty: g.spec.TTY}
	return g.spawn(g.spec.Command, g.env, files, sys)
}

// mainStreams are the command's streams: pipes into the log when detached, else the init's own.
func (g *guest) mainStreams() (files []uintptr, done func(), err error) {
	if g.spec.TTY {
		return g.terminalStreams()
	}
	if !g.spec.Detached {
		g.givePipes()
		return []uintptr{0, 1, 2}, func() {}, nil
	}
	if g.log, err = newLogWriter(g.dir, g.spec.LogBytes, g.spec.LogKeep); err != nil {
		return nil, nil, err
	}
	var ends []*os.File
	for _, stream := range []string{"out", "err"} {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, nil, fmt.Errorf("make pipe: %w", err)
		}
		// A program may open /dev/stdout anew, which asks for the permission of the pipe itself.
		if err := w.Chown(g.user.uid, g.user.gid); err != nil && g.user.uid != 0 {
			return nil, nil, fmt.Errorf("give pipe to user: %w", err)
		}
		g.log.pump(r, stream)
		ends = append(ends, w)
	}
	return []uintptr{0, ends[0].Fd(), ends[1].Fd()}, func() { CloseAll(ends) }, nil
}

// givePipes gives the init's own pipes to the user, as those of a detached sandbox: a program may open /dev/stdout anew. A
// pipe of someone else cannot be given away, and is none that the program must open.
func (g *guest) givePipes() {
	for fd := 1; fd <= 2; fd++ {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
			_ = unix.Fchown(fd, g.user.uid, g.user.gid)
		}
	}
}

// terminalStreams opens a terminal of the sandbox's own for the command.
func (g *guest) terminalStreams() (files []uintptr, done func(), err error) {
	master, slave, err := openTerminal(g.user, g.spec.Columns, g.spec.Rows)
	if err != nil {
		return nil, nil, err
	}
	g.master = master
	if getenv(g.env, "TERM") == "" {
		g.env = append(g.env, "TERM=xterm")
	}
	fd := slave.Fd()
	return []uintptr{fd, fd, fd}, func() { _ = slave.Close() }, nil
}

// spawn starts a program as the sandbox's user in its working folder.
func (g *guest) spawn(command, env []string, files []uintptr, sys *syscall.SysProcAttr) (*child, error) {
	return g.spawnAs(g.user, command, env, files, sys)
}

func (g *guest) spawnAs(user identity, command, env []string, files []uintptr, sys *syscall.SysProcAttr) (*child, error) {
	dir := g.spec.Dir
	if dir == "" {
		dir = "/"
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make working folder: %w", err)
	}
	file, err := lookPath(command[0], dir, env)
	if err != nil {
		return nil, err
	}
	sys.Credential = &syscall.Credential{Uid: uint32(user.uid), Gid: uint32(user.gid), Groups: user.groups,
		NoSetGroups: user.noGroups}
	c, err := g.spawner.start(file, command, &syscall.ProcAttr{Dir: dir, Env: env, Files: files, Sys: sys})
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", file, explainExec(err))
	}
	return c, nil
}

// explainExec tells the two meanings of "no such file" apart: lookPath found the file, so its interpreter is missing.
func explainExec(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("its interpreter or loader is not in the image: %w", err)
	}
	return err
}

// lookPath finds a program by its name in PATH, or by its path. Exec'ing is what checks permissions for the user.
func lookPath(name, dir string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		full := name
		if !path.IsAbs(full) {
			full = path.Join(dir, name)
		}
		_, err := os.Stat(full)
		if errors.Is(err, os.ErrNotExist) {
			return "", pid1.NoProgram(full, "")
		}
		if err != nil {
			return "", fmt.Errorf("find program: %w", err)
		}
		return full, nil
	}
	for _, d := range strings.Split(getenv(env, "PATH"), ":") {
		full := path.Join("/", d, name)
		if fi, err := os.Stat(full); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return full, nil
		}
	}
	return "", pid1.NoProgram(name, getenv(env, "PATH"))
}

// DefaultPath is where programs are looked for when the environment has no PATH.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// completeEnv adds PATH and HOME where they are missing.
func completeEnv(env []string, home string) []string {
	if getenv(env, "PATH") == "" {
		env = append(env, "PATH="+DefaultPath)
	}
	if getenv(env, "HOME") == "" {
		env = append(env, "HOME="+home)
	}
	return env
}

// getenv finds the last value, as the C library's programs see it in most shells.
func getenv(env []string, name string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(env[i], name+"="); ok {
			return v
		}
	}
	return ""
}

// setLimits gives the command what servers need of open files, whatever this program was started with, and no core
// files.
func setLimits() error {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("read limits: %w", err)
	}
	files.Cur = min(files.Max, 1<<20)
	// Set through package syscall, the limit is not undone for children by the Go runtime.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("set limits: %w", err)
	}
	var core syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &core); err != nil {
		return fmt.Errorf("read limits: %w", err)
	}
	core.Cur = 0
	return syscall.Setrlimit(syscall.RLIMIT_CORE, &core)
}
