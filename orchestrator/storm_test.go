package orchestrator

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
)

func TestStorm(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	early := now.Add(-time.Hour)
	for name, c := range map[string]struct {
		w      weather
		before Storm
		want   StormKind
		since  time.Time
	}{
		"nothing seen":                   {},
		"whole again":                    {w: weather{whole: true, served: 4}, before: Storm{Kind: StormVain, Vain: 5, Since: early}},
		"all of them":                    {w: weather{served: 4, sick: 4, due: 4}, want: StormAll, since: now},
		"all of them, still":             {w: weather{served: 4, sick: 4}, before: Storm{Kind: StormAll, Since: early}, want: StormAll, since: early},
		"all but one":                    {w: weather{served: 4, sick: 3, due: 3, unasked: 3, perHour: 10}},
		"the only one":                   {w: weather{served: 1, sick: 1, due: 1, unasked: 1, perHour: 10}},
		"one try in vain":                {w: weather{served: 4, sick: 1, due: 1}, before: Storm{Vain: 1}, want: StormVain, since: now},
		"one try in vain, nothing due":   {w: weather{served: 3}, before: Storm{Vain: 1}},
		"two tries in vain":              {w: weather{served: 3}, before: Storm{Vain: 2}, want: StormVain, since: now},
		"all of them, and in vain":       {w: weather{served: 2, sick: 2, due: 2}, before: Storm{Kind: StormVain, Vain: 2, Since: early}, want: StormAll, since: now},
		"the hour is full":               {w: weather{served: 4, sick: 1, due: 1, unasked: 1, hour: 10, perHour: 10}, want: StormMany, since: now},
		"the hour is full, but asked":    {w: weather{served: 4, due: 1, hour: 10, perHour: 10}},
		"one left of the hour":           {w: weather{served: 4, sick: 1, due: 1, unasked: 1, hour: 9, perHour: 10}},
		"they crash":                     {w: weather{failed: 11, free: 10}, want: StormCrash, since: now},
		"as many crash as may":           {w: weather{failed: 10, free: 10}},
		"in vain goes before the crash":  {w: weather{failed: 11, free: 10}, before: Storm{Vain: 3}, want: StormVain, since: now},
		"a storm that is over is none":   {w: weather{served: 4}, before: Storm{Kind: StormAll, Since: early}},
		"over, but what was tried stays": {w: weather{served: 4}, before: Storm{Kind: StormMany, Vain: 1, Since: early}},
	} {
		c.w.now = now
		got := c.w.storm(c.before)
		if got.Kind != c.want || !got.Since.Equal(c.since) || (got.Why == "") != (c.want == "") {
			t.Errorf("%s: %+v, want %q since %s", name, got, c.want, c.since)
		}
		if !c.w.whole && got.Vain != c.before.Vain || c.w.whole && got != (Storm{}) {
			t.Errorf("%s: after %d tries in vain: %+v", name, c.before.Vain, got)
		}
	}
}

func TestVainWait(t *testing.T) {
	for tries, want := range map[int][2]time.Duration{ // by tries: with other nodes healthy, and with none
		1: {30 * time.Second, 30 * time.Second}, 2: {time.Minute, time.Minute}, 3: {2 * time.Minute, time.Minute},
		5: {5 * time.Minute, time.Minute}, 100: {5 * time.Minute, time.Minute},
	} {
		if got := [2]time.Duration{vainWait(tries, true), vainWait(tries, false)}; got != want {
			t.Errorf("after %d tries: %v, want %v", tries, got, want)
		}
	}
}

// Whatever was counted within the last hour is in the sum, and what is older than an hour and five minutes is not.
func TestHourly(t *testing.T) {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var h Hourly
	var at []time.Time
	for minute := range 400 {
		now := began.Add(time.Duration(minute) * time.Minute)
		if minute%7 == 0 || minute%31 < 3 {
			h = h.at(now)
			h.Parts[0]++
			at = append(at, now)
		}
		within := func(d time.Duration) int {
			n := 0
			for _, a := range at {
				if now.Sub(a) < d {
					n++
				}
			}
			return n
		}
		if got := h.at(now).sum(); got < within(time.Hour) || got > within(time.Hour+hourPart) {
			t.Fatalf("after %d minutes the sum is %d; an hour has %d", minute, got, within(time.Hour))
		}
	}
	if n := h.at(began.Add(24 * time.Hour)).sum(); n != 0 {
		t.Errorf("a day later the sum is %d", n)
	}
}

// count is how many events of a kind came after a number.
func (r *rig) count(kind string, after uint64) int {
	r.t.Helper()
	events, err := r.o.Events(context.Background(), shop, after, 100_000)
	if err != nil {
		r.t.Fatal(err)
	}
	n := 0
	for _, e := range events {
		if e.Type == kind {
			n++
		}
	}
	return n
}

// onlyNewAreSick makes the first node sick, and all that are booted from now on.
func (r *rig) onlyNewAreSick(release string, n int) (victim string) {
	for i, name := range r.running(release) {
		r.setSick(name, i == 0)
	}
	r.setSick(image(n), true)
	return r.running(release)[0]
}

