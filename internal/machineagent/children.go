package main

import (
	"sync"
	"syscall"

	"github.com/bootandshoot/release/internal/pid1"
)

// children are the processes that somebody here waits for. The first process of a machine gets the end of every other, too.
type children struct {
	mu      sync.Mutex
	waiting map[int]chan syscall.WaitStatus
}

// start runs a program; its end comes on the channel.
func (c *children) start(argv []string, attr *syscall.ProcAttr) (pid int, ended <-chan syscall.WaitStatus, err error) {
	c.mu.Lock() // so that its end is not taken before it is waited for
	defer c.mu.Unlock()
	if pid, err = syscall.ForkExec(argv[0], argv, attr); err != nil {
		return 0, nil, err
	}
	ch := make(chan syscall.WaitStatus, 1)
	if c.waiting == nil {
		c.waiting = map[int]chan syscall.WaitStatus{}
	}
	c.waiting[pid] = ch
	return pid, ch, nil
}

// reap takes all that have ended.
func (c *children) reap() {
	c.mu.Lock()
	defer c.mu.Unlock()
	pid1.Reap(func(pid int, status syscall.WaitStatus) {
		if ch, ok := c.waiting[pid]; ok {
			ch <- status
			delete(c.waiting, pid)
		}
	})
}
