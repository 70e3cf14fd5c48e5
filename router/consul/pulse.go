package consul

import (
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	// beat is how often an edge writes its record at least.
	beat = time.Second
	// missed is how many beats in a row an edge that lives may miss: it is silent then, long before Consul ends its session.
	// Nothing is lost if it only was slow, since nothing is shot that a silent edge may route to.
	missed = 5
)

// pulses tells edges that write no more, by the index of their records: clocks of other machines have no part in it. Only time
// counts in which Consul answered us, since while it does not edges cannot write either. The zero value is ready.
type pulses struct {
	mu   sync.Mutex
	at   time.Time // of the newest reading
	last map[string]pulse
}

// pulse is how long a record has not changed.
type pulse struct {
	index uint64
	still time.Duration
}

// take adds a reading of all records.
func (p *pulses) take(pairs api.KVPairs, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	passed := min(max(now.Sub(p.at), 0), beat)
	next := make(map[string]pulse, len(pairs))
	for _, pair := range pairs {
		was, known := p.last[pair.Key]
		if known && was.index == pair.ModifyIndex {
			was.still += passed
		} else {
			was = pulse{index: pair.ModifyIndex}
		}
		next[pair.Key] = was
	}
	p.at, p.last = now, next
}

// stopped says whether an edge that writes so often does so no more; 0: it did not say how often.
func (p *pulses) stopped(key string, every time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return every > 0 && p.last[key].still >= missed*every
}
