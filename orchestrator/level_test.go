package orchestrator

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// TestRouterThatLostItsTable: whatever took the table away, the next look at the edges brings it back.
func TestRouterThatLostItsTable(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		time.Sleep(10 * time.Second)
		r.router.Forget()
		time.Sleep(5 * time.Second)
		wantWeights(r, map[string]int{"r1": 100})
		if s := r.state(); s.Fleets[0].healthy() != 2 {
			t.Errorf("%d nodes are healthy, want the same 2\n%s", s.Fleets[0].healthy(), r.describe())
		}
	})
}

// TestLedgerCountsFromTheOperationsBegin: an agent that has just started must not charge an operation with what the
// router counted before.
func TestLedgerCountsFromTheOperationsBegin(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		r.router.CountRoute("shop/production/web", func(rt *router.RouteTraffic) { rt.Requests, rt.Failed = 1000, 7 })
		r.stop()
		r.start()
		op := r.up(2, 1, func(cfg *config.App) {
			cfg.Cutover.Steps = []config.Step{{Percent: 50, Hold: config.Duration(10 * time.Second)}, {Percent: 100}}
		})
		if !reflect.DeepEqual(op.Ledger, Ledger{}) {
			t.Errorf("the ledger is %+v, want nothing: there was no request meanwhile", op.Ledger)
		}
	})
}

// TestKeptFleetThatHadTraffic: a fleet that is kept after it failed with traffic is out of the route and in nobody's way.
func TestKeptFleetThatHadTraffic(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		steps := func(cfg *config.App) {
			cfg.Cutover.Steps = []config.Step{{Percent: 10, Hold: config.Duration(time.Hour)}, {Percent: 100}}
		}
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(2, steps), KeepFailed: true})
		r.until("10 %", func(*State) bool { return r.weights()["r2"] == 10 })
		if err := r.steer("abort"); err != nil {
			t.Fatal(err)
		}
		r.wait(op)
		time.Sleep(5 * time.Minute)
		if n := len(r.running("r2")); n != 2 {
			t.Fatalf("%d nodes of the failed release are kept, want 2\n%s", n, r.describe())
		}
		if routed(r, "r2") {
			t.Error("the kept fleet is still in the route")
		}
		r.done(Request{Kind: KindScale, Size: 3})
		r.up(3, 2)
		r.until("r2 shot", func(*State) bool { return len(r.running("r2")) == 0 })
	})
}

func routed(r *rig, release string) bool {
	table, err := r.router.Applied(context.Background())
	return err == nil && slices.ContainsFunc(table.Routes, func(route router.Route) bool {
		return slices.ContainsFunc(route.Fleets, func(fl router.Fleet) bool { return fl.Release == release })
	})
}

// TestUnknownAppLeavesNoTrace: what is refused must not make an app known.
func TestUnknownAppLeavesNoTrace(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		for _, req := range []Request{{Kind: KindRollback}, {Kind: KindScale, Size: 2}, {Kind: KindCutover}, {Kind: KindDestroy}} {
			if _, err := r.try(req); err != nil && !fault.Is(err, fault.NotFound) {
				t.Errorf("%s: %v", req.Kind, err)
			}
		}
		if err := r.steer("abort"); !fault.Is(err, fault.NotFound) {
			t.Errorf("abort: %v, want not found", err)
		}
		time.Sleep(time.Minute)
		if keys := r.o.Keys(); len(keys) != 0 {
			t.Errorf("known are %v, want none", keys)
		}
		if list, err := r.store.List(context.Background(), statePrefix); err != nil || len(list) != 0 {
			t.Errorf("written are %v (%v), want nothing", list, err)
		}
	})
}

func TestTailTakesLongLines(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	log := "2026-01-02T03:04:05Z out first\n2026-01-02T03:04:05Z err " + long + "\n2026-01-02T03:04:05Z out last"
	lines, err := readTail(strings.NewReader(log), strings.ToUpper)
	if err != nil || len(lines) != 3 || lines[0] != "FIRST" || lines[2] != "LAST" {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	if n := len(lines[1]); n == 0 || n > maxTailLine+len("…") || !strings.HasPrefix(lines[1], "XXX") {
		t.Errorf("the long line has %d bytes, at most %d are kept", n, maxTailLine)
	}
}
