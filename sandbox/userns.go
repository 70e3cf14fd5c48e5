package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/sandbox/internal/guest"
)

// usernsName is what this program is called while it waits for its ids.
const usernsName = "release-userns"

// aliveVar names the descriptor whose end of file tells a process in the user namespace that the one outside is dead.
const aliveVar = "RELEASE_USERNS_ALIVE"

// Main is the first line of every main and TestMain. In a process that EnterUserNamespace made it goes on in the
// namespace; the init of a sandbox does not get here: it begins, and ends, when this package's inside is initialised.
// In any other process Main returns false at once.
func Main() bool {
	if len(os.Args) > 0 && os.Args[0] == usernsName {
		runUserns()
	}
	return guest.Started()
}

// EnterUserNamespace lets an ordinary user's program work as root does, on that user's own ids: it runs the program,
// with args after its name (those of this process when nil), once more inside a user and a mount namespace in which
// the user is 0 and the ranges of /etc/subuid and /etc/subgid follow, by newuidmap and newgidmap. Without a range, or
// without those tools, there is only id 0.
//
// In the first process it forwards signals, waits, and returns true with the exit code of the second. In the second,
// and for root, it returns false at once. If either process is killed the other ends too.
func EnterUserNamespace(args []string) (entered bool, exitCode int, err error) {
	if text, ok := os.LookupEnv(aliveVar); ok {
		return false, 0, dieWith(text)
	}
	if os.Geteuid() == 0 {
		return false, 0, nil
	}
	if args == nil {
		args = os.Args[1:]
	}
	args = append([]string{os.Args[0]}, args...)
	code, err := runInUserns(args)
	if err != nil {
		return false, 0, fmt.Errorf("enter user namespace: %w", err)
	}
	return true, code, nil
}

// dieWith ends this process as soon as the one that it belongs to is dead.
func dieWith(text string) error {
	_ = os.Unsetenv(aliveVar)
	fd, err := strconv.Atoi(text)
	if err != nil {
		return fault.New(fault.Invalid, "%s=%q is not a descriptor", aliveVar, text)
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return fault.New(fault.Invalid, "%s: %w", aliveVar, err)
	}
	f := os.NewFile(uintptr(fd), "alive")
	go func() {
		_, _ = f.Read(make([]byte, 1))
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	}()
	return nil
}

func runInUserns(args []string) (int, error) {
	// The death signal of a child is sent at the death of the thread that made it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	mapped, goOn, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	alive, heart, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer heart.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{usernsName}, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{mapped, alive}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	signals := make(chan os.Signal, 16)
	nohup := signal.Ignored(unix.SIGHUP)
	signal.Notify(signals)
	defer signal.Stop(signals)
	if nohup {
		signal.Ignore(unix.SIGHUP) // here and in the second process
	}
	err = cmd.Start()
	guest.CloseAll([]*os.File{mapped, alive})
	if err != nil {
		_ = goOn.Close()
		return 0, explainClone(err)
	}
	err = mapIDs(cmd.Process.Pid)
	if err == nil {
		_, err = goOn.Write([]byte{1})
	}
	_ = goOn.Close()
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return 0, err
	}
	go forward(signals, cmd.Process)
	return exitCodeOf(cmd.Wait())
}

