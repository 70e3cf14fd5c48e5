package orchestrator

import (
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
)

// A silent edge may serve the table that it had: what that names is not shot however long it takes, and the journal says for
// whose sake. Routing goes on.
func TestNothingIsShotForASilentEdge(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2, coldAtOnce)
		old := r.running("r1")
		time.Sleep(time.Second)
		o, err := r.router.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		gone := o.Edges[0]
		gone.ID, gone.Silent = "far-1", time.Now()
		r.router.SetOthers(gone)
		r.up(2, 2, coldAtOnce)
		time.Sleep(time.Hour)
		if now := r.running("r1"); len(now) != len(old) || r.weights()["r2"] != 100 {
			t.Errorf("of %v run %v; weights %v", old, now, r.weights())
		}
		told := r.events("fleet.held")
		if len(told) != 1 || !strings.Contains(told[0].Message, "release router forget far-1") {
			t.Errorf("told %v, want once with the command", told)
		}
		r.router.SetOthers()
		shotAfter(r, "r1", time.Now())
	})
}

// The edge that is silent does not make the agent think that its own table is not in effect.
func TestSilentEdgesAreNotCompared(t *testing.T) {
	seen := tableSeen{known: true, effective: router.Table{Version: router.Version{Epoch: 2, Seq: 3}}}
	obs := router.Observation{Edges: []router.Edge{{ID: "a", Confirmed: seen.effective.Version}, {ID: "b", Silent: time.Unix(1, 0)}}}
	if seen.compare(obs, time.Unix(5, 0)); !seen.known {
		t.Error("a silent edge made the table unknown")
	}
	obs.Edges[1].Silent = time.Time{}
	if seen.compare(obs, time.Unix(5, 0)); seen.known {
		t.Error("an edge that serves another table was not noticed")
	}
}