func TestReplacingIsHeldWhenNewNodesAreAsBad(t *testing.T) {
	t.Parallel()
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 4)
		time.Sleep(time.Minute)
		seq := r.state().EventSeq
		victim := r.onlyNewAreSick("r1", 1)
		r.until("the storm", func(s *State) bool { return s.serving().Storm.Kind == StormVain })
		time.Sleep(30 * time.Minute)
		if n := r.count("node.booting", seq); n < 4 || n > 10 {
			t.Errorf("%d new nodes in half an hour", n)
		}
		if !slices.Contains(r.running("r1"), victim) || r.state().serving().healthy() != 3 {
			t.Errorf("the node that nothing better was found for is gone:\n%s", r.describe())
		}
		r.setSick(image(1), false) // it never was the node: what new ones lacked is there again
		r.until("a whole fleet", func(s *State) bool { fl := s.serving(); return fl.healthy() == 4 && len(fl.Nodes) == 4 })
		r.until("fair weather", func(s *State) bool { return s.serving().Storm == Storm{} })
		if r.count("fleet.storm", seq) != 1 || r.count("fleet.calm", seq) != 1 {
			t.Errorf("the journal tells of %d storms and %d ends", r.count("fleet.storm", seq), r.count("fleet.calm", seq))
		}
	})
}

func TestResumeTriesAtOnce(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 4)
		r.onlyNewAreSick("r1", 1)
		r.until("a long wait", func(s *State) bool { return time.Until(s.serving().Storm.NextAt) > 3*time.Minute })
		r.setSick(image(1), false)
		began := time.Now()
		if err := r.steer("resume"); err != nil {
			t.Fatal(err)
		}
		r.until("a whole fleet", func(s *State) bool { fl := s.serving(); return fl.healthy() == 4 && len(fl.Nodes) == 4 })
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("whole %s after a person said resume", took)
		}
		r.until("rest", func(s *State) bool { return len(s.Operations) == 0 })
		if err := r.steer("resume"); err == nil {
			t.Error("resume with nothing held is accepted")
		}
	})
}

func TestAllUnhealthyAtOnceIsSaidAndHeld(t *testing.T) {
	t.Parallel()
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 8)
		time.Sleep(time.Minute)
		before := r.running("r1")
		seq := r.state().EventSeq
		r.setSick(image(1), true)
		r.until("the storm", func(s *State) bool { return s.serving().Storm.Kind == StormAll })
		time.Sleep(time.Hour)
		if n := r.count("node.booting", seq); n > 35 { // a try a minute, each of which takes a minute
			t.Errorf("%d new nodes in an hour", n)
		}
		for _, name := range before {
			if !slices.Contains(r.running("r1"), name) {
				t.Errorf("%s was shot", name)
			}
		}
		// What is gone is booted again all the same.
		r.driver.Kill(before[0], fleet.Exit{Code: 1})
		seq = r.state().EventSeq
		r.until("one in its place", func(*State) bool { return r.count("node.booting", seq) > 0 })
		r.setSick(image(1), false)
		r.until("all healthy", func(s *State) bool {
			fl := s.serving()
			return fl.healthy() == 8 && len(fl.Nodes) == 8 && fl.Storm == Storm{}
		})
	})
}

func TestNoMoreAreReplacedThanAnHourMayHave(t *testing.T) {
	few := func(c *config.App) { c.Fleet.Replace = config.Replace{MaxInFlight: 1, MaxPerHour: 2} }
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 4, few)
		old := r.running("r1")
		began := time.Now()
		for _, victim := range old[:2] {
			r.setSick(victim, true)
			r.until("it is replaced", func(*State) bool { return !slices.Contains(r.running("r1"), victim) })
		}
		r.setSick(old[2], true)
		r.until("the storm", func(s *State) bool { return s.serving().Storm.Kind == StormMany })
		time.Sleep(30 * time.Minute)
		if !slices.Contains(r.running("r1"), old[2]) {
			t.Error("a third was replaced")
		}
		r.done(Request{Kind: KindReplace, Nodes: []string{old[3]}}) // a person may
		r.until("the third is replaced", func(*State) bool { return !slices.Contains(r.running("r1"), old[2]) })
		if took := time.Since(began); took < time.Hour {
			t.Errorf("a third was replaced after %s", took)
		}
		r.until("fair weather", func(s *State) bool { return s.serving().Storm == Storm{} })
	})
}

// However many are lost at once, they are cleared away and booted again in steps.
func TestThousandNodesFailAtOnce(t *testing.T) {
	const size = 1000
	inRig(t, func(t *testing.T, r *rig) {
		r.stop()
		r.slots = 3 * size
		r.start()
		r.up(1, size)
		r.until("rest", func(s *State) bool { return len(s.Operations) == 0 })
		var removing, most atomic.Int64
		r.driver.OnCall(func(_ context.Context, c fleettest.Call) error {
			if c.Method == fleettest.Remove {
				most.Store(max(most.Load(), removing.Add(1)))
				time.Sleep(200 * time.Millisecond)
				removing.Add(-1)
			}
			return nil
		})
		began := time.Now()
		r.driver.Reboot()
		r.until("all healthy again", func(s *State) bool {
			unbooted := 0
			for _, n := range s.serving().Nodes {
				if n.State == NodeStarting && !n.Booted {
					unbooted++
				}
			}
			if unbooted > mintStep {
				t.Fatalf("%d nodes are on their way at the same time", unbooted)
			}
			return s.serving().healthy() == size && len(s.serving().Nodes) == size
		})
		if most.Load() > clearStep {
			t.Errorf("%d nodes were cleared away at the same time", most.Load())
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("they were back after %s", took)
		}
	})
}
