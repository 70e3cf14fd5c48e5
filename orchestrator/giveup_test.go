package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router/routertest"
	"github.com/bootandshoot/release/store"
	"github.com/bootandshoot/release/store/storetest"
)

// twoHosts is a store with agents on two machines, each of which sees its own nodes.
type twoHosts struct {
	t      *testing.T
	store  store.Store
	router *routertest.Fake
	rig    *rig
}

// agent is one of them; it does nothing yet.
func (h *twoHosts) agent(name string, seed byte, d *scopedDriver, have Images) *Orchestrator {
	h.t.Helper()
	o, err := New(Options{
		Installation: "test", Store: h.store, Drivers: oneDriver{d}, Router: h.router, Images: have, Slots: 100, Holder: name,
		Rand: rand.NewChaCha8([32]byte{seed}), Check: h.rig.check, Shared: true,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return o
}

// lead runs an agent while something happens.
func (h *twoHosts) lead(o *Orchestrator, while func()) error {
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	while()
	cancel()
	return <-done
}

// noImage is an image store that has none.
type noImage struct{ anyImage }

func (noImage) Get(images.Digest) (images.Image, error) {
	return images.Image{}, errors.New("it is not there")
}

// A machine is lost with its agent and nodes. Another agent leads once a person gives the machine up, and boots the fleet anew.
func TestHostIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alpha, beta := fleettest.NewFake(fleettest.FakeOptions{}), fleettest.NewFake(fleettest.FakeOptions{})
		h := &twoHosts{t: t, store: storetest.NewMemory(), router: routertest.NewFake(), rig: &rig{t: t, driver: beta, sick: map[string]bool{}}}
		onAlpha := &scopedDriver{Fake: alpha, engine: "sandboxes of alpha in /s"}
		onBeta := &scopedDriver{Fake: beta, engine: "sandboxes of beta in /s"}
		first := h.agent("first", 1, onAlpha, anyImage{})
		giveUp := func(host string, have Images, within time.Duration) ([]string, error) {
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			gone, err := h.agent("second", 2, onBeta, have).GiveUp(ctx, host, "ann")
			return gone.Fleets, err
		}
		if err := h.lead(first, func() {
			op, err := first.Submit(t.Context(), Request{Kind: KindUp, Key: shop, By: "ann", Image: image(1), Config: shopConfig(2)})
			for err == nil && op.Ended.IsZero() {
				time.Sleep(time.Second)
				op, err = first.Operation(t.Context(), shop, op.ID)
			}
			if err != nil || op.Failure != nil {
				t.Fatalf("up: %+v, %v", op.Failure, err)
			}
			if _, err := giveUp("alpha", anyImage{}, time.Minute); !fault.Is(err, fault.Busy) || !strings.Contains(err.Error(), "first leads") {
				t.Errorf("a machine whose agent leads is given up: %v", err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		err := h.lead(h.agent("second", 3, onBeta, anyImage{}), func() { time.Sleep(time.Second) })
		if !fault.Is(err, fault.Unsupported) || !strings.Contains(fault.All(err)[0].Hint, "release host forget") {
			t.Errorf("an agent that does not see the fleet: %v, %+v", err, fault.All(err))
		}
		if _, err := giveUp("gamma", anyImage{}, time.Minute); !fault.Is(err, fault.NotFound) {
			t.Errorf("a machine that nobody knows: %v", err)
		}
		if _, err := giveUp("alpha", noImage{}, time.Minute); !fault.Is(err, fault.Unavailable) {
			t.Errorf("without the image: %v", err)
		}
		if moved, err := giveUp("alpha", anyImage{}, time.Minute); err != nil || len(moved) != 1 {
			t.Fatalf("given up: %v, %v", moved, err)
		}
		second := h.agent("second", 4, onBeta, anyImage{})
		if err := h.lead(second, func() {
			for range 600 {
				st, err := second.Status(t.Context(), shop)
				if err == nil && st.State.serving().healthy() == 2 && len(st.State.serving().Nodes) == 2 && len(st.State.Operations) == 0 {
					break
				}
				time.Sleep(100 * time.Millisecond)
			}
			st, err := second.Status(t.Context(), shop)
			if err != nil || st.State.serving().healthy() != 2 || len(beta.All()) != 2 {
				t.Errorf("after a minute %d nodes run on the other machine: %v", len(beta.All()), err)
			}
			table, err := h.router.Applied(t.Context())
			if err != nil || len(table.Routes) != 1 || len(table.Routes[0].Fleets[0].Nodes) != 2 {
				t.Fatalf("the table: %+v, %v", table, err)
			}
			for _, n := range table.Routes[0].Fleets[0].Nodes {
				if _, ok := beta.SpecOf(n.Name); !ok {
					t.Errorf("users are sent to %s, which is not there", n.Name)
				}
			}
			events, err := second.Events(t.Context(), shop, 0, 1000)
			if err != nil || !strings.Contains(messages(events), "ann says that alpha is gone for good") {
				t.Errorf("the journal does not say it: %v\n%s", err, messages(events))
			}
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := giveUp("alpha", anyImage{}, time.Minute); !fault.Is(err, fault.NotFound) {
			t.Errorf("given up twice: %v", err)
		}
	})
}

// What is left on a lost machine is a volume that no fleet has. The agent that leads is told, and nodes get a new one.
func TestVolumeOfALostHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		onAlpha := &scopedDriver{Fake: fleettest.NewFake(fleettest.FakeOptions{}), engine: "sandboxes of alpha in /s"}
		onBeta := &scopedDriver{Fake: fleettest.NewFake(fleettest.FakeOptions{}), engine: "sandboxes of beta in /s"}
		h := &twoHosts{t: t, store: storetest.NewMemory(), router: routertest.NewFake(), rig: &rig{t: t, driver: onBeta.Fake, sick: map[string]bool{}}}
		ends := func(o *Orchestrator, req Request) error {
			req.Key, req.By = shop, "ann"
			op, err := o.Submit(t.Context(), req)
			for err == nil && op.Ended.IsZero() {
				time.Sleep(time.Second)
				op, err = o.Operation(t.Context(), shop, op.ID)
			}
			if err == nil && op.Failure != nil {
				err = errors.New(op.Failure.Message)
			}
			return err
		}
		up := Request{Kind: KindUp, Image: image(1), Config: shopConfig(1, oneWriter)}
		first := h.agent("first", 1, onAlpha, anyImage{})
		if err := h.lead(first, func() {
			if err := errors.Join(ends(first, up), ends(first, Request{Kind: KindDestroy})); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		second := h.agent("second", 2, onBeta, anyImage{})
		if err := h.lead(second, func() {
			if err := ends(second, up); !fault.Is(err, fault.Denied) {
				t.Errorf("a release whose volume is elsewhere: %v", err)
			}
			if lost, err := second.LoseVolumes(t.Context(), "gamma", "ann", false); err != nil || len(lost) != 0 {
				t.Errorf("another machine had %q, %v", lost, err)
			}
			for _, try := range []bool{true, true, false} { // what is tried changes nothing
				lost, err := second.LoseVolumes(t.Context(), "alpha", "ann", try)
				if err != nil || len(lost) != 1 || lost[0] != "shop/production/web/data" {
					t.Errorf("lost are %q, %v", lost, err)
				}
			}
			if err := ends(second, up); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	})
}

// partStore takes a number of states and no more, once it is told to.
type partStore struct {
	store.Store
	left atomic.Int64
}

func (s *partStore) Commit(ctx context.Context, writes ...store.Write) (uint64, error) {
	if slices.ContainsFunc(writes, func(w store.Write) bool { return strings.HasPrefix(w.Key, statePrefix) }) && s.left.Add(-1) < 0 {
		return 0, errors.New("the store is away")
	}
	return s.Store.Commit(ctx, writes...)
}

// Two apps are on a lost machine, and only one can be written. It is given up and said to be, and so is no other, whoever is told.
func TestHalfOfAHostIsGivenUp(t *testing.T) {
	for name, destroyed := range map[string]bool{"fleets": false, "volumes, told to the leader": true} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { halfGivenUp(t, destroyed) }) })
	}
}

func halfGivenUp(t *testing.T, destroyed bool) {
	mem := &partStore{Store: storetest.NewMemory()}
	mem.left.Store(1_000_000)
	onAlpha := &scopedDriver{Fake: fleettest.NewFake(fleettest.FakeOptions{}), engine: "sandboxes of alpha in /s"}
	onBeta := &scopedDriver{Fake: fleettest.NewFake(fleettest.FakeOptions{}), engine: "sandboxes of beta in /s"}
	h := &twoHosts{t: t, store: mem, router: routertest.NewFake(), rig: &rig{t: t, driver: onBeta.Fake, sick: map[string]bool{}}}
	first := h.agent("first", 1, onAlpha, anyImage{})
	if err := h.lead(first, func() {
		for i, key := range []Key{shop, {App: "other", Env: "production"}} {
			cfg := shopConfig(1, oneWriter, func(c *config.App) { c.App, c.Route.Listen = key.App, fmt.Sprintf(":%d", 10_000+i) })
			requests := []Request{{Kind: KindUp, Image: image(1), Config: cfg}, {Kind: KindDestroy}}
			if !destroyed {
				requests = requests[:1]
			}
			for _, req := range requests {
				req.Key, req.By = key, "ann"
				op, err := first.Submit(t.Context(), req)
				for err == nil && op.Ended.IsZero() {
					time.Sleep(time.Second)
					op, err = first.Operation(t.Context(), key, op.ID)
				}
				if err != nil || op.Failure != nil {
					t.Fatalf("%s %s: %+v, %v", req.Kind, key, op.Failure, err)
				}
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	second := h.agent("second", 2, onBeta, anyImage{})
	giveUp := func() (GivenUp, error) { return second.GiveUp(t.Context(), "alpha", "ann") }
	check := func() {
		onBeta.err = errors.New("the engine is away")
		if _, err := giveUp(); !fault.Is(err, fault.Unsupported) && !fault.Is(err, fault.Unavailable) {
			t.Errorf("a driver that does not answer: %v", err)
		}
		onBeta.err = nil
		mem.left.Store(1)
		half, err := giveUp()
		if err == nil || !strings.Contains(err.Error(), "the store is away") || len(half.Volumes) != 1 || len(half.Fleets) != 1 && !destroyed {
			t.Errorf("half is %+v, %v", half, err)
		}
		mem.left.Store(1_000_000)
		rest, err := giveUp()
		if err != nil || len(rest.Volumes) != 1 || slices.Equal(rest.Volumes, half.Volumes) {
			t.Errorf("then %+v, %v; before it %+v", rest, err, half)
		}
	}
	if !destroyed {
		check()
		return
	}
	giveUp = func() (GivenUp, error) {
		ids, err := second.LoseVolumes(t.Context(), "alpha", "ann", false)
		return GivenUp{Volumes: ids}, err
	}
	if err := h.lead(second, check); err != nil {
		t.Fatal(err)
	}
}

// The machine of a scope is its name, and no other word.
func TestScopeOnAHost(t *testing.T) {
	for scope, host := range map[string]string{
		"sandboxes of alpha in /var/lib/release 5f3c":            "alpha",
		"sandboxes of alpha in /srv/my state":                    "alpha",
		"machines of alpha.example in /s 5f3c":                   "alpha.example",
		"docker engine 8a:b on alpha":                            "alpha",
		"docker engine 8a:b on alpha, by published ports":        "alpha",
		"sandboxes of in in /s":                                  "in",
		"AWS account 123456789012, eu-central-1":                 "",
		"something that no driver of this version calls a scope": "",
	} {
		words := strings.FieldsFunc(scope, func(r rune) bool { return r == ' ' || r == ',' })
		for _, word := range append(words, "", "beta", strings.TrimSuffix(host, "a"), host+",") {
			if got := scopeOn(scope, word); got != (word == host && host != "") {
				t.Errorf("%q is on %q: %v", scope, word, got)
			}
		}
		if !scopeOn(scope, scope) || host != "" && !scopeOn(scope, host) {
			t.Errorf("%q is not on %q, or not called so", scope, host)
		}
	}
}

func messages(events []Event) string {
	var all []string
	for _, e := range events {
		all = append(all, e.Message)
	}
	return strings.Join(all, "\n")
}
