package orchestrator

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/fault"
)

// answer is what a request that waited got.
type answer struct {
	op  Operation
	err error
}

// wait asks in turn, and says when the request stands in the queue.
func (r *rig) inTurn(ctx context.Context, req Request) <-chan answer {
	r.t.Helper()
	before := len(r.queue())
	req.Key, req.Wait = shop, true
	done := make(chan answer, 1)
	go func() {
		op, err := r.o.Submit(ctx, req)
		done <- answer{op, err}
	}()
	r.until("the request to be in the queue", func(*State) bool { return len(r.queue()) > before })
	return done
}

func (r *rig) queue() []Queued {
	r.t.Helper()
	st, err := r.o.Status(context.Background(), shop)
	if err != nil {
		r.t.Fatal(err)
	}
	return st.Queue
}

func TestQueueIsServedInOrder(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, approvals)
		first := Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, approvals)}
		r.submit(first)
		r.atGate("ops")
		second := r.inTurn(t.Context(), Request{Kind: KindLaunch, By: "bob", Image: image(3), Config: shopConfig(1)})
		ctx, leave := context.WithCancel(t.Context())
		gone := r.inTurn(ctx, Request{Kind: KindDestroy, By: "eve"})
		third := r.inTurn(t.Context(), Request{Kind: KindCutover, By: "zoe"})
		var who []string
		for _, w := range r.queue() {
			who = append(who, w.By)
		}
		if !slices.Equal(who, []string{"bob", "eve", "zoe"}) {
			t.Errorf("the queue is %v", who)
		}
		leave()
		if a := <-gone; !errors.Is(a.err, context.Canceled) {
			t.Errorf("who left got %v", a.err)
		}
		time.Sleep(5 * time.Minute)
		if r.state().exclusive().Gate != "ops" {
			t.Fatal("the operation under way was touched by those who wait")
		}
		if err := r.steer("abort"); err != nil {
			t.Fatal(err)
		}
		a := <-second
		if a.err != nil || a.op.Kind != KindLaunch || a.op.By != "bob" {
			t.Fatalf("the second got %+v, %v", a.op, a.err)
		}
		r.wait(a.op)
		if a = <-third; a.err != nil || a.op.Kind != KindCutover {
			t.Fatalf("the third got %+v, %v", a.op, a.err)
		}
		r.wait(a.op)
		wantWeights(r, map[string]int{"r3": 100})
		if q := r.queue(); len(q) > 0 {
			t.Errorf("the queue is %v", q)
		}
	})
}

func TestQueueOfDestroyAbortsNothing(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, approvals)
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, approvals)})
		r.atGate("ops")
		destroyed := r.inTurn(t.Context(), Request{Kind: KindDestroy, By: "eve"})
		time.Sleep(time.Minute)
		for _, group := range []string{"ops", "team"} {
			r.atGate(group)
			if err := r.approve("bob"); err != nil {
				t.Fatal(err)
			}
		}
		if op = r.wait(op); op.Failure != nil {
			t.Errorf("the operation before it: %s", op.Failure.Message)
		}
		a := <-destroyed
		if a.err != nil || a.op.Kind != KindDestroy {
			t.Fatalf("%+v, %v", a.op, a.err)
		}
		r.wait(a.op)
	})
}

// What a destroy ends says so to whoever waits for it: which operation, whose, and what to do.
func TestDestroyIsNamedByWhatItEnds(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, approvals)
		up := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, approvals)})
		scale := r.submit(Request{Kind: KindScale, Size: 2})
		destroy, err := r.o.Submit(t.Context(), Request{Kind: KindDestroy, Key: shop, By: "eve@laptop"})
		if err != nil {
			t.Fatal(err)
		}
		for want, op := range map[string]Operation{"up of r2 (" + up.ID + ")": up, "scale (" + scale.ID + ")": scale} {
			f := r.wait(op).Failure
			if f == nil || f.Code != fault.RolledBack || f.Message != want+": ended by "+destroy.ID+", in which eve@laptop destroys shop/production" ||
				!strings.Contains(f.Hint, "release status") || !strings.Contains(f.Hint, "release up") {
				t.Errorf("%s ended with %+v", op.ID, f)
			}
		}
		if f := r.wait(destroy).Failure; f != nil {
			t.Errorf("the destroy: %s", f.Message)
		}
	})
}

// What waiting does not help against is said at once, and who asks for what is under way attaches.
func TestQueueIsNotForEverything(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, approvals)
		req := Request{Kind: KindUp, Key: shop, By: "bob", Wait: true, Image: image(2), Config: shopConfig(1, approvals)}
		op := r.submit(req)
		r.atGate("ops")
		same, err := r.o.Submit(t.Context(), req)
		if err != nil || same.ID != op.ID {
			t.Errorf("the same up: %+v, %v", same, err)
		}
		if err := r.steer("abort"); err != nil {
			t.Fatal(err)
		}
		r.wait(op)
		r.freeze(time.Time{})
		if _, err := r.o.Submit(t.Context(), req); !fault.Is(err, fault.Busy) {
			t.Errorf("while frozen: %v", err)
		}
	})
}
