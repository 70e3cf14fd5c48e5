package orchestrator

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// verify stands for the check of signatures.
func (r *rig) verify(d images.Digest, require config.Require) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	left, bad := r.bad[string(d)]
	if !slices.Contains(require.SignedBy, "ann's key") {
		return fault.New(fault.Denied, "no good signature by %s", strings.Join(require.SignedBy, ", "))
	}
	if bad && left == 0 {
		return fault.New(fault.Denied, "it is not signed").WithHint("sign it")
	}
	if bad {
		r.bad[string(d)]--
	}
	return nil
}

// spoil takes an image's signature away after so many more checks.
func (r *rig) spoil(image string, after int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bad[image] = after
}

func signed(c *config.App) { c.Require.SignedBy = []string{"ann's key"} }

func wantRefused(t *testing.T, err error) {
	t.Helper()
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "it is not signed") || hintOf(err) != "sign it" {
		t.Fatalf("%s: %v", fault.CodeOf(err), err)
	}
}

func wantAborted(t *testing.T, op Operation) {
	t.Helper()
	if op.Failure == nil || op.Failure.Code != fault.RolledBack || !strings.Contains(op.Failure.Message, "it is not signed") || op.Failure.Hint != "sign it" {
		t.Fatalf("failure is %+v", op.Failure)
	}
}

func TestUnsignedImageIsRefused(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.spoil(image(1), 0)
		for _, kind := range []Kind{KindLaunch, KindUp} {
			_, err := r.try(Request{Kind: kind, Image: image(1), Config: shopConfig(1, signed)})
			wantRefused(t, err)
		}
		if s := r.state(); len(s.Releases) > 0 || len(r.running("")) > 0 {
			t.Fatalf("something began: %s", r.describe())
		}
		r.up(1, 1) // who requires nothing gets it
		other := func(c *config.App) { c.Require.SignedBy = []string{"bob's key"} }
		if _, err := r.try(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, other)}); !fault.Is(err, fault.Invalid) {
			t.Fatalf("another key: %v", err)
		}
		r.up(2, 1, signed)
		wantWeights(r, map[string]int{"r2": 100})
	})
}

func TestSignatureLostBeforeBootAborts(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, signed)
		r.spoil(image(2), 1) // the submit passes
		op := r.wait(r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, signed)}))
		wantAborted(t, op)
		wantWeights(r, map[string]int{"r1": 100})
		for _, n := range r.driver.All() {
			if n.ID.Fleet.Release == "r2" {
				t.Errorf("%s booted", n.ID.Node)
			}
		}
	})
}

func TestSignatureLostBeforeTrafficAborts(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, signed)
		r.spoil(image(2), 2) // submit and boot pass
		op := r.wait(r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, signed)}))
		wantAborted(t, op)
		wantWeights(r, map[string]int{"r1": 100})
		r.until("r2 shot", func(*State) bool { return len(r.running("r2")) == 0 })
		if st := r.state().release("r2").State; st != ReleaseAborted {
			t.Errorf("r2 is %s", st)
		}
	})
}

func TestSignatureLostBetweenStepsRoutesBack(t *testing.T) {
	steps := func(c *config.App) {
		c.Cutover.Steps = []config.Step{{Percent: 10, Hold: config.Duration(2 * time.Minute)}, {Percent: 100}}
	}
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2, signed)
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(2, signed, steps)})
		r.until("10 %", func(*State) bool { return r.weights()["r2"] == 10 })
		r.stop()
		r.start() // the next agent asks again, and has nothing to ask for at the share that is reached
		r.until("the hold", func(s *State) bool { return len(s.Operations) == 1 && s.Operations[0].Phase == PhaseHold })
		wantWeights(r, map[string]int{"r1": 90, "r2": 10})
		r.spoil(image(2), 0)
		wantAborted(t, r.wait(op))
		wantWeights(r, map[string]int{"r1": 100})
	})
}

func TestCutoverOfUnsignedReleaseIsRefused(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		r.done(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(1, signed)})
		r.spoil(image(2), 0)
		for _, req := range []Request{{Kind: KindCutover}, {Kind: KindCutover, Release: "r2", Percent: 10, Force: true}} {
			_, err := r.try(req)
			wantRefused(t, err)
		}
		r.spoil(image(2), 1)
		wantAborted(t, r.wait(r.submit(Request{Kind: KindCutover, Force: true})))
		wantWeights(r, map[string]int{"r1": 100})
	})
}

func TestRollbackIsCheckedWhenItBoots(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, signed)
		r.up(2, 1, signed)
		r.spoil(image(1), 0)
		r.done(Request{Kind: KindRollback}) // warm: it served before
		wantWeights(r, map[string]int{"r1": 100})
	})
	inRig(t, func(t *testing.T, r *rig) {
		short := func(c *config.App) { c.Cutover.KeepPrevious = 0 }
		r.up(1, 1, signed, short)
		r.up(2, 1, signed, short)
		r.until("r1 shot", func(s *State) bool { return len(s.Fleets) == 1 })
		r.spoil(image(1), 0)
		_, err := r.try(Request{Kind: KindRollback})
		wantRefused(t, err)
		for _, passes := range []int{1, 2} {
			r.spoil(image(1), passes)
			wantAborted(t, r.wait(r.submit(Request{Kind: KindRollback})))
			wantWeights(r, map[string]int{"r2": 100})
			r.until("r1 shot again", func(s *State) bool { return len(s.Fleets) == 1 })
		}
		r.spoil(image(1), 3)
		r.done(Request{Kind: KindRollback})
		wantWeights(r, map[string]int{"r1": 100})
	})
}

// A rollback during an operation is its abort, and no signature stands in its way.
func TestAbortNeedsNoSignature(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		hold := func(c *config.App) {
			c.Cutover.Steps = []config.Step{{Percent: 50, Hold: config.Duration(time.Hour)}, {Percent: 100}}
		}
		r.up(1, 1, signed)
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, signed, hold)})
		r.until("50 %", func(*State) bool { return r.weights()["r2"] == 50 })
		r.spoil(image(1), 0)
		r.spoil(image(2), 0)
		r.submit(Request{Kind: KindRollback})
		if op = r.wait(op); op.Failure == nil || !strings.Contains(op.Failure.Message, "aborted by ann") {
			t.Fatalf("failure is %+v", op.Failure)
		}
		wantWeights(r, map[string]int{"r1": 100})
	})
}
