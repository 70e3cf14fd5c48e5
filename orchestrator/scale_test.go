package orchestrator

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/healthcheck"
	"github.com/bootandshoot/release/router/routertest"
	"github.com/bootandshoot/release/store"
	"github.com/bootandshoot/release/store/embedded"
	"github.com/bootandshoot/release/store/storetest"
)

// The limits for 10,000 nodes in 100 apps.
const (
	crowdApps, crowdNodes = 100, 100
	mostTick              = 50 * time.Millisecond // CPU of a round of all apps with nothing to do
	mostResident          = 200 << 20             // bytes of the process at its highest, the simulated nodes, router and store included
	mostRead              = time.Second           // 100,000 journal entries
	mostWait              = time.Second           // a person waits for the loop while 1,000 nodes are replaced
)

// crowd is an agent in real time with many simulated nodes.
type crowd struct {
	t      *testing.T
	o      *Orchestrator
	driver *fleettest.Fake
	apps   []Key
}

func newCrowd(t *testing.T, s store.Store, apps int) *crowd {
	t.Helper()
	c := &crowd{t: t, driver: fleettest.NewFake(fleettest.FakeOptions{})}
	edges := routertest.NewFake()
	edges.KeepNewest()
	ctx, cancel := context.WithCancel(context.Background())
	o, err := New(Options{
		Installation: "test", Store: s, Drivers: oneDriver{c.driver}, Router: edges, Images: anyImage{}, Slots: 50_000,
		Holder: "test", Rand: rand.NewChaCha8([32]byte{1}),
		Check: func(context.Context, healthcheck.Target) healthcheck.Result {
			return healthcheck.Result{At: time.Now(), OK: true}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	c.o = o
	for i := range apps {
		c.apps = append(c.apps, Key{App: fmt.Sprintf("app%03d", i), Env: "production"})
	}
	return c
}

// launch brings every app up with so many nodes.
func (c *crowd) launch(nodes int) {
	c.t.Helper()
	for i, key := range c.apps {
		cfg := shopConfig(nodes, func(cfg *config.App) { cfg.App, cfg.Route.Listen = key.App, fmt.Sprintf(":%d", 10_000+i) })
		if _, err := c.o.Submit(context.Background(), Request{Kind: KindUp, Key: key, By: "ann", Image: image(i), Config: cfg}); err != nil {
			c.t.Fatal(err)
		}
	}
	c.whole(nodes)
}

// whole waits until all fleets have all their nodes, and nothing is under way.
func (c *crowd) whole(nodes int) {
	c.t.Helper()
	deadline := time.Now().Add(10 * time.Minute)
	for _, key := range c.apps {
		for {
			st, err := c.o.Status(context.Background(), key)
			if err != nil {
				c.t.Fatal(err)
			}
			s := &st.State
			if serving := s.serving(); serving != nil && len(s.Operations) == 0 && serving.healthy() == nodes && len(serving.Nodes) == nodes {
				break
			}
			if time.Now().After(deadline) {
				c.t.Fatalf("%s does not become whole", key)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// forgotten waits until no state has any of these nodes.
func (c *crowd) forgotten(nodes map[string]bool) {
	c.t.Helper()
	deadline := time.Now().Add(10 * time.Minute)
	for _, key := range c.apps {
		for {
			st, err := c.o.Status(context.Background(), key)
			if err != nil {
				c.t.Fatal(err)
			}
			has := func(fl *Fleet) bool {
				return slices.ContainsFunc(fl.Nodes, func(n *Node) bool { return nodes[n.Name] })
			}
			if !slices.ContainsFunc(st.State.Fleets, has) {
				break
			}
			if time.Now().After(deadline) {
				c.t.Fatalf("%s still has nodes that are gone", key)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// measured skips what is a measurement, unless it is asked for.
func measured(t *testing.T) {
	t.Helper()
	if os.Getenv("RELEASE_BENCH") == "" {
		t.Skip("a measurement: set RELEASE_BENCH=1")
	}
}

// TestScaleAtRest is a measurement and runs only when asked for, alone on the machine:
//
//	RELEASE_BENCH=1 go test -v -run TestScale ./orchestrator
func TestScaleAtRest(t *testing.T) {
	measured(t)
	c := newCrowd(t, storetest.NewMemory(), crowdApps)
	c.launch(crowdNodes)
	time.Sleep(settled + 2*time.Second) // what settles after a launch has settled
	var rounds []time.Duration
	for range 21 {
		rounds = append(rounds, c.round())
	}
	slices.Sort(rounds)
	tick := rounds[len(rounds)/2]
	before, began := processCPU(), time.Now()
	time.Sleep(10 * time.Second)
	share := float64(processCPU()-before) / float64(time.Since(began))
	resident, peak := residentBytes(t, "VmRSS:"), residentBytes(t, "VmHWM:")
	t.Logf("%d nodes in %d apps at rest: a tick takes %s of CPU (median of %d, most %s); the agent with its simulated nodes takes %.0f %% of a core, 10,000 probes a second included, and has %d MiB resident, %d MiB at most since it began to launch them",
		crowdApps*crowdNodes, crowdApps, tick, len(rounds), rounds[len(rounds)-1], share*100, resident>>20, peak>>20)
	if tick > mostTick {
		t.Errorf("a tick takes %s, at most %s are wanted", tick, mostTick)
	}
	if peak > mostResident {
		t.Errorf("%d MiB were resident, at most %d are wanted", peak>>20, mostResident>>20)
	}
}

// round is the CPU time of a round of all apps, measured in the loop on a thread of its own.
func (c *crowd) round() (took time.Duration) {
	c.t.Helper()
	err := c.o.call(context.Background(), func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		before := cpu(unix.RUSAGE_THREAD)
		c.o.touchAll()
		if err := c.o.rounds(context.Background()); err != nil {
			c.t.Error(err)
		}
		took = cpu(unix.RUSAGE_THREAD) - before
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return took
}

func processCPU() time.Duration { return cpu(unix.RUSAGE_SELF) }

func cpu(who int) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(who, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// residentBytes is a line of the process's memory as the kernel counts it: what is resident now, or was at most.
func residentBytes(t *testing.T, what string) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	var kib int64
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, what) {
			if _, err := fmt.Sscanf(strings.TrimPrefix(line, what), "%d kB", &kib); err != nil {
				t.Fatal(err)
			}
		}
	}
	return kib << 10
}

// TestScaleManyFail: 1,000 nodes that are gone at once are made up for in steps, and the agent answers all the time.
func TestScaleManyFail(t *testing.T) {
	measured(t)
	c := newCrowd(t, storetest.NewMemory(), crowdApps)
	c.launch(crowdNodes)
	var booting, most, removing, mostRemoving atomic.Int64
	c.driver.OnCall(func(_ context.Context, call fleettest.Call) error {
		count, peak := &booting, &most
		switch call.Method {
		case fleettest.Remove:
			count, peak = &removing, &mostRemoving
		case fleettest.Ensure:
		default:
			return nil
		}
		n := count.Add(1)
		defer count.Add(-1)
		for old := peak.Load(); n > old && !peak.CompareAndSwap(old, n); old = peak.Load() {
		}
		time.Sleep(5 * time.Millisecond) // an engine needs its time
		return nil
	})
	for _, test := range []struct {
		name   string
		victim func(Key, int) bool
	}{
		{"10 of each app", func(_ Key, node int) bool { return node < 10 }},
		{"10 apps whole", func(key Key, _ int) bool { return key.App < "app010" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c.whole(crowdNodes)
			time.Sleep(settled + 2*time.Second) // nodes that end sooner speak of a crash loop, and boot ever more slowly
			began, worst, stop := time.Now(), time.Duration(0), make(chan struct{})
			var asks sync.WaitGroup
			asks.Go(func() {
				for {
					asked := time.Now()
					if err := c.o.call(context.Background(), func() {}); err != nil {
						t.Error(err)
					}
					worst = max(worst, time.Since(asked))
					select {
					case <-stop:
						return
					case <-time.After(5 * time.Millisecond):
					}
				}
			})
			killed := map[string]bool{}
			for _, key := range c.apps {
				st, err := c.o.Status(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				for i, n := range st.State.serving().Nodes {
					if test.victim(key, i) {
						c.driver.Kill(n.Name, fleet.Exit{Code: 137, Signal: "KILL"})
						killed[n.Name] = true
					}
				}
			}
			c.forgotten(killed)
			c.whole(crowdNodes)
			close(stop)
			asks.Wait()
			t.Logf("%d nodes made up for in %s; at most %d boots and %d removals at once; the longest wait for the loop was %s",
				len(killed), time.Since(began).Round(time.Millisecond), most.Load(), mostRemoving.Load(), worst.Round(time.Millisecond))
			if most.Load() > defaultBoots {
				t.Errorf("%d boots at once, at most %d are allowed", most.Load(), defaultBoots)
			}
			if worst > mostWait {
				t.Errorf("the loop answered after %s, at most %s are wanted", worst, mostWait)
			}
		})
	}
}

// Nodes of many apps that are gone at once are taken in a few apps at a time: between two rounds the loop looks at what else has
// come, and in the end every app has had its round.
func TestManyAppsAtOnce(t *testing.T) {
	c := newCrowd(t, storetest.NewMemory(), 3*mostWritten)
	c.launch(1)
	gone := map[string]bool{}
	err := c.o.call(t.Context(), func() {
		for _, a := range c.o.apps {
			for _, n := range a.state.serving().Nodes {
				c.driver.Kill(n.Name, fleet.Exit{Code: 137, Signal: "KILL"})
				seen := c.o.world.nodes[n.Name]
				seen.node.Presence = fleet.Gone
				c.o.world.nodes[n.Name] = seen
				gone[n.Name] = true
			}
		}
		c.o.touchAll()
		var served []Key
		for rounds := 1; len(served) == 0 || c.o.world.postponed; rounds++ {
			before := c.o.world.written
			if err := c.o.rounds(t.Context()); err != nil {
				t.Error(err)
			}
			if n := c.o.world.written - before; n >= mostWritten+maxRounds || rounds > len(c.apps) {
				t.Errorf("round %d wrote %d states, at most about %d are wanted", rounds, n, mostWritten)
				return
			}
			served = served[:0]
			for key, a := range c.o.apps {
				if s := a.state.serving(); s != nil && slices.ContainsFunc(s.Nodes, func(n *Node) bool { return !gone[n.Name] }) {
					served = append(served, key)
				}
			}
			if rounds == 1 && len(served) == len(c.apps) {
				t.Error("one round was for all apps")
			}
		}
		if len(served) != len(c.apps) {
			t.Errorf("%d of %d apps had their round", len(served), len(c.apps))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	c.forgotten(gone)
	c.whole(1)
}

// TestScaleJournal: the journals of 100,000 entries are read whole, from a file as the agent has it.
func TestScaleJournal(t *testing.T) {
	measured(t)
	const entries, apps = 100_000, 100_000 / keptEvents
	s, err := embedded.Open(t.TempDir() + "/store.db")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() }) // when the agent has ended
	c := newCrowd(t, s, apps)
	c.launch(1)
	err = c.o.call(t.Context(), func() {
		for _, key := range c.apps {
			a := c.o.apps[key]
			for a.state.EventSeq < entries/apps {
				r := &round{s: a.state.clone(), f: c.o.facts(a.state, time.Now())}
				for range 2_000 {
					fl := r.s.Fleets[0]
					r.sayNode("healthy", fl, fl.Nodes[0], "%s is healthy, 812 ms after it was named", fl.Nodes[0].Name)
				}
				r.s.NextOperation++ // a change, so that it is written
				if _, err := c.o.commit(t.Context(), a, r.s, r.events, records{}); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	began, read := time.Now(), 0
	for _, key := range c.apps {
		after := uint64(0)
		for {
			events, err := c.o.Events(t.Context(), key, after, 500) // as the console streams them
			if err != nil {
				t.Fatal(err)
			}
			if len(events) == 0 {
				break
			}
			read, after = read+len(events), events[len(events)-1].Seq
		}
	}
	took := time.Since(began)
	t.Logf("%d entries of %d journals read in %s", read, apps, took.Round(time.Millisecond))
	if read < entries || took > mostRead {
		t.Errorf("read %d of %d in %s, at most %s are wanted", read, entries, took, mostRead)
	}
}
