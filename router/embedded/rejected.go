package embedded

import (
	"maps"
	"sync"
)

// rejected is how many requests and connections were refused for what the client sent, by reason. Reasons are a fixed set.
type rejected map[string]uint64

// plus is a new map with both.
func (r rejected) plus(more rejected) rejected {
	sum := rejected{}
	for _, part := range []rejected{r, more} {
		for reason, n := range part {
			sum[reason] += n
		}
	}
	return sum
}

// rejections is rejected as it is counted.
type rejections struct {
	mu     sync.Mutex
	counts rejected
}

// rejected counts one.
func (e *engine) rejected(reason string) {
	r := &e.reasons
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		r.counts = rejected{}
	}
	r.counts[reason]++
}

// add counts what another process did.
func (r *rejections) add(more rejected) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts = r.counts.plus(more)
}

// read is a copy.
func (r *rejections) read() rejected {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.counts)
}
