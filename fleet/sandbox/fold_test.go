package sandbox

import (
	"sync"
	"testing"

	"github.com/bootandshoot/release/fleet"
)

// A node that boots while the last one is removed has its network all the same, whichever is first.
func TestBootWhileTheNetworkIsFolded(t *testing.T) {
	w := newWorld(t, Options{})
	d := w.driver(t, "")
	last := w.spec(t, d, 1, 100)
	_, err := d.Ensure(t.Context(), last)
	check(t, err)
	for slot := 101; slot < 141; slot++ {
		next := w.spec(t, d, 1, slot)
		var group sync.WaitGroup
		group.Go(func() {
			if err := d.Remove(t.Context(), fleet.NodeID{Fleet: last.Fleet, Node: last.Nodes[0].Name}, 0); err != nil {
				t.Error(err)
			}
		})
		group.Go(func() {
			if _, err := d.Ensure(t.Context(), next); err != nil {
				t.Error(err)
			}
		})
		group.Wait()
		last = next
	}
}
