package orchestrator

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator/hook"
	"github.com/bootandshoot/release/store"
)

// fullDisk is a store and a router's disk that take nothing while they are full.
type fullDisk struct {
	store.Store
	full atomic.Bool
	kept atomic.Bool // there is a reserve
}

func (d *fullDisk) Commit(ctx context.Context, writes ...store.Write) (uint64, error) {
	if d.full.Load() {
		return 0, fault.New(fault.NoSpace, "no space left on device")
	}
	return d.Store.Commit(ctx, writes...)
}

// The disk that fills up when all is routed back already is not in the way of the abort's end.
func TestEndOfAnAbortOnAFullDisk(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.stop()
		d := &fullDisk{Store: r.store}
		r.store = d
		r.room = func() bool {
			d.full.Store(false)
			return d.kept.Swap(false)
		}
		r.start()
		r.up(1, 1)
		d.kept.Store(true)
		r.hooks.answer(func(context.Context, hook.Command, func(string)) (hook.Exit, error) {
			d.full.Store(true)
			return hook.Exit{}, nil
		})
		r.setSick(image(2), true)
		op := r.wait(r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, func(c *config.App) {
			c.Hooks.OnAbort = []config.Hook{{Cmd: []string{"./page"}, Timeout: config.Duration(time.Minute)}}
		})}))
		if op.Failure == nil || op.Failure.Code != fault.RolledBack || d.kept.Load() {
			t.Errorf("failure %+v, the reserve is kept: %t", op.Failure, d.kept.Load())
		}
	})
}

// A full disk is not in the way of a rollback or a destroy, which get the reserve; a launch has to wait for space.
func TestWayBackOnAFullDisk(t *testing.T) {
	for name, back := range map[string]func(r *rig){
		"rollback": func(r *rig) {
			r.done(Request{Kind: KindRollback})
			wantWeights(r, map[string]int{"r1": 100})
		},
		"destroy": func(r *rig) {
			r.done(Request{Kind: KindDestroy})
			if left := r.driver.All(); len(left) > 0 {
				r.t.Errorf("left are %d nodes", len(left))
			}
		},
	} {
		for _, where := range []string{"store", "router"} {
			t.Run(name+" "+where, func(t *testing.T) {
				t.Parallel()
				inRig(t, func(t *testing.T, r *rig) {
					r.stop()
					d := &fullDisk{Store: r.store}
					r.store = d
					r.room = func() bool {
						d.full.Store(false)
						r.router.FailApply(nil)
						return d.kept.Swap(false)
					}
					r.start()
					r.up(1, 1)
					r.up(2, 1)
					d.kept.Store(true)
					fill := func() {
						if where == "store" {
							d.full.Store(true)
						} else {
							r.router.FailApply(fault.New(fault.NoSpace, "no space left on device"))
						}
					}
					fill()
					if where == "store" {
						if _, err := r.try(Request{Kind: KindUp, Image: image(3), Config: shopConfig(1)}); !fault.Is(err, fault.NoSpace) {
							t.Errorf("a launch on a full disk: %v", err)
						}
					}
					if !d.kept.Load() {
						t.Fatal("the reserve went for something else than the way back")
					}
					back(r)
					if d.kept.Load() {
						t.Error("the reserve is still there: nothing was full")
					}
					fill()
					if _, err := r.try(Request{Kind: KindDestroy}); where == "store" && name == "rollback" && !fault.Is(err, fault.NoSpace) {
						t.Errorf("on a full disk without a reserve: %v", err)
					}
					d.full.Store(false)
					r.router.FailApply(nil)
				})
			})
		}
	}
}
