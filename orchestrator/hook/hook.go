// Package hook runs commands of apps on the agent's own machine: hooks, and commands that judge a cutover. Each runs in a folder of
// its own that holds its files, with an environment of its own, as a user that the machine's settings name, for a bounded time.
//
// A command ends with all that it started: what is left of it is killed, also by the next agent when this one is killed. It may
// be run again after that, so there are never two of it, and it may have been run in part.
//
// # On disk
//
//	DIR/run-*        the folder of one command under way
//	DIR/elsewhere    with a user of its own: the path of the folder that holds these instead, since that user may not enter DIR
package hook

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
)

// Command is one command to run.
type Command struct {
	Args    []string          // program and arguments; a program with a slash is looked for from the command's folder
	Files   []File            // what lies in that folder
	Env     map[string]string // besides PATH, HOME, USER, LOGNAME and LANG
	Timeout time.Duration     // then it is killed; 0: when ctx ends
	Mask    func(string) string
}

// File is one file of a command's folder.
type File struct {
	Path       string // relative, with slashes
	Content    []byte
	Executable bool
}

// Exit is how a command ended.
type Exit struct {
	Code   int    // exit code, or 128 + signal
	Signal string // name, if a signal ended it
}

// String is the exit for people.
func (e Exit) String() string {
	if e.Signal != "" {
		return "ended by signal " + e.Signal
	}
	return fmt.Sprintf("ended with exit code %d", e.Code)
}

// User is who runs commands instead of the agent's own user.
type User struct {
	Name     string
	Home     string
	UID, GID uint32
	Groups   []uint32
}

// Options are what a Runner is made of.
type Options struct {
	Dir  string // folder of the runner's own; made when missing
	User *User  // nil: the agent's own
}

// Runner runs commands, any number at a time.
type Runner struct {
	base string
	user *User
}

// FolderVar names a command's folder to all that it starts, so that it is found at the end and after a crash. What is started without
// it, in a session of its own, is not the hook's.
const FolderVar = "RELEASE_HOOK_FOLDER"

// endPatience is how long a command has between being asked to end and being killed.
const endPatience = 2 * time.Second

// New ends what an agent that was killed left running, and returns a runner. One runner at a time works in a folder.
func New(opts Options) (*Runner, error) {
	r := &Runner{base: opts.Dir, user: opts.User}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("prepare to run hooks: %w", err)
	}
	if err := sweep(opts.Dir); err != nil {
		return nil, fmt.Errorf("prepare to run hooks: %w", err)
	}
	if opts.User == nil {
		return r, nil
	}
	var err error
	if r.base, err = elsewhere(opts.Dir); err != nil {
		return nil, fmt.Errorf("prepare to run hooks as %s: %w", opts.User.Name, err)
	}
	return r, nil
}

// Run runs a command and gives each line that it prints to line, one after the other, masked and cut. It returns how the
// command ended; the error says why it did not begin, or was ended: its time was over, or ctx was.
func (r *Runner) Run(ctx context.Context, c Command, line func(string)) (Exit, error) {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return Exit{}, fault.New(fault.Invalid, "the command is empty")
	}
	folder, err := r.folder(c.Files)
	if err != nil {
		return Exit{}, err
	}
	defer os.RemoveAll(folder)
	out, err := newOutput(c.Mask, line)
	if err != nil {
		return Exit{}, err
	}
	defer out.close()
	cmd := r.command(c, folder)
	cmd.Stdout, cmd.Stderr = out.w, out.w
	if err := cmd.Start(); err != nil {
		return Exit{}, fault.New(fault.Failed, "start %s: %w", c.Args[0], err).
			WithHint("a program beside release.yaml is named ./program, and must be executable")
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	why := r.await(ctx, c.Timeout, cmd.Process.Pid, ended)
	if err := killAll([]string{folder}); why == nil { // what has left the session is out of reach of its group
		why = err
	}
	out.finish()
	return exitOf(cmd.ProcessState), why
}

// await waits for a command's end and kills what is left of it. The error says why it was ended.
func (r *Runner) await(ctx context.Context, timeout time.Duration, pid int, ended <-chan error) (why error) {
	group := func(s syscall.Signal) { _ = syscall.Kill(-pid, s) }
	defer group(syscall.SIGKILL) // also what it left in the background
	var over <-chan time.Time
	if timeout > 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ended:
		return nil
	case <-over:
		why = fault.New(fault.Failed, "it did not end within %s", human.Span(timeout)).WithHint("give it more time (timeout), or make it quicker")
	case <-ctx.Done():
		why = fmt.Errorf("it was ended: %w", context.Cause(ctx))
	}
	group(syscall.SIGTERM)
	patience := time.NewTimer(endPatience)
	defer patience.Stop()
	select {
	case <-ended:
	case <-patience.C:
		group(syscall.SIGKILL)
		<-ended
	}
	return why
}

func (r *Runner) command(c Command, folder string) *exec.Cmd {
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Dir = folder
	if filepath.Base(c.Args[0]) != c.Args[0] && !filepath.IsAbs(c.Args[0]) {
		cmd.Path = filepath.Join(folder, c.Args[0])
	}
	cmd.Env = r.environment(c.Env, folder)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if u := r.user; u != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
	}
	return cmd
}

// defaultPath is that of an agent that has none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is small on purpose: what the agent was started with may hold secrets.
func (r *Runner) environment(more map[string]string, folder string) []string {
	env := []string{"LANG=C.UTF-8", FolderVar + "=" + folder}
	path := os.Getenv("PATH")
	if path == "" {
		path = defaultPath
	}
	env = append(env, "PATH="+path)
	if u := r.user; u != nil {
		env = append(env, "HOME="+u.Home, "USER="+u.Name, "LOGNAME="+u.Name)
	} else {
		for _, name := range []string{"HOME", "USER", "LOGNAME"} {
			if v, ok := os.LookupEnv(name); ok {
				env = append(env, name+"="+v)
			}
		}
	}
	for name, value := range more {
		env = append(env, name+"="+value)
	}
	return env
}

func exitOf(s *os.ProcessState) Exit {
	status, ok := s.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return Exit{Code: 128 + int(status.Signal()), Signal: signalName(status.Signal())}
	}
	return Exit{Code: s.ExitCode()}
}
