package engines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Engine is one Docker engine on a machine of its own.
type Engine struct {
	Name    string // the machine's host name
	Address string // in the private network

	net  *Network
	dir  string // its disk: data, certificates, socket and log
	line string // this machine's end of its network line

	first *exec.Cmd // the machine's first process; nil: it is off
	words io.WriteCloser
	ended chan struct{}
}

// Local is how this machine reaches the engine without a network.
func (e *Engine) Local() string { return "unix://" + e.socket() }

// TCP is how it is reached by TLS.
func (e *Engine) TCP() string { return "tcp://" + net.JoinHostPort(e.Address, "2376") }

func (e *Engine) socket() string { return filepath.Join(e.dir, "docker.sock") }

// boot is the first process of a machine: it makes the machine's own places, waits for its network line, and does what it is
// told by lines, until it is killed and takes everything with it. What is told to sh runs in the background.
const boot = `
mount --make-rprivate / && mount -t proc proc /proc && mount -t tmpfs tmpfs /run && mkdir -p /etc/docker && mount --bind "$DIR/etc" /etc/docker || exit 1
echo "$NAME" >/proc/sys/kernel/hostname
while read -r words; do
  sh -c "$words" </dev/null >>"$DIR/log" 2>&1 &
done
`

// begin powers the machine on and waits for its engine.
func (e *Engine) begin() error {
	words, commands, err := os.Pipe()
	if err != nil {
		return err
	}
	defer words.Close()
	cmd := exec.Command("/bin/sh", "-c", boot)
	cmd.Stdin, cmd.Env = words, append(os.Environ(), "DIR="+e.dir, "NAME="+e.Name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC}
	e.first, e.words, e.ended = cmd, commands, make(chan struct{})
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the machine ends with the thread that started it
		defer close(e.ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it is killed
		}
	}()
	if err := <-started; err != nil {
		e.first = nil
		return err
	}
	e.plugIn()
	return e.engine()
}

// plugIn gives the machine its network line.
func (e *Engine) plugIn() {
	pid := e.first.Process.Pid
	e.net.ip("link add %s type veth peer name eth0 netns %d", e.line, pid)
	e.net.ip("link set %s master %s up", e.line, e.net.bridge)
	for _, words := range []string{"link set lo up", "addr add " + e.Address + "/24 dev eth0", "link set eth0 up", "route add default via " + e.net.Gateway()} {
		args := append([]string{"--target", strconv.Itoa(pid), "--net", "ip"}, strings.Fields(words)...)
		if out, err := exec.Command("nsenter", args...).CombinedOutput(); err != nil {
			e.net.t.Errorf("engine %s: ip %s: %v\n%s", e.Name, words, err, out)
		}
	}
}

// engine starts the engine in the machine and waits until it answers, over the network too: neighbours may know another machine by its address.
func (e *Engine) engine() error {
	tls := filepath.Join(e.dir, "tls")
	args := []string{"exec", "dockerd", "--data-root", filepath.Join(e.dir, "data"), "--exec-root", "/run/docker", "--pidfile", "/run/docker.pid",
		"-H", "unix:///run/docker.sock", "-H", "unix://" + e.socket(), "-H", "tcp://" + net.JoinHostPort(e.Address, "2376"),
		"--tlsverify", "--tlscacert", tls + "/ca.pem", "--tlscert", tls + "/cert.pem", "--tlskey", tls + "/key.pem",
		"--cgroup-parent", "/" + e.line, "--storage-driver", "overlay2", "--log-level", "warn", "--shutdown-timeout", "5"}
	if err := e.Run("rm -f /run/docker.pid; " + strings.Join(args, " ")); err != nil {
		return err
	}
	deadline := time.Now().Add(startWithin)
	for {
		err := e.ping()
		if err == nil {
			err = e.dial()
		}
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(e.dir, "log"))
			return fmt.Errorf("it does not answer: %w\n%s", err, log)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (e *Engine) ping() error {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", e.socket())
		}}}
	res, err := client.Get("http://engine/_ping")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	return nil
}