func exitCodeOf(err error) (int, error) {
	var exit *exec.ExitError
	if err == nil {
		return 0, nil
	}
	if !errors.As(err, &exit) {
		return 0, err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return exit.ExitCode(), nil
}

// forward passes signals on. What a terminal sends, it has sent to both processes.
func forward(signals <-chan os.Signal, p *os.Process) {
	for s := range signals {
		switch s {
		case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE, unix.SIGTTOU, unix.SIGTTIN, unix.SIGWINCH, unix.SIGCONT:
		case unix.SIGINT, unix.SIGQUIT:
			if !inForeground() {
				_ = p.Signal(s)
			}
		case unix.SIGTSTP:
			_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
		default:
			_ = p.Signal(s)
		}
	}
}

// inForeground says whether a terminal's keys send their signals to this process's group.
func inForeground() bool {
	tty, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(tty)
	group, err := unix.IoctlGetInt(tty, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// mapIDs gives the namespace of a process its ids.
func mapIDs(pid int) error {
	name, uid, gid := accountName(), os.Getuid(), os.Getgid()
	uids := subordinate("/etc/subuid", name, uid)
	gids := subordinate("/etc/subgid", name, uid)
	if mapping(uids) != nil && mapping(gids) != nil {
		err := newIDMap("newuidmap", pid, uid, uids)
		if err == nil {
			err = newIDMap("newgidmap", pid, gid, gids)
		}
		if err == nil {
			return nil
		}
		if data, rerr := os.ReadFile(procPath(pid, "uid_map")); rerr != nil || len(data) > 0 {
			return err // half done: only the tool knows why
		}
	}
	return mapOneID(pid, uid, gid)
}

// mapOneID maps 0 to the user's own ids, which the kernel lets everybody do once groups cannot be dropped
// (user_namespaces(7)).
func mapOneID(pid, uid, gid int) error {
	for _, f := range [][2]string{
		{"setgroups", "deny"}, {"uid_map", fmt.Sprintf("0 %d 1", uid)}, {"gid_map", fmt.Sprintf("0 %d 1", gid)},
	} {
		if err := os.WriteFile(procPath(pid, f[0]), []byte(f[1]), 0); err != nil {
			return explainClone(err)
		}
	}
	return nil
}

func newIDMap(tool string, pid, own int, ranges []guest.Range) error {
	args := []string{strconv.Itoa(pid), "0", strconv.Itoa(own), "1"}
	for _, m := range mapping(ranges) {
		args = append(args, strconv.Itoa(m.Inside), strconv.Itoa(m.Start), strconv.Itoa(m.Count))
	}
	out, err := exec.Command(tool, args...).CombinedOutput()
	if err != nil {
		return fault.New(fault.Denied, "%s: %s: %w", tool, strings.TrimSpace(string(out)), err).
			WithHint("check /etc/subuid and /etc/subgid, and that %s is set-user-id root (package uidmap)", tool)
	}
	return nil
}

// mapping lays ranges out from 1 on, up to 65535; nil when they are too few: half a system's ids are of no use.
func mapping(ranges []guest.Range) []guest.Range {
	var out []guest.Range
	next := 1
	for _, r := range ranges {
		if r.Count <= 0 || next >= guest.FullRange {
			continue
		}
		r.Inside, r.Count = next, min(r.Count, guest.FullRange-next)
		next += r.Count
		out = append(out, r)
	}
	if next < guest.FullRange {
		return nil
	}
	return out
}

// subordinate reads the ranges of a user, named by name or number, from a file in the form of subuid(5).
func subordinate(file, name string, uid int) []guest.Range {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	return parseRanges(string(data), name, uid)
}

func parseRanges(text, name string, uid int) []guest.Range {
	var ranges []guest.Range
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 || f[0] != name && f[0] != strconv.Itoa(uid) {
			continue
		}
		start, err1 := guest.ParseID(f[1])
		count, err2 := guest.ParseID(f[2])
		if err1 == nil && err2 == nil {
			ranges = append(ranges, guest.Range{Start: start, Count: count})
		}
	}
	return ranges
}

func accountName() string {
	u, err := user.LookupId(strconv.Itoa(HostUID()))
	if err != nil {
		return ""
	}
	return u.Username
}

// HostUID is the user id that this process has outside of the user namespace that it may have entered: 0 only for the
// machine's root (or that of the container that it runs in).
func HostUID() int {
	return HostIDOf(os.Geteuid())
}

// HostIDOf is the same of another user id, as this process sees it.
func HostIDOf(uid int) int {
	for _, r := range guest.ReadMap("/proc/self/uid_map") {
		if uid >= r.Inside && uid-r.Inside < r.Count {
			return r.Start + uid - r.Inside
		}
	}
	return uid
}

// runUserns is the first process in a fresh user namespace. It waits until its ids are mapped, then becomes the
// program: run by id 0, that has all capabilities in the namespace.
func runUserns() {
	mapped := os.NewFile(3, "mapped")
	if n, _ := mapped.Read(make([]byte, 1)); n != 1 {
		os.Exit(125) // the other process has said why
	}
	_ = mapped.Close()
	env := append(os.Environ(), aliveVar+"=4")
	err := syscall.Exec("/proc/self/exe", os.Args[1:], env)
	fmt.Fprintln(os.Stderr, "enter user namespace:", err)
	os.Exit(125)
}
