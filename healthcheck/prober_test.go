package healthcheck

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// world is a fake set of nodes that counts who asks when.
type world struct {
	mu      sync.Mutex
	takes   map[string]time.Duration // how long an answer takes; above the timeout: it hangs
	bad     map[string]bool
	asked   map[string][]time.Time
	running int
	most    int
}

func newWorld() *world {
	return &world{takes: map[string]time.Duration{}, bad: map[string]bool{}, asked: map[string][]time.Time{}}
}

func (w *world) check(ctx context.Context, t Target) Result {
	w.mu.Lock()
	w.asked[t.Key] = append(w.asked[t.Key], time.Now())
	w.running++
	w.most = max(w.most, w.running)
	takes := w.takes[t.Key]
	w.mu.Unlock()
	began := time.Now()
	hangs := takes > t.Params.Timeout
	select {
	case <-time.After(min(takes, t.Params.Timeout)):
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running--
	return Result{At: time.Now(), OK: !hangs && !w.bad[t.Key], Latency: time.Since(began)}
}

func (w *world) set(key string, takes time.Duration, bad bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.takes[key], w.bad[key] = takes, bad
}

// reset forgets what was asked.
func (w *world) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked, w.most = map[string][]time.Time{}, w.running
}

func (w *world) times(key string) []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]time.Time(nil), w.asked[key]...)
}

// atOnce is the most probes that ran at the same time.
func (w *world) atOnce() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.most
}

// inBubble runs a prober over the world in virtual time.
func inBubble(t *testing.T, concurrency int, test func(t *testing.T, p *Prober, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p := NewProber(Options{Concurrency: concurrency, Check: w.check})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { p.Run(ctx); close(done) }()
		test(t, p, w)
		cancel()
		<-done
	})
}

func targets(n int, initial Verdict) []Target {
	list := make([]Target, n)
	for i := range list {
		list[i] = Target{Key: fmt.Sprintf("shop/production/web/r1/1/n%d", i), Initial: initial, Probe: Probe{TCP: true}}
	}
	return list
}

func verdicts(p *Prober) map[Verdict]int {
	counts := map[Verdict]int{}
	for _, s := range p.States() {
		counts[s.Verdict]++
	}
	return counts
}

func TestProbesStaySpread(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, p *Prober, w *world) {
		const nodes, buckets = 500, 20
		for _, target := range targets(nodes, "") {
			w.set(target.Key, time.Millisecond, false)
		}
		p.Set(targets(nodes, "")) // all started at the same moment
		time.Sleep(5 * time.Second)
		w.reset()
		began := time.Now()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		counts := [buckets]int{}
		for _, target := range targets(nodes, "") {
			times := w.times(target.Key)
			if len(times) != 10 {
				t.Fatalf("%s was asked %d times in 10 intervals", target.Key, len(times))
			}
			for _, at := range times {
				counts[at.Sub(began)%time.Second*buckets/time.Second]++
			}
		}
		const mean = nodes * 10 / buckets
		for i, n := range counts {
			if n < mean/2 || n > mean*2 {
				t.Errorf("slice %d of the interval has %d probes, the mean is %d: %v", i, n, mean, counts)
			}
		}
		if most := w.atOnce(); most > 20 {
			t.Errorf("%d probes of 1 ms ran at once", most)
		}
	})
}

func TestReadinessCostsNoInterval(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, p *Prober, w *world) {
		target := targets(1, "")[0]
		target.Params.Interval = 10 * time.Second
		w.set(target.Key, 0, true)
		p.Set([]Target{target})
		time.Sleep(3*time.Second + 7*time.Millisecond)
		w.set(target.Key, 0, false)
		ready := time.Now()
		<-p.Changes()
		if late := time.Since(ready); late > 2*startPeriod {
			t.Errorf("a node was seen healthy %s after it was", late)
		}
		if got := p.States()[target.Key]; got.Verdict != Healthy || !got.Last.OK {
			t.Errorf("state %+v", got)
		}
	})
}

