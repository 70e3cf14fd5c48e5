package embedded

import (
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
)

// What a node counts with its last request is shown, for a while and to several observers, and then the node is gone. One
// that counted nothing new vanishes at once.
func TestLastCountersAreShown(t *testing.T) {
	of := func(n router.NodeTraffic) snapshot {
		n.Fleet, n.Node = "f", "a"
		return snapshot{Edge: router.Edge{Nodes: []router.NodeTraffic{n}}}
	}
	began := time.Unix(1000, 0)
	for name, steps := range map[string][]struct {
		after time.Duration
		now   router.NodeTraffic
		there bool
	}{
		"fails at the end": {
			{0, router.NodeTraffic{InFlight: 1, Requests: 5}, true}, {1, router.NodeTraffic{Requests: 5, Reset: 1}, true},
			{time.Second, router.NodeTraffic{Requests: 5, Reset: 1}, true}, {lingering + 1, router.NodeTraffic{Requests: 5, Reset: 1}, false},
		},
		"ends as it was seen": {
			{0, router.NodeTraffic{InFlight: 1, Requests: 5}, true}, {1, router.NodeTraffic{Requests: 5}, false},
		},
		"never seen":   {{0, router.NodeTraffic{Requests: 5}, true}, {lingering, router.NodeTraffic{Requests: 5}, false}},
		"nothing done": {{0, router.NodeTraffic{}, false}},
	} {
		t.Run(name, func(t *testing.T) {
			var sh lastShown
			for _, s := range steps {
				if got := len(sh.visible(of(s.now), nil, began.Add(s.after)).Edge.Nodes) == 1; got != s.there {
					t.Errorf("after %s with %+v: shown is %v, want %v", s.after, s.now, got, s.there)
				}
			}
		})
	}
}
