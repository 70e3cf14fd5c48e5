package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/healthcheck"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
	"github.com/bootandshoot/release/store"
	"github.com/bootandshoot/release/store/storetest"
)

// rig is an orchestrator with everything around it in memory and time that is virtual.
type rig struct {
	t         *testing.T
	o         *Orchestrator
	driver    *fleettest.Fake
	over      func() fleet.Driver // what each agent has instead; nil: driver
	drivers   func() Drivers      // of each agent; nil: that one alone
	shared    bool                // its store, with agents that see other engines
	router    *routertest.Fake
	front     router.Backend // what each agent has instead; nil: router
	images    Images
	store     store.Store
	stop      func()
	room      func() bool // the reserve of the disk; nil: none
	lost      bool        // the next agent has a new store
	hooks     *fakeHooks
	metrics   *fakeMetrics
	slots     int  // that nodes may lease; at least 1000
	agents    byte // how many there were: each draws other names
	retention Retention
	tails     Tails // of nodes that are gone; nil: none

	mu   sync.Mutex
	sick map[string]bool // images whose nodes never answer well, and nodes that do not, or do all the same
	bad  map[string]int  // images without a good signature: how many checks still pass
}

var shop = Key{App: "shop", Env: "production"}

// inRig runs a test in a bubble of virtual time.
func inRig(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	inFrontOf(t, func(*rig) {}, test)
}

// inFrontOf is inRig with something changed before the first agent begins.
func inFrontOf(t *testing.T, change func(*rig), test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		change(r)
		r.start()
		defer func() { r.stop() }()
		test(t, r)
	})
}

func newRig(t *testing.T) *rig {
	return &rig{t: t, driver: fleettest.NewFake(fleettest.FakeOptions{}), router: routertest.NewFake(), images: anyImage{},
		store: storetest.NewMemory(), hooks: &fakeHooks{}, metrics: &fakeMetrics{}, sick: map[string]bool{}, bad: map[string]int{}}
}

// start begins an agent on the rig's store; after stop it is the next agent.
func (r *rig) start() {
	r.t.Helper()
	r.agents++
	ctx, cancel := context.WithCancel(context.Background())
	var driver fleet.Driver = r.driver
	if r.over != nil {
		driver = r.over()
	}
	var drivers Drivers = oneDriver{driver}
	if r.drivers != nil {
		drivers = r.drivers()
	}
	var front router.Backend = r.router
	if r.front != nil {
		front = r.front
	}
	o, err := New(Options{
		Installation: "test", Store: r.store, Drivers: drivers, Shared: r.shared, Router: front, Images: r.images,
		Slots: max(1000, r.slots), FirstPort: 20_000, Holder: "test", Rand: rand.NewChaCha8([32]byte{r.agents}), Check: r.check,
		Secret: func(ref string) (string, error) { return "secret of " + ref, nil }, Verify: r.verify, MakeRoom: r.room, Lost: r.lost,
		Hooks: r.hooks.run, Metrics: r.metrics.ask, Prometheus: config.AgentPrometheus{URL: "http://metrics", Token: "env:T"}, Mask: maskAll, Approvers: map[string][]string{"ops": {"bob", "eve"}},
		History: r.retention, Tails: r.tails,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	r.o = o
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			r.t.Errorf("run: %v", err)
		}
	})
}

// maskAll hides values as the real one does, but for their other forms.
func maskAll(values map[string]string) func(string) string {
	return func(line string) string {
		for _, v := range values {
			line = strings.ReplaceAll(line, v, "***")
		}
		return line
	}
}

// check answers for the nodes: well, unless the test said otherwise.
func (r *rig) check(_ context.Context, t healthcheck.Target) healthcheck.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	res := healthcheck.Result{At: time.Now(), OK: true}
	spec, _ := r.driver.SpecOf(t.Key)
	sick, said := r.sick[t.Key]
	if sick || !said && r.sick[spec.Image] { // what is said of a node goes before what is said of its image
		res.OK, res.Message = false, "it is sick"
	}
	return res
}

func (r *rig) setSick(name string, sick bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sick[name] = sick
}

// shopConfig is a configuration with the given size.
func shopConfig(size int, change ...func(*config.App)) *config.App {
	d := func(d time.Duration) config.Duration { return config.Duration(d) }
	cfg := &config.App{App: shop.App, Env: shop.Env}
	cfg.Fleet = config.Fleet{Size: size, Stop: config.Stop{Signal: "TERM", Grace: d(10 * time.Second)}}
	cfg.Health = config.Health{Interval: d(time.Second), Timeout: d(time.Second / 2), HealthyAfter: 2, UnhealthyAfter: 3,
		StartWithin: d(time.Minute), ReplaceAfter: d(30 * time.Second)}
	cfg.Route = config.Route{Listen: ":8080"}
	cfg.Cutover = config.Cutover{Steps: []config.Step{{Percent: 100}}, KeepPrevious: d(15 * time.Minute),
		Drain: config.Drain{Timeout: d(30 * time.Second), LongConnections: d(10 * time.Minute), CloseWithin: d(10 * time.Second)}}
	for _, c := range change {
		c(cfg)
	}
	return cfg
}

