// Bare starts N times the same program as a fleet would, and does nothing else: clone into the same namespaces, mount
// an overlay and /proc, pivot, exec. It prints the milliseconds until all of them answer.
//
//	bare ROOTFS WORK N PORT NET COMMAND…     NET: own or shared
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/test/bench/sandboxlaunch/probe"
)

const parallel = 8

func main() {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		child(os.Args[2], os.Args[3], os.Args[4:])
	}
	n, err := strconv.Atoi(os.Args[3])
	must("count", err)
	base, err := strconv.Atoi(os.Args[4])
	must("port", err)
	l := launch{lower: os.Args[1], work: os.Args[2], own: os.Args[5] == "own", command: os.Args[6:]}
	start := time.Now()
	var wg sync.WaitGroup
	tickets := make(chan struct{}, parallel)
	for i := range n {
		wg.Go(func() {
			tickets <- struct{}{}
			c := l.start(i, base+i)
			<-tickets
			l.await(c.Process.Pid, base+i)
		})
	}
	wg.Wait()
	fmt.Println(float64(time.Since(start).Microseconds()) / 1000)
	for _, c := range l.started {
		_ = c.Process.Kill()
	}
	for _, c := range l.started {
		_ = c.Wait()
	}
}

type launch struct {
	lower, work string
	own         bool
	command     []string
	mu          sync.Mutex
	started     []*exec.Cmd
}

func (l *launch) start(i, port int) *exec.Cmd {
	dir := filepath.Join(l.work, strconv.Itoa(i))
	for _, d := range []string{"u", "w", "m"} {
		must("folder", os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	c := exec.Command("/proc/self/exe", append([]string{"child", dir, l.lower}, l.command...)...)
	flags := unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	if l.own {
		flags |= unix.CLONE_NEWNET
	}
	ids := []syscall.SysProcIDMap{{Size: 65536}}
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: uintptr(flags), UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true}
	c.Env = []string{"PORT=" + strconv.Itoa(port)}
	c.Stderr = os.Stderr
	must("start", c.Start())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.started = append(l.started, c)
	return c
}

// await polls until the program answers; one with its own network is asked from inside of that, by a thread that ends
// afterwards.
func (l *launch) await(pid, port int) {
	address := fmt.Sprintf("127.0.0.1:%d", port)
	if !l.own {
		must("await", probe.Await(address))
		return
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			done <- inside(pid, address)
			return
		}
		// The main thread cannot end: another one does it while this one is held.
		defer runtime.UnlockOSThread()
		again := make(chan error)
		go func() { runtime.LockOSThread(); again <- inside(pid, address) }()
		done <- <-again
	}()
	must("await", <-done)
}

func inside(pid int, address string) error {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	for range 1000 {
		if err == nil {
			break
		}
		// While the child execs from another thread than its first, the number names the first one, which has left
		// its namespaces.
		time.Sleep(time.Millisecond)
		ns, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	}
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	return probe.Await(address)
}

func child(dir, lower string, command []string) {
	must("private", syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	root := dir + "/m"
	must("overlay", syscall.Mount("overlay", root, "overlay", syscall.MS_NODEV, "userxattr,lowerdir="+lower+",upperdir="+dir+"/u,workdir="+dir+"/w"))
	must("mkdir", os.MkdirAll(root+"/proc", 0o755))
	must("proc", syscall.Mount("proc", root+"/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""))
	must("chdir", os.Chdir(root))
	must("pivot", syscall.PivotRoot(".", "."))
	must("detach", syscall.Unmount(".", syscall.MNT_DETACH))
	must("chdir", os.Chdir("/"))
	must("hostname", syscall.Sethostname([]byte(filepath.Base(dir))))
	must("loopback", probe.Loopback())
	must("exec", syscall.Exec(command[0], command, os.Environ()))
}

func must(what string, err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bare:", what+":", err)
		os.Exit(111)
	}
}
