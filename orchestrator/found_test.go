package orchestrator

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/store/storetest"
)

// loseStore gives the next agent a new store, while nodes and router go on.
func (r *rig) loseStore() {
	r.t.Helper()
	r.stop()
	r.store = storetest.NewMemory()
	r.driver = r.driver.Reopen("")
	r.lost = true
	r.start()
}

func (r *rig) awaitFound(n int) []Found {
	r.t.Helper()
	for range 600 {
		if found := r.o.Found(context.Background()); len(found) == n {
			return found
		}
		time.Sleep(100 * time.Millisecond)
	}
	r.t.Fatalf("found are %+v, want %d", r.o.Found(context.Background()), n)
	return nil
}

// served notes whenever the shop's route has no node with a share.
func (r *rig) served() (gaps func() int) {
	var mu sync.Mutex
	n := 0
	r.router.OnApply(func(t router.Table) {
		ok := slices.ContainsFunc(t.Routes, func(route router.Route) bool {
			return slices.ContainsFunc(route.Fleets, func(fl router.Fleet) bool { return fl.Weight > 0 && len(fl.Nodes) > 0 })
		})
		mu.Lock()
		defer mu.Unlock()
		if !ok {
			n++
		}
	})
	return func() int { mu.Lock(); defer mu.Unlock(); return n }
}

// With a lost store users are served as they were; what runs is reported, and a release takes its place without a gap.
func TestLostStore(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		pins := &pinned{}
		r.images = pins
		r.up(1, 2)
		r.up(2, 2)
		r.loseStore()
		f := r.awaitFound(2)
		if f[1].ID.Release != "r2" || f[1].Percent != 100 || f[1].Listen != ":8080" || f[1].Nodes != 2 || f[0].Listen != "" && f[0].Percent != 0 {
			t.Errorf("found are %+v", f)
		}
		time.Sleep(time.Hour)
		wantWeights(r, map[string]int{"r2": 100})
		if n := len(r.running("")); n != 4 {
			t.Errorf("%d nodes run, want 4", n)
		}
		if why := pins.of(image(2)); !strings.Contains(why, "r2 found running") {
			t.Errorf("the image of what was found is pinned for %q", why)
		}
		st, err := r.o.Status(context.Background(), shop)
		if err != nil || len(st.Found) != 2 || len(st.Routes) != 1 || st.Routes[0].Weights["r2"] != 100 {
			t.Errorf("the status is %+v, %v", st, err)
		}

		gaps := r.served()
		r.done(Request{Kind: KindLaunch, Image: image(3), Config: shopConfig(2)})
		wantWeights(r, map[string]int{"r2": 100})
		op := r.done(Request{Kind: KindCutover})
		if op.Release != "r3" {
			t.Errorf("the numbers do not go on: %s", op.Release)
		}
		wantWeights(r, map[string]int{"r3": 100})
		r.awaitFound(0)
		if left := len(r.running("r1")) + len(r.running("r2")); left != 0 || len(r.running("r3")) != 2 {
			t.Errorf("%d old nodes are left, %d new ones run", left, len(r.running("r3")))
		}
		if n := gaps(); n != 0 {
			t.Errorf("%d tables had nobody for the users", n)
		}
		r.up(4, 1) // all is as ever
	})
}

// A launch beside what was found fails: users stay where they are.
func TestLostStoreFailedLaunch(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		r.loseStore()
		r.awaitFound(1)
		gaps := r.served()
		r.setSick(image(2), true)
		op := r.wait(r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1)}))
		if op.Failure == nil {
			t.Fatal("a sick release was launched")
		}
		time.Sleep(10 * time.Minute)
		wantWeights(r, map[string]int{"r1": 100})
		if n := gaps(); n != 0 || len(r.running("r1")) != 1 {
			t.Errorf("%d tables had nobody, %d nodes of r1 run", n, len(r.running("r1")))
		}
		r.stop()
		r.start() // also over a restart
		r.awaitFound(1)
		r.up(3, 1)
		r.awaitFound(0)
		wantWeights(r, map[string]int{"r3": 100})
		if n := gaps(); n != 0 {
			t.Errorf("%d tables had nobody", n)
		}
	})
}

// A person who destroys the app means what was found too, and nobody else does.
func TestLostStoreDestroy(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		r.loseStore()
		r.awaitFound(1)
		r.done(Request{Kind: KindDestroy})
		if left := r.driver.All(); len(left) != 0 {
			t.Errorf("left are %+v", left)
		}
		wantWeights(r, map[string]int{})
		r.awaitFound(0)
		r.up(2, 1)
		wantWeights(r, map[string]int{"r2": 100})
	})
}

// What was found is shot only when its last request is answered.
func TestFoundFleetFinishesItsRequests(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		node := r.running("r1")[0]
		id := fleet.FleetID{App: shop.App, Env: shop.Env, Role: Role, Release: "r1", Incarnation: 1}
		r.loseStore()
		r.awaitFound(1)
		r.router.SetInFlight(id.String(), node, 1)
		r.up(2, 1)
		time.Sleep(5 * time.Minute)
		if len(r.running("r1")) != 1 {
			t.Error("a node was shot over a request")
		}
		r.router.SetInFlight(id.String(), node, 0)
		r.awaitFound(0)
	})
}

// pinned is an image store that keeps what was pinned last.
type pinned struct {
	anyImage
	mu   sync.Mutex
	last map[images.Digest][]string
}

func (p *pinned) PinFor(_ context.Context, _ string, why map[images.Digest][]string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = why
	return nil
}

func (p *pinned) of(image string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.last[images.Digest(image)], ", ")
}
