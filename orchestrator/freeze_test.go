package orchestrator

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/fault"
)

func (r *rig) freeze(until time.Time) {
	r.t.Helper()
	if _, err := r.o.Steer(context.Background(), shop, Word{Verb: "freeze", By: "bob@desk", Reason: "sale", Until: until}); err != nil {
		r.t.Fatal(err)
	}
}

func TestFreezeRefusesWhatBegins(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		r.up(2, 2)
		r.done(Request{Kind: KindLaunch, Image: image(3), Config: shopConfig(2)})
		r.freeze(time.Time{})
		for _, req := range []Request{
			{Kind: KindUp, Image: image(4), Config: shopConfig(2)}, {Kind: KindLaunch, Image: image(4), Config: shopConfig(2)},
			{Kind: KindCutover}, {Kind: KindDestroy}, {Kind: KindRollback, Release: "r3"},
		} {
			_, err := r.try(req)
			if !fault.Is(err, fault.Busy) || !strings.Contains(err.Error(), "frozen by bob@desk") || !strings.Contains(err.Error(), "sale") {
				t.Errorf("%s of a frozen app: %v", req.Kind, err)
			}
		}
		if n := len(r.state().Releases); n != 3 {
			t.Errorf("%d releases after refused launches, want 3", n)
		}
		if op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(2)}); op.ID != "" {
			t.Errorf("up with nothing changed began %s", op.ID)
		}
		r.done(Request{Kind: KindScale, Size: 3})
		r.done(Request{Kind: KindReplace, Nodes: r.running("r2")[:1]})
		r.done(Request{Kind: KindRollback})
		wantWeights(r, map[string]int{"r1": 100})
		if done, err := r.o.Steer(t.Context(), shop, Word{Verb: "unfreeze", By: "ann"}); err != nil || len(done) != 1 {
			t.Fatalf("unfreeze: %v, %v", done, err)
		}
		if done, err := r.o.Steer(t.Context(), shop, Word{Verb: "unfreeze", By: "ann"}); err != nil || len(done) != 0 {
			t.Errorf("unfreeze again: %v, %v", done, err)
		}
		r.up(4, 3)
	})
}

func TestFreezeEndsByItself(t *testing.T) {
	t.Parallel()
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		until := time.Now().Add(2 * time.Hour)
		r.freeze(until)
		r.stop()
		r.start()
		_, err := r.try(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1)})
		if !fault.Is(err, fault.Busy) || !strings.Contains(err.Error(), "until "+until.Format(freezeTime)) {
			t.Errorf("frozen until: %v", err)
		}
		time.Sleep(2*time.Hour + time.Second)
		r.up(2, 1)
		events, err := r.o.Events(t.Context(), shop, 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		var types []string
		for _, e := range events {
			if strings.HasPrefix(e.Type, "app.") {
				types = append(types, e.Type)
			}
		}
		if !slices.Equal(types, []string{"app.frozen", "app.unfrozen"}) {
			t.Errorf("the journal has %v", types)
		}
	})
}

// What is under way when the app is frozen goes on, and whoever asks for the same attaches.
func TestFreezeLeavesWhatIsUnderWay(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, approvals)
		req := Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, approvals)}
		op := r.submit(req)
		r.atGate("ops")
		r.freeze(time.Time{})
		if same := r.submit(req); same.ID != op.ID {
			t.Errorf("the same up began %s", same.ID)
		}
		if err := r.approve("bob"); err != nil {
			t.Fatal(err)
		}
		r.atGate("team")
		if err := r.approve("bob"); err != nil {
			t.Fatal(err)
		}
		if op = r.wait(op); op.Failure != nil {
			t.Errorf("it failed: %s", op.Failure.Message)
		}
	})
}

func TestFreezeRefusesWhatMakesNoSense(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		for _, w := range []Word{{Reason: ""}, {Reason: "sale", Until: time.Now().Add(-time.Second)}} {
			w.Verb, w.By = "freeze", "ann"
			if _, err := r.o.Steer(t.Context(), shop, w); !fault.Is(err, fault.Invalid) {
				t.Errorf("%+v: %v", w, err)
			}
		}
		done, err := r.o.Steer(t.Context(), shop, Word{Verb: "freeze", By: "ann", Reason: "sale", DryRun: true})
		if err != nil || len(done) != 1 || r.state().Freeze != nil {
			t.Errorf("dry run: %v, %v, %+v", done, err, r.state().Freeze)
		}
	})
}