func (e *Engine) dial() error {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(e.Address, "2376"), time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}

// Run runs a line of sh in the machine, in the background; its output is in the engine's log.
func (e *Engine) Run(words string) error {
	_, err := fmt.Fprintln(e.words, words)
	return err
}

// Kill ends the engine by SIGKILL, and its containerd. The containers run on.
func (e *Engine) Kill() {
	e.net.t.Helper()
	for _, name := range []string{"dockerd", "containerd"} {
		for _, pid := range e.named(name) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended with the other
		}
	}
	for deadline := time.Now().Add(10 * time.Second); e.ping() == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			e.net.t.Fatalf("engine %s answers after it was killed", e.Name)
		}
	}
}

// named are the processes of the machine that run a program.
func (e *Engine) named(program string) []int {
	own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", e.first.Process.Pid))
	if err != nil {
		return nil
	}
	var pids []int
	all, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, file := range all {
		comm, err := os.ReadFile(file)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil || strings.TrimSpace(string(comm)) != program {
			continue
		}
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); err == nil && ns == own {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Restart starts the engine again after Kill.
func (e *Engine) Restart() {
	e.net.t.Helper()
	if err := e.engine(); err != nil {
		e.net.t.Fatalf("restart engine %s: %v", e.Name, err)
	}
}

// PowerOff ends all that runs on the machine at once, without a word to anybody.
func (e *Engine) PowerOff() {
	if e.first == nil {
		return
	}
	_ = e.first.Process.Kill() // it may have ended by itself
	<-e.ended
	e.words.Close()
	e.first = nil
	_ = exec.Command("ip", "link", "del", e.line).Run() // it went with the other end, as a rule
}

// PowerOn starts the machine again with what is on its disk.
func (e *Engine) PowerOn() {
	e.net.t.Helper()
	_ = os.Remove(e.socket()) // of the life before
	if err := e.begin(); err != nil {
		e.net.t.Fatalf("power engine %s on: %v", e.Name, err)
	}
}

// Unplug cuts the machine's network line, Plug mends it.
func (e *Engine) Unplug() { e.net.ip("link set %s down", e.line) }

// Plug mends the line that Unplug cut.
func (e *Engine) Plug() { e.net.ip("link set %s up", e.line) }

// end leaves nothing behind.
func (e *Engine) end() {
	e.PowerOff()
	if log, err := os.ReadFile(filepath.Join(e.dir, "log")); err == nil && e.net.t.Failed() {
		e.net.t.Logf("the log of engine %s ends with:\n%s", e.Name, log[max(0, len(log)-4000):])
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + e.line)
	if unified := "/sys/fs/cgroup/" + e.line; len(groups) == 0 {
		groups = []string{unified}
	}
	for _, g := range groups {
		e.removeGroup(g)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := os.RemoveAll(e.dir)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			e.net.t.Errorf("clean up after engine %s: %v", e.Name, err)
			return
		}
	}
}

// removeGroup removes a control group with those below it.
func (e *Engine) removeGroup(dir string) {
	var below []string
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error { // what is gone is as it should be
		if err == nil && entry.IsDir() {
			below = append(below, path)
		}
		return nil
	})
	for i := len(below) - 1; i >= 0; i-- {
		_ = os.Remove(below[i]) // one that is still being emptied is left to the kernel's next boot: it has no process
	}
}

// Listen listens in the machine, as a program there would; connections are taken here.
func (e *Engine) Listen(address string) (net.Listener, error) {
	type answer struct {
		l   net.Listener
		err error
	}
	got := make(chan answer)
	go func() {
		runtime.LockOSThread() // it is never unlocked: the thread, which is in the machine's network now, ends with the goroutine
		there, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", e.first.Process.Pid))
		if err == nil {
			defer there.Close()
			err = unix.Setns(int(there.Fd()), unix.CLONE_NEWNET)
		}
		var l net.Listener
		if err == nil {
			l, err = net.Listen("tcp", address)
		}
		got <- answer{l, err}
	}()
	a := <-got
	return a.l, a.err
}
