package console_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/orchestrator"
)

// What fleets cost is summed by release, and by cause over all of them.
func TestLedgerByRelease(t *testing.T) {
	f := newFake()
	f.op.Ended = time.Unix(1002, 0)
	f.op.Ledger = orchestrator.Ledger{Requests: 100, Failed: 4, Retried: 3, Cut: 7, Rejected: 2, NoNode: 1, Fleets: map[string]orchestrator.FleetLedger{
		"shop/production/web/r10/1": {Requests: 10, Reset: 1},
		"shop/production/web/r9/1":  {Requests: 50, Connect: 1, Timeout: 2, Cut: 7},
		"shop/production/web/r9/2":  {Requests: 40, Connect: 1, Status5x: 5},
	}}
	c := serve(t, f, nil, nil)
	op, err := c.Operation(t.Context(), shop(), "op-1", 0)
	if err != nil {
		t.Fatal(err)
	}
	want := api.Ledger{Requests: 100, Failed: 4, Retried: 3, Cut: 7, Rejected: 2,
		Causes: api.Causes{Connect: 2, Reset: 1, Timeout: 2, Status5x: 5, NoNode: 1},
		ByRelease: []api.ReleaseLedger{
			{Release: "r9", Requests: 90, Connect: 2, Timeout: 2, Status5x: 5, Cut: 7}, {Release: "r10", Requests: 10, Reset: 1},
		}}
	if !reflect.DeepEqual(op.Ledger, want) {
		t.Errorf("got  %+v\nwant %+v", op.Ledger, want)
	}
}

// The status tells what drains with what is left and until when, and what an operation under way has cost so far.
func TestStatusOfWhatDrains(t *testing.T) {
	f, soon := newFake(), time.Unix(5000, 0).UTC()
	id := orchestrator.Fleet{}.ID
	id.App = "shop"
	id.Env = "production"
	id.Role = "web"
	id.Release = "r1"
	id.Incarnation = 1
	fl := &orchestrator.Fleet{ID: id, State: orchestrator.FleetShooting, DrainBy: soon.Add(-time.Minute), Drain: orchestrator.Drain{LongBy: soon}}
	fl.Nodes = []*orchestrator.Node{{Name: "n1", State: orchestrator.NodeDraining, LeavesAt: soon, Drain: orchestrator.Drain{LongBy: soon.Add(time.Hour)}}}
	held := &orchestrator.Fleet{ID: id, State: orchestrator.FleetServing, Weight: 50, SessionsBy: soon}
	f.status.State.Fleets = []*orchestrator.Fleet{fl, held}
	f.status.State.Operations = []*orchestrator.Operation{{ID: "op-1", Kind: orchestrator.KindCutover, LedgerFrom: orchestrator.Ledger{Requests: 100}}}
	f.status.Counted = orchestrator.Ledger{Requests: 130, Failed: 1}
	f.status.Drained, f.status.Long = map[string]int{id.String(): 5}, map[string]int{id.String(): 4}
	f.status.Nodes = map[string]orchestrator.NodeStatus{"n1": {InFlight: 5, Long: 4}}
	s, err := serve(t, f, nil, nil).Status(t.Context(), shop())
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Fleets[0]; got.InFlight != 5 || got.Long != 4 || !got.Deadline.Equal(soon) || got.Closing {
		t.Errorf("the fleet is %+v", got)
	}
	if n := s.Fleets[0].Nodes[0]; n.InFlight != 5 || n.Long != 4 || !n.Deadline.Equal(soon.Add(time.Hour)) {
		t.Errorf("the node is %+v", n)
	}
	if got := s.Fleets[1]; !got.Sessions.Equal(soon) || !got.Deadline.IsZero() {
		t.Errorf("the fleet with sessions is %+v", got)
	}
	if l := s.Operation.Ledger; l.Requests != 30 || l.Failed != 1 {
		t.Errorf("so far it cost %+v", l)
	}
}
