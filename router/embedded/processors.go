package embedded

import (
	"os"
	"runtime"
	"strconv"
	"strings"
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

	crowds int                                  // looks in a row that found the processors crowded
	idle   time.Duration                        // the machine's at the last of these
	rest   func() (idle time.Duration, ok bool) // how long the machine's processors have done nothing
}

const (
	// crowded is the share of the processors' time from which one more is used.
	crowded = 0.9
	// roomy is the share of one processor less from below which one is given up. The load itself falls with it.
	roomy = 0.8
	// spare is the share of one of the machine's processors that must have done nothing for one more to be used. Where there is none, another
	// thread only takes from nodes and clients what they are waited for: one look that was mistaken is seen in the slowest hundredth of the
	// answers.
	spare = 0.25
)

// newProcessors leaves GOMAXPROCS alone where somebody has set it.
func newProcessors() *processors {
	p := &processors{most: runtime.GOMAXPROCS(0), rest: machineIdle}
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
	n := min(max(needed(p.load, float64(used)/float64(took)), 1), p.most)
	if n <= p.load {
		p.crowds = 0
	} else if !p.room(took) {
		return
	}
	p.load = n
	p.set()
}

// room says whether the machine has a processor to spare, which takes two looks that find those in use crowded.
func (p *processors) room(took time.Duration) bool {
	idle, known := p.rest()
	if !known {
		return true
	}
	before := p.idle
	p.idle = idle
	p.crowds++
	return p.crowds > 1 && float64(idle-before) >= spare*float64(took)
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

// machineIdle is from the kernel's counters, in ticks of 10 ms, summed over all processors. [proc_stat(5)]
func machineIdle() (time.Duration, bool) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, false
	}
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line)
	if len(f) < 6 || f[0] != "cpu" {
		return 0, false
	}
	var ticks time.Duration
	for _, field := range f[4:6] { // idle, and idle while a disk is waited for
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, false
		}
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond, true
}