func image(n int) string { return fmt.Sprintf("sha256:%064d", n) }

// submit begins an operation that must be accepted.
func (r *rig) submit(req Request) Operation {
	r.t.Helper()
	op, err := r.try(req)
	if err != nil {
		r.t.Fatalf("%s: %v", req.Kind, err)
	}
	return op
}

func (r *rig) try(req Request) (Operation, error) {
	req.Key, req.By = shop, "ann"
	return r.o.Submit(context.Background(), req)
}

// steer says a word to what is under way.
func (r *rig) steer(verb string) error {
	_, err := r.o.Steer(context.Background(), shop, Word{Verb: verb, By: "ann", Name: "ann"})
	return err
}

// done submits and waits for the end, which must be in order.
func (r *rig) done(req Request) Operation {
	r.t.Helper()
	op := r.wait(r.submit(req))
	if op.Failure != nil {
		r.t.Fatalf("%s failed: %s", req.Kind, op.Failure.Message)
	}
	return op
}

func (r *rig) up(n, size int, change ...func(*config.App)) Operation {
	r.t.Helper()
	return r.done(Request{Kind: KindUp, Image: image(n), Config: shopConfig(size, change...)})
}

// wait waits for an operation's end, at most an hour of virtual time.
func (r *rig) wait(op Operation) Operation {
	r.t.Helper()
	r.until(string(op.Kind)+" to end", func(*State) bool {
		if op.Ended.IsZero() {
			var err error
			if op, err = r.o.Operation(context.Background(), shop, op.ID); err != nil {
				r.t.Fatal(err)
			}
		}
		return !op.Ended.IsZero()
	})
	return op
}

// until waits for a condition on the state.
func (r *rig) until(what string, ok func(*State) bool) *State {
	r.t.Helper()
	for range 36_000 {
		s := r.state()
		if ok(s) {
			return s
		}
		time.Sleep(100 * time.Millisecond)
	}
	r.t.Fatalf("waited an hour for %s; state:\n%s", what, r.describe())
	return nil
}

func (r *rig) state() *State {
	r.t.Helper()
	st, err := r.o.Status(context.Background(), shop)
	if fault.Is(err, fault.NotFound) {
		return &State{Key: shop}
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return &st.State
}

func (r *rig) describe() string {
	var b strings.Builder
	s := r.state()
	for _, fl := range s.Fleets {
		fmt.Fprintf(&b, "%s %s weight %d failures %d\n", fl.ID, fl.State, fl.Weight, fl.Failures)
		for _, n := range fl.Nodes {
			fmt.Fprintf(&b, "  %s %s booted %v %s\n", n.Name, n.State, n.Booted, n.Reason)
		}
	}
	for _, op := range s.Operations {
		fmt.Fprintf(&b, "%s %s %s waits for %s\n", op.ID, op.Kind, op.Phase, op.Waits)
	}
	return b.String()
}

// weights is the split as the router has it: percent by release.
func (r *rig) weights() map[string]int {
	r.t.Helper()
	t, err := r.router.Applied(context.Background())
	if err != nil {
		return nil
	}
	out := map[string]int{}
	for _, route := range t.Routes {
		for _, fl := range route.Fleets {
			if fl.Weight > 0 {
				out[fl.Release] = fl.Weight
			}
		}
	}
	return out
}

// running are the names of the nodes that the driver runs, of one release or "" for all.
func (r *rig) running(release string) []string {
	var names []string
	for _, n := range r.driver.All() {
		if n.Presence == fleet.Present && (release == "" || n.ID.Fleet.Release == release) {
			names = append(names, n.ID.Node)
		}
	}
	return names
}

type oneDriver struct{ d fleet.Driver }

func (o oneDriver) Driver(string) (fleet.Driver, error) { return o.d, nil }

func (o oneDriver) Choose(context.Context, string) (string, error) { return "fake", nil }

func (o oneDriver) Names() []string { return []string{"fake"} }

type anyImage struct{}

func (anyImage) Get(images.Digest) (images.Image, error) {
	return images.Image{Config: ocispec.Image{Config: ocispec.ImageConfig{
		Entrypoint: []string{"/app"}, ExposedPorts: map[string]struct{}{"8080/tcp": {}}}}}, nil
}

func (anyImage) PinFor(context.Context, string, map[images.Digest][]string) error { return nil }
