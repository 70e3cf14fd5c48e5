package orchestrator

import (
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
)

// Nodes stay that an edge may route to: one that is silent, and one that is back and has yet to catch up.
func TestEdgesHold(t *testing.T) {
	now := router.Version{Epoch: 2, Seq: 7}
	edge := func(v router.Version, silent time.Time) router.Observation {
		return router.Observation{Edges: []router.Edge{{ID: "e1", Confirmed: now}, {ID: "e2", Confirmed: v, Silent: silent,
			Nodes: []router.NodeTraffic{{Node: "n1", Fleet: "f1"}}}}}
	}
	for name, test := range map[string]struct {
		obs       router.Observation
		effective router.Version
		why       string
	}{
		"it has the table":          {edge(now, time.Time{}), now, ""},
		"it has a newer one":        {edge(router.Version{Epoch: 3, Seq: 1}, time.Time{}), now, ""},
		"silent":                    {edge(now, time.Unix(1, 0)), now, "release router forget e2"},
		"back, and behind":          {edge(router.Version{Epoch: 2, Seq: 5}, time.Time{}), now, "older table"},
		"read before it could have": {edge(router.Version{Epoch: 2, Seq: 5}, time.Time{}), router.Version{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdgesSeen()
			e.take(test.obs, time.Unix(100, 0), test.effective, true)
			for _, what := range []string{"n1", "f1"} {
				if got := e.held[what]; (got == "") != (test.why == "") || !strings.Contains(got, test.why) {
					t.Errorf("%s is held by %q, want %q", what, got, test.why)
				}
			}
		})
	}
}

// A table that nobody serves is said to be such.
func TestUnserved(t *testing.T) {
	live, silent := router.Edge{ID: "e1"}, router.Edge{ID: "e2", Silent: time.Unix(1, 0)}
	for _, test := range []struct {
		edges []router.Edge
		want  string
	}{
		{[]router.Edge{live, silent}, ""},
		{[]router.Edge{silent}, "silent are e2"},
		{nil, "release router run --consul"},
	} {
		if got := unserved(router.Observation{Edges: test.edges}); (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%+v: %q, want %q", test.edges, got, test.want)
		}
	}
	table := tableSeen{effective: router.Table{Version: router.Version{Seq: 3}}, confirmed: time.Unix(10, 0)}
	_, early := table.settled(time.Unix(9, 0))
	if v, ok := table.settled(time.Unix(10, 0)); early || !ok || v != table.effective.Version {
		t.Error("a reading is compared with a table that was confirmed after it")
	}
}
