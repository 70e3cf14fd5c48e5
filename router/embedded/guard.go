package embedded

import (
	"context"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sweepEvery is how exact deadlines are. One sweep looks at all connections: setting a deadline of the runtime for each
// request would cost more than everything else that is done for it.
const sweepEvery = 100 * time.Millisecond

// fired is the due time of a guard whose deadline is over.
const fired = -1

// began is what instants count from.
var began = time.Now()

// instant is nanoseconds since the process began, by the clock that nobody sets: limits and pauses must neither end early nor
// last for an hour when the time of day is corrected. It is above 0 for every time that is read while the process runs.
func instant(t time.Time) int64 { return int64(t.Sub(began)) }

// guard ends reads or writes of a connection that take too long, by a deadline in the past: the goroutine that waits gets
// os.ErrDeadlineExceeded and decides what that means. Arm and disarm are one goroutine's; fire may be called from any.
type guard struct {
	set func(time.Time) error // the connection's SetReadDeadline or SetWriteDeadline
	due atomic.Int64          // an instant; 0: none; fired
	mu  sync.Mutex            // over firing
	end bool                  // killed

	taken int64 // by the other end, when the sweep looked last
}

// arm gives what is done from now on a limit; 0 is none.
func (g *guard) arm(now time.Time, limit time.Duration) {
	if limit <= 0 {
		g.disarm()
		return
	}
	if g.due.Swap(instant(now)+int64(limit)) == fired {
		g.refresh()
	}
}

// disarm takes the limit back, also one that is over by now.
func (g *guard) disarm() {
	if g.due.Swap(0) == fired {
		g.refresh()
	}
}

// resume goes on with the limit that was there before fireIf, unless there is another one by now.
func (g *guard) resume(due int64) {
	if g.due.CompareAndSwap(fired, due) {
		g.refresh()
	}
}

func (g *guard) refresh() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.end {
		_ = g.set(time.Time{})
	}
}

// kill ends what is under way and whatever comes after.
func (g *guard) kill() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.end = true
	_ = g.set(time.Unix(1, 0))
}

// retire makes the guard do nothing from now on: what it guards is over.
func (g *guard) retire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.set = func(time.Time) error { return nil }
}

// killed says whether kill was called.
func (g *guard) killed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.end
}

// expired says whether the limit is over.
func (g *guard) expired() bool { return g.due.Load() == fired }

// fire ends what is under way now.
func (g *guard) fire() { g.fireIf(g.due.Load()) }

// fireIf does so if the limit is due still, and says whether it was.
func (g *guard) fireIf(due int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if due == fired || !g.due.CompareAndSwap(due, fired) {
		return false
	}
	_ = g.set(time.Unix(1, 0))
	return true
}

// watched is a connection that the sweep looks at.
type watched interface {
	// sweep is called every sweepEvery, from one goroutine.
	sweep(now time.Time)
}

// sweeper calls all connections in turn.
type sweeper struct {
	mu  sync.Mutex
	all map[watched]struct{}
}

func newSweeper() *sweeper { return &sweeper{all: map[watched]struct{}{}} }

func (s *sweeper) add(w watched) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[w] = struct{}{}
}

func (s *sweeper) remove(w watched) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, w)
}

// run sweeps until ctx ends.
func (s *sweeper) run(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	var list []watched
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			list = s.list(list[:0])
			for _, w := range list {
				w.sweep(now)
			}
			clear(list)
		}
	}
}

func (s *sweeper) list(into []watched) []watched {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.all {
		into = append(into, w)
	}
	return into
}

// check fires the guard when its time is over.
func (g *guard) check(now time.Time) {
	if due := g.due.Load(); due > 0 && due < instant(now) {
		g.fireIf(due)
	}
}

// checkMoving fires a guard of writes when its time is over and the other end took nothing meanwhile: one write may take long
// and yet go on all the time. It is the sweep's alone.
func (g *guard) checkMoving(now time.Time, limit time.Duration, raw syscall.RawConn) {
	due := g.due.Load()
	if due <= 0 || due >= instant(now) {
		return
	}
	if taken := acknowledged(raw); taken > g.taken {
		g.taken = taken
		g.due.CompareAndSwap(due, instant(now)+int64(limit))
		return
	}
	g.fireIf(due)
}

// acknowledged is how many bytes the other end of a connection has taken, or -1.
func acknowledged(raw syscall.RawConn) (n int64) {
	n = -1
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = int64(info.Bytes_acked)
		}
	})
	return n
}