func TestManyStartingNodesShareTheRate(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, p *Prober, w *world) {
		list := targets(500, "")
		for _, target := range list {
			w.set(target.Key, time.Millisecond, true)
		}
		p.Set(list)
		time.Sleep(time.Second)
		w.reset()
		time.Sleep(2 * time.Second)
		total := 0
		for _, target := range list {
			total += len(w.times(target.Key))
		}
		if total < startRate || total > startRate*5/2 {
			t.Errorf("%d probes of starting nodes in 2 s, the bound is %d a second", total, startRate)
		}
	})
}

func TestHangingNodesDelayNobody(t *testing.T) {
	inBubble(t, 16, func(t *testing.T, p *Prober, w *world) {
		list := targets(100, Healthy)
		for i, target := range list {
			w.set(target.Key, time.Millisecond, false)
			if i < 80 { // 80 × 0.5 s a second would take 40 places; there are 16
				w.set(target.Key, time.Hour, false)
			}
		}
		p.Set(list)
		time.Sleep(20 * time.Second)
		w.reset()
		time.Sleep(10 * time.Second)
		for _, target := range list[80:] {
			if n := len(w.times(target.Key)); n != 10 {
				t.Errorf("%s answers well and was asked %d times in 10 intervals", target.Key, n)
			}
		}
		if most := w.atOnce(); most > 16 {
			t.Errorf("%d probes at once, the bound is 16", most)
		}
		if got := verdicts(p); got[Unhealthy] != 80 || got[Healthy] != 20 {
			t.Errorf("verdicts %v", got)
		}
	})
}

func TestFiveHundredHangingNodesAreAskedEachInterval(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, p *Prober, w *world) {
		list := targets(500, Healthy)
		for _, target := range list[:350] {
			w.set(target.Key, time.Hour, false)
		}
		p.Set(list)
		time.Sleep(5 * time.Second)
		if got := verdicts(p); got[Unhealthy] != 350 || got[Healthy] != 150 {
			t.Errorf("after 5 s: verdicts %v", got)
		}
		if most := w.atOnce(); most > defaultConcurrency {
			t.Errorf("%d probes at once", most)
		}
	})
}

func TestSetKeepsAndDropsStates(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, p *Prober, w *world) {
		list := targets(3, "")
		w.set(list[2].Key, 0, true)
		p.Set(list)
		time.Sleep(3 * time.Second)
		before := p.States()
		moved := list[0]
		moved.Address, moved.Initial = "10.0.0.9:1", Unhealthy
		p.Set([]Target{moved, list[2]})
		after := p.States()
		if len(after) != 2 || after[moved.Key] != before[moved.Key] || after[list[2].Key].Verdict != Starting {
			t.Errorf("states %+v became %+v", before, after)
		}
		w.reset()
		time.Sleep(3 * time.Second)
		if n := len(w.times(list[1].Key)); n != 0 {
			t.Errorf("a target that is gone was asked %d times", n)
		}
		p.Set(list)
		if got := p.States()[list[1].Key].Verdict; got != Starting {
			t.Errorf("a key that came back is %s", got)
		}
	})
}

func TestReplaceLeavesOthersAlone(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, p *Prober, w *world) {
		list := targets(4, "")
		p.Set(list[:3])
		time.Sleep(3 * time.Second)
		before := p.States()
		p.Replace([]string{list[0].Key, list[1].Key, "of nobody"}, []Target{list[1], list[3]})
		after := p.States()
		if _, there := after[list[0].Key]; there || len(after) != 3 || after[list[3].Key].Verdict != Starting {
			t.Errorf("states %+v became %+v", before, after)
		}
		for _, kept := range list[1:3] {
			if after[kept.Key] != before[kept.Key] {
				t.Errorf("%s: %+v became %+v", kept.Key, before[kept.Key], after[kept.Key])
			}
		}
	})
}

