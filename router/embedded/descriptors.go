package embedded

import (
	"cmp"
	"context"
	"errors"
	"math"
	"net"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// descriptors keeps some of the process's descriptors back: a part for connections to nodes, and a part for the router itself, so
// that it can be told what to do and write it down however many clients come. The system gives the lowest free number; so a
// new descriptor's number says how many are in use, at least, whoever uses them.
type descriptors struct {
	clients int // numbers from here on are not for clients
	nodes   int // and from here on for nodes neither
	told    atomic.Int64
}

const (
	tellEvery     = time.Minute
	youngestSlow  = time.Second // a client in order has said something by then
	evictFraction = 32          // of the idle ones, so that looking for them costs little for each
)

func newDescriptors() *descriptors {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		limit.Cur = math.MaxInt32
	}
	return descriptorsOf(int(limit.Cur))
}

// descriptorsOf divides as many as there may be.
func descriptorsOf(limit int) *descriptors {
	nodes := limit - min(64, limit/8)
	return &descriptors{clients: nodes - limit/4, nodes: nodes}
}

// next is the number that the next descriptor would have, or more than any when there is none.
func (d *descriptors) next() int {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return math.MaxInt
	}
	_ = unix.Close(fd)
	return fd
}

// numberOf is a connection's descriptor; 0 for one that is closed.
func numberOf(c syscall.Conn) (n int) {
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { n = int(fd) })
	}
	return n
}

// exhausted says whether an error is that this process, or the machine, has no descriptor left.
func exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// short says, once in a while, that something has to wait.
func (e *engine) short(what string, args ...any) {
	now, told := instant(e.now()), e.descriptors.told.Load()
	if told != 0 && now-told < int64(tellEvery) || !e.descriptors.told.CompareAndSwap(told, now) {
		return
	}
	e.log.Warn(what, args...)
}

// dial connects to a node's address. Where descriptors are short it makes room and waits for it as long as a node may take.
func (e *engine) dial(ctx context.Context, d *net.Dialer, address string) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	for {
		conn, err := d.DialContext(ctx, "tcp", address)
		if err == nil && numberOf(conn.(*net.TCPConn)) >= e.descriptors.nodes {
			_ = conn.Close()
			err = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.EMFILE}
		}
		if err == nil {
			return conn.(*net.TCPConn), nil
		}
		if !exhausted(err) || !e.awaitRoom(ctx.Done(), e.descriptors.nodes) {
			return nil, err
		}
	}
}

// awaitRoom ends what is idle until new descriptors have numbers below the bound; false: the wait was ended.
func (e *engine) awaitRoom(done <-chan struct{}, bound int) bool {
	for e.descriptors.next() >= bound {
		e.short("descriptors run out: idle connections end, new ones wait", "clients", e.conns.Load())
		e.relieve()
		select {
		case <-done:
			return false
		case <-time.After(acceptPause):
		}
	}
	return true
}

// relieve ends the clients' connections that have been idle for longest, else idle ones to nodes.
func (e *engine) relieve() {
	if e.evict() || !e.mu.TryLock() {
		return
	}
	defer e.mu.Unlock()
	for _, n := range e.memory.nodes {
		n.dropIdle(e)
	}
}

// idler is a client's connection that may be ended.
type idler struct {
	since int64 // idle, by comparison
	end   func()
}

// evict ends idle clients' connections, and says whether there are any, or some that end already.
func (e *engine) evict() bool {
	var list []idler
	ending := false
	for _, l := range e.listeners.all() {
		ending = l.idlers(&list) || ending
	}
	if ending || len(list) == 0 {
		return ending
	}
	slices.SortFunc(list, func(a, b idler) int { return cmp.Compare(a.since, b.since) })
	for _, i := range list[:1+len(list)/evictFraction] {
		i.end()
	}
	return true
}

// idlers lists connections that wait for a request, or for what comes before one, and says whether some of them end already.
func (l *listener) idlers(list *[]idler) (ending bool) {
	now, patience := instant(l.e.now()), int64(l.e.cfg.IdleTimeout)
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		due := c.reads.due.Load()
		switch {
		case !c.idle.Load():
		case c.ending.Load():
			ending = true
		case due > 0:
			*list = append(*list, idler{due - patience, c.finishIdle})
		}
	}
	for c, since := range l.starting {
		if now-since >= int64(youngestSlow) {
			*list = append(*list, idler{since, func() { l.endStarting(c) }})
		}
	}
	for c, r := range l.resting {
		switch {
		case r.ending:
			ending = true
		case now-r.since >= int64(youngestSlow):
			*list = append(*list, idler{r.since, func() { l.endResting(c, r) }})
		}
	}
	return ending
}

// starts says that a connection is before its first request, until the function it returns is called.
func (l *listener) starts(c *net.TCPConn) (started func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.starting[c] = instant(l.e.now())
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.starting, c)
	}
}

func (l *listener) endStarting(c *net.TCPConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, there := l.starting[c]; there {
		_ = c.Close()
	}
}

// dropIdle closes the idle connections.
func (n *node) dropIdle(e *engine) {
	n.mu.Lock()
	old := n.idle
	n.idle = nil
	n.mu.Unlock()
	for _, c := range old {
		c.close(e)
	}
}
