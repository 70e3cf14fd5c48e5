package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"sync"

	"github.com/bootandshoot/release/fleet"
)

// hints passes fleet ids to watchers; one that does not read loses them.
type hints struct {
	mu       sync.Mutex
	watchers map[chan fleet.FleetID]struct{}
}

func (h *hints) send(id fleet.FleetID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		select {
		case w <- id:
		default:
		}
	}
}

// Watch sends the id of a fleet when one of its nodes was booted, ended or was removed.
func (d *Driver) Watch(ctx context.Context) (<-chan fleet.FleetID, error) {
	h := &d.watch
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
	return ch, nil
}

// shortHash makes a name part of an id of any form.
func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}