func TestResultOfGoneTargetCountsForNothing(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, p *Prober, w *world) {
		target := targets(1, "")[0]
		target.Params.HealthyAfter = 1
		w.set(target.Key, 400*time.Millisecond, false)
		p.Set([]Target{target})
		time.Sleep(100 * time.Millisecond)
		p.Set(nil)
		w.set(target.Key, 0, true)
		p.Set([]Target{target})
		time.Sleep(time.Second)
		if got := p.States()[target.Key]; got.Verdict != Starting {
			t.Errorf("the old probe's success made the new node %s", got.Verdict)
		}
	})
}

func TestProbeNow(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, p *Prober, w *world) {
		target := targets(1, Healthy)[0]
		target.Params.Interval = time.Hour
		target.Params.UnhealthyAfter = 2
		w.set(target.Key, 100*time.Millisecond, true)
		p.Set([]Target{target})
		p.ProbeNow("nobody")
		p.ProbeNow(target.Key)
		time.Sleep(50 * time.Millisecond)
		p.ProbeNow(target.Key) // while it is being asked: once more afterwards
		<-p.Changes()
		if got := p.States()[target.Key]; got.Verdict != Unhealthy || got.Since != got.Last.At {
			t.Errorf("state %+v", got)
		}
		if n := len(w.times(target.Key)); n != 2 {
			t.Errorf("asked %d times, want 2", n)
		}
	})
}

func TestFailedNodeIsLeftAlone(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, p *Prober, w *world) {
		target := targets(1, "")[0]
		target.Params.StartWithin = 2 * time.Second
		w.set(target.Key, 0, true)
		p.Set([]Target{target})
		<-p.Changes()
		if got := p.States()[target.Key].Verdict; got != Failed {
			t.Fatalf("verdict %s", got)
		}
		w.reset()
		p.ProbeNow(target.Key)
		time.Sleep(time.Minute)
		if n := len(w.times(target.Key)); n != 0 {
			t.Errorf("a failed node was asked %d times", n)
		}
	})
}

func TestAdoptedNodeIsNotProbedAsStarting(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, p *Prober, w *world) {
		target := targets(1, Healthy)[0]
		p.Set([]Target{target})
		time.Sleep(10 * time.Second)
		if n := len(w.times(target.Key)); n != 10 {
			t.Errorf("asked %d times in 10 intervals", n)
		}
	})
}

func TestNextSlot(t *testing.T) {
	for _, since := range []time.Duration{0, 1, time.Millisecond, 999 * time.Millisecond, time.Second, 90 * time.Minute} {
		for key := range 50 {
			now := t0.Add(since)
			at := nextSlot(t0, now, time.Second, fmt.Sprint(key))
			if !at.After(now) || at.Sub(now) > time.Second {
				t.Fatalf("slot of %d after %s is at %s", key, since, at.Sub(t0))
			}
			if again := nextSlot(t0, at, time.Second, fmt.Sprint(key)); again.Sub(at) != time.Second {
				t.Fatalf("the slot after a slot comes %s later", again.Sub(at))
			}
		}
	}
}

// TestJudged: whose verdict changed is told once, whatever came in between.
func TestJudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		p := NewProber(Options{Check: func(_ context.Context, target Target) Result {
			return Result{At: time.Now(), OK: target.Key == "well"}
		}})
		go p.Run(ctx)
		if judged := p.Judged(); judged != nil {
			t.Errorf("before any probe: %v", judged)
		}
		p.Set([]Target{{Key: "well"}, {Key: "sick"}})
		time.Sleep(10 * time.Second)
		if judged := p.Judged(); len(judged) != 1 || !judged["well"] {
			t.Errorf("judged are %v, want well", judged)
		}
		if judged := p.Judged(); judged != nil {
			t.Errorf("told twice: %v", judged)
		}
		if s, ok := p.State("well"); !ok || s.Verdict != Healthy {
			t.Errorf("well: %+v, %v", s, ok)
		}
		if _, ok := p.State("none"); ok {
			t.Error("a target that there is not has a state")
		}
	})
}
