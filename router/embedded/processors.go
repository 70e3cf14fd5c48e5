package embedded

import (
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// processors gives the process as many of Go's processors as its load needs. With more of them the scheduler wakes idle threads
// again and again to look for work that there is not: on two cores that nodes and clients share, one processor passes on a
// fifth more requests, with shorter delays, than two do. BENCHMARKS.md has the figures.
type processors struct {
	mu    sync.Mutex
	most  int           // as many as Go found; 1: there is nothing to decide
	now   int           // in use
	load  int           // that the load needs
	busy  int           // how much is under way that may keep one from running requests
	spent time.Duration // CPU time at the last look
	at    time.Time     // when that was
}

const (
	// crowded is the share of the processors' time from which one more is used.
	crowded = 0.9
	// roomy is the share of one processor less from below which one is given up. The load itself falls with it.
	roomy = 0.8
)

// newProcessors leaves GOMAXPROCS alone where somebody has set it.
func newProcessors() *processors {
	p := &processors{most: runtime.GOMAXPROCS(0)}
	if os.Getenv("GOMAXPROCS") != "" {
		p.most = 1
	}
	p.now, p.load = p.most, p.most
	return p
}

// look decides anew. It is called every sweepEvery.
func (p *processors) look(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.most == 1 {
		return
	}
	spent := cpuTime()
	took, used := now.Sub(p.at), spent-p.spent
	p.at, p.spent = now, spent
	if took <= 0 {
		return
	}
	p.load = min(max(needed(p.load, float64(used)/float64(took)), 1), p.most)
	p.set()
}

// needed is how many processors are wanted where now are in use and load of them are busy, on average.
func needed(now int, load float64) int {
	switch {
	case load > crowded*float64(now):
		return now + 1
	case load < roomy*float64(now-1):
		return now - 1
	}
	return now
}

// begin keeps a processor for requests while something is under way that may wait for the disk, or compute for long. What it
// returns ends that.
func (p *processors) begin() (end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy++
	p.set()
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.busy--
		p.set()
	}
}

// restore gives the process back what it had.
func (p *processors) restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.load = p.most
	p.set()
}

func (p *processors) set() {
	n := min(max(p.load, 1+min(p.busy, 1)), p.most)
	if n != p.now {
		p.now = n
		runtime.GOMAXPROCS(n)
	}
}

// cpuTime is what the process has used of the processors so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
