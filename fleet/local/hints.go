package local

import (
	"context"
	"sync"

	"github.com/bootandshoot/release/fleet"
)

// Hints passes fleet ids to watchers; one that does not read loses them.
type Hints struct {
	mu       sync.Mutex
	watchers map[chan fleet.FleetID]struct{}
}

// Send passes a hint on.
func (h *Hints) Send(id fleet.FleetID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		select {
		case w <- id:
		default:
		}
	}
}

// Watch is fleet.Watcher's.
func (h *Hints) Watch(ctx context.Context) <-chan fleet.FleetID {
	ch := make(chan fleet.FleetID, 256)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watchers == nil {
		h.watchers = map[chan fleet.FleetID]struct{}{}
	}
	h.watchers[ch] = struct{}{}
	context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, ch)
		close(ch)
	})
	return ch
}
