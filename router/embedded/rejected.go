package embedded

import "sync"

// rejections counts requests and connections that were refused for what the client sent, by reason. Reasons are a fixed set.
type rejections struct {
	mu     sync.Mutex
	counts map[string]uint64
}

// rejected counts one.
func (e *engine) rejected(reason string) {
	r := &e.reasons
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		r.counts = map[string]uint64{}
	}
	r.counts[reason]++
}

// read is a copy.
func (r *rejections) read() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]uint64, len(r.counts))
	for k, n := range r.counts {
		out[k] = n
	}
	return out
}
