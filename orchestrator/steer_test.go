package orchestrator

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
)

// approvals is a cutover that somebody of ops has to approve at 10 %, and anybody at 50 %.
func approvals(c *config.App) {
	c.Cutover.Steps = []config.Step{{Percent: 10, Hold: config.Duration(time.Minute), Approve: "ops"}, {Percent: 50, Approve: "team"}, {Percent: 100}}
}

func (r *rig) approve(name string) error {
	_, err := r.o.Steer(context.Background(), shop, Word{Verb: "approve", By: name + "@laptop", Name: name})
	return err
}

// atGate waits until the operation under way waits for a group.
func (r *rig) atGate(group string) *Operation {
	r.t.Helper()
	s := r.until("the gate of "+group, func(s *State) bool { op := s.exclusive(); return op != nil && op.Gate == group })
	return s.exclusive()
}

func TestGateHoldsUntilApproved(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2, approvals)
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(2, approvals)})
		r.until("10 %", func(*State) bool { return r.weights()["r2"] == 10 })
		if err := r.approve("bob"); !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "nothing waits for approval") {
			t.Errorf("approved before the hold was over: %v", err)
		}
		gated := r.atGate("ops")
		if held := time.Since(op.At); held < time.Minute {
			t.Errorf("the gate came after %s, before the hold of 1m", held)
		}
		if !strings.Contains(gated.Waits, "approval by ops: release approve") {
			t.Errorf("it waits for %q", gated.Waits)
		}
		time.Sleep(10 * time.Minute)
		wantWeights(r, map[string]int{"r1": 90, "r2": 10})
		if err := r.approve("ann"); !fault.Is(err, fault.Denied) || !strings.Contains(hintOf(err), "bob, eve") {
			t.Errorf("ann, who is none of ops: %v", err)
		}
		if err := r.approve("bob"); err != nil {
			t.Fatal(err)
		}
		r.atGate("team")
		wantWeights(r, map[string]int{"r1": 50, "r2": 50})
		if err := r.approve("ann"); err != nil {
			t.Errorf("a group that agent.yaml does not name: %v", err)
		}
		op = r.wait(op)
		wantWeights(r, map[string]int{"r2": 100})
		if len(op.Approvals) != 2 || op.Approvals[0].By != "bob@laptop" || op.Approvals[0].Percent != 10 || op.Gate != "" {
			t.Errorf("the record: %+v", op.Approvals)
		}
	})
}

// Whoever types another word than the one that helps is told which does.
func TestWordsThatDoNotHelpNameTheOneThatDoes(t *testing.T) {
	says := func(t *testing.T, err error, code fault.Code, hint string) {
		t.Helper()
		if !fault.Is(err, code) || !strings.Contains(hintOf(err), hint) {
			t.Errorf("%v (%s), want %s with %q", err, hintOf(err), code, hint)
		}
	}
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, approvals)
		says(t, r.steer("abort"), fault.NotFound, "release status")
		r.done(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(1, approvals)})
		r.done(Request{Kind: KindCutover, Percent: 5})
		says(t, r.steer("abort"), fault.NotFound, "r2 holds at 5 %: release rollback routes back, release cutover r2 goes on")
		r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, approvals)})
		r.atGate("ops")
		says(t, r.steer("resume"), fault.Held, "release approve")
		_, err := r.try(Request{Kind: KindCutover, Percent: 30})
		says(t, err, fault.Busy, "release approve")
		if err := r.steer("pause"); err != nil {
			t.Fatal(err)
		}
		if err := r.steer("resume"); err != nil {
			t.Errorf("resume of what is paused at a gate: %v", err)
		}
	})
}

// A gate that was passed is not asked again by the next cutover of the release, and none is passed by naming a share.
func TestNoWayLeadsPastAGate(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, approvals)
		r.done(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(1, approvals)})
		if _, err := r.try(Request{Kind: KindRollback, Release: "r2"}); !fault.Is(err, fault.Denied) {
			t.Errorf("rolled back to what nobody approved: %v", err)
		}
		r.done(Request{Kind: KindCutover, Percent: 10})
		r.done(Request{Kind: KindCutover, Percent: 5})
		op := r.submit(Request{Kind: KindCutover, Percent: 40})
		r.atGate("ops")
		wantWeights(r, map[string]int{"r1": 90, "r2": 10})
		if err := r.approve("eve"); err != nil {
			t.Fatal(err)
		}
		r.wait(op)
		wantWeights(r, map[string]int{"r1": 60, "r2": 40})
		op = r.submit(Request{Kind: KindCutover, Percent: 100})
		r.atGate("team")
		wantWeights(r, map[string]int{"r1": 50, "r2": 50})
		if err := r.approve("eve"); err != nil {
			t.Fatal(err)
		}
		r.wait(op)
		wantWeights(r, map[string]int{"r2": 100})
	})
}

func TestGateSurvivesTheAgentAndIsAborted(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, approvals)
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, approvals)})
		r.atGate("ops")
		r.stop()
		r.start()
		r.atGate("ops")
		if err := r.steer("abort"); err != nil {
			t.Fatal(err)
		}
		if op = r.wait(op); op.Failure == nil || op.Gate != "" {
			t.Errorf("the aborted operation: %+v", op)
		}
		wantWeights(r, map[string]int{"r1": 100})
	})
}

func TestSteps(t *testing.T) {
	rel := &Release{Config: *shopConfig(1, approvals)}
	half := &Release{Config: *shopConfig(1, approvals), Approvals: []Approval{{Group: "ops", Percent: 20}}}
	for _, c := range []struct {
		name            string
		rel             *Release
		present, target int
		want            []int // percents; those with a gate negative
	}{
		{"whole", rel, 0, 0, []int{-10, -50, 100}},
		{"beyond a gate that nobody passed", rel, 20, 0, []int{-20, -50, 100}},
		{"beyond all", rel, 60, 0, []int{-60, -60, 100}},
		{"to a share below the gate", rel, 0, 5, []int{5}},
		{"to the gate", rel, 0, 10, []int{10}},
		{"past the gate", rel, 0, 30, []int{-10, 30}},
		{"past both", rel, 10, 100, []int{-10, -50, 100}},
		{"down", rel, 60, 20, []int{20}},
		{"approved", half, 20, 0, []int{-50, 100}},
		{"approved at more", half, 0, 30, []int{30}},
	} {
		r := &round{s: &State{Releases: []*Release{c.rel}, Fleets: []*Fleet{{Weight: 100}}}}
		var got []int
		for _, st := range r.steps(c.rel, c.present, c.target) {
			if st.Approve != "" {
				st.Percent = -st.Percent
			}
			got = append(got, st.Percent)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
