package orchestrator

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/healthcheck"
	"github.com/bootandshoot/release/internal/human"
	"github.com/bootandshoot/release/orchestrator/hook"
	"github.com/bootandshoot/release/orchestrator/metrics"
)

// A forecast plays an operation through before it begins. next itself decides, in a world where every action succeeds at once,
// every node is well, every command of a migration succeeds, every edge confirms, requests come and go well, and approvals are
// given: what it would write to the journal, and after how long, is the plan. So a plan has no rules of its own that could differ from what is done.

// Moment is a line of a forecast.
type Moment struct {
	After   time.Duration // from the beginning; boots, drains and hooks are taken to need no time
	Type    string        // as in the journal: "cutover.step"
	Release string
	Percent int
	Message string
}

// forecast is what came of it.
type forecast struct {
	moments []Moment
	took    time.Duration // to the end of the operation: its holds
	waits   string        // what the operation waits for that nobody can foresee; "": it came to its end
	failed  *Failure
	peak    int // nodes at the most
	end     *State
	fleets  []*PlannedFleet
}

const (
	// foreseen bounds the rounds of a forecast, far above what any operation needs.
	foreseen = 5000
	// moment is how much time passes in a round in which something happens.
	moment = 10 * time.Millisecond
	// patience is how often, a moment later and then at doubled intervals from a second on, a forecast looks again where nothing
	// tells it how long.
	patience = 15
	// pretended is the traffic of the whole route, in requests a second.
	pretended = 1000
)

// imagined is the world of a forecast.
type imagined struct {
	s       *State
	f       Facts
	began   time.Time
	results map[string]Result
	nodes   map[string]bool // booted since the beginning
	idle    int
	out     forecast
}

// foresee plays on from a state in which an operation has just begun.
func foresee(s *State, f Facts, op string) forecast {
	w := &imagined{s: s, began: f.Now, results: map[string]Result{}, nodes: map[string]bool{}}
	w.s.withoutJobs()
	w.f = Facts{Now: f.Now, Epoch: 1, Hosts: f.Hosts, StickyKey: f.StickyKey, Ledger: f.Ledger, Traffic: map[string]Traffic{}, Results: w.results, Mint: f.Mint,
		Quarantine: f.Quarantine}
	running := true
	for range foreseen {
		w.look()
		s, actions, events, past := next(w.s, w.f)
		w.s = s
		w.tell(events)
		w.count()
		for _, ended := range past.ended {
			if ended.ID == op {
				running, w.out.took, w.out.failed = false, w.f.Now.Sub(w.began), ended.Failure
				w.landed()
			}
		}
		busy := w.act(actions)
		busy = w.approve() || busy || len(events) > 0
		if !w.wait(busy, running) {
			break
		}
	}
	if running {
		w.out.waits = w.waiting(op)
	}
	w.out.end = w.s
	return w.out
}

// imaginedSlot is the first slot of a forecast, above those of any agent: it is never leased.
const imaginedSlot = 1 << 20

// imaginedNodes names nodes of a forecast, and gives them slots.
func imaginedNodes() func() (string, int) {
	minted := 0
	return func() (string, int) {
		minted++
		return fmt.Sprintf("%05d", minted), imaginedSlot + minted
	}
}

// look makes the facts of the moment: all is as the state wants it.
func (w *imagined) look() {
	w.f.Routes = w.s.routes(w.f.StickyKey)
	w.f.Observed, w.f.Confirmed = w.f.Now, w.f.Now
	w.f.Nodes = map[string]NodeFact{}
	routed := map[string]bool{}
	for _, route := range w.f.Routes {
		for _, fl := range route.Fleets {
			for _, n := range fl.Nodes {
				routed[n.Name] = true
			}
		}
	}
	for _, fl := range w.s.Fleets {
		for _, n := range fl.Nodes {
			fact := NodeFact{Address: orText(n.Address, "of "+n.Name), Host: n.Host, PID: n.PID, Routed: routed[n.Name]}
			if n.Booted || w.nodes[n.Name] {
				fact.Presence, fact.Verdict = fleet.Present, healthcheck.Healthy
			}
			w.f.Nodes[n.Name] = fact
		}
	}
	for _, t := range w.s.Tasks {
		if w.nodes[t.Node] {
			w.f.Nodes[t.Node] = NodeFact{Presence: fleet.Gone, Exit: &fleet.Exit{}}
		}
	}
}

// act does everything at once, and says whether there was anything new.
func (w *imagined) act(actions []Action) bool {
	fresh := false
	for _, a := range actions {
		if w.results[a.Key()].Done {
			continue
		}
		fresh = true
		w.results[a.Key()] = imaginedResult(a, w.f.Now)
		if a.Kind == ActBoot {
			w.nodes[a.Node] = true
		}
	}
	return fresh
}

// imaginedResult is that of an action that goes well.
func imaginedResult(a Action, now time.Time) Result {
	res := Result{Done: true, Tries: 1, At: now}
	switch {
	case a.Kind != ActAsk:
	case a.Hook != nil:
		res.Exit = &hook.Exit{}
	case a.Metric.Above != nil:
		res.Samples = []metrics.Sample{{Value: *a.Metric.Above}}
	case a.Metric.Below != nil:
		res.Samples = []metrics.Sample{{Value: *a.Metric.Below}}
	}
	return res
}

// approve opens the gate that the operation has come to.
func (w *imagined) approve() bool {
	op := w.s.exclusive()
	if op == nil || op.Gate == "" {
		return false
	}
	r := &round{s: w.s.clone(), f: w.f}
	if r.steer(Word{Verb: "approve"}) != nil {
		return false
	}
	w.s = r.s
	return true
}

// wait lets time pass: a moment when something has happened, else until the next timer that is known. It is false when
// nothing will happen any more.
func (w *imagined) wait(busy, running bool) bool {
	step := moment
	switch next := w.timer(); {
	case busy:
		w.idle = 0
	case next > 0:
		step, w.idle = next, 0
	case w.idle < patience && (running || !w.s.atRest()):
		if w.idle > 0 {
			step = time.Second << (w.idle - 1)
		}
		w.idle++
	default:
		return false
	}
	w.f.Now, w.f.Elapsed = w.f.Now.Add(step), step
	for _, fl := range w.s.Fleets {
		t := w.f.Traffic[fl.ID.String()]
		if !w.s.routed(fl) {
			continue
		}
		n := uint64(step.Seconds() * pretended * float64(fl.Weight) / 100)
		t.Requests += n
		t.Latency = append([]uint64{}, t.Latency...)
		if len(t.Latency) == 0 {
			t.Latency = make([]uint64, 1)
		}
		t.Latency[0] += n
		w.f.Traffic[fl.ID.String()] = t
	}
	return true
}

// timer is how long it is to the next thing that only time brings, 0 for none.
func (w *imagined) timer() time.Duration {
	var least time.Duration
	soon := func(d time.Duration) {
		if d > 0 && (least == 0 || d < least) {
			least = d
		}
	}
	for _, op := range w.s.Operations {
		soon(op.HoldLeft)
	}
	for _, fl := range w.s.Fleets {
		if !fl.SessionsBy.IsZero() {
			soon(fl.SessionsBy.Sub(w.f.Now))
		}
		soon(fl.NotBefore.Sub(w.f.Now))
		if fl.State == FleetWarm && w.s.exclusive() == nil && w.s.serving() != nil { // else its time does not count
			soon(fl.WarmLeft)
		}
	}
	return least
}

// foretold says of a type of event whether a plan has it: of hooks that they are run, of all else what comes of it.
func foretold(kind string) bool {
	object, what, _ := strings.Cut(kind, ".")
	switch object {
	case "node", "task", "check":
		return false
	case "volume":
		return what != "leased" && what != "free" // of nodes
	case "hook":
		return what == "begin"
	}
	return !slices.Contains([]string{"phase", "begin", "progress", "approve", "verdict"}, what)
}

// withoutJobs takes away what has nothing to do with any operation. The state is a copy already.
func (s *State) withoutJobs() {
	s.Jobs, s.Tasks = nil, nil
	for _, rel := range s.Releases {
		rel.Config.Jobs = nil
	}
}

// tell keeps what people want to know beforehand: not how each node fares, and no phases.
func (w *imagined) tell(events []Event) {
	for _, e := range events {
		if !foretold(e.Type) {
			continue
		}
		w.out.moments = append(w.out.moments, Moment{After: w.f.Now.Sub(w.began), Type: e.Type, Release: e.Release, Percent: e.Percent, Message: e.Message})
	}
}

// waiting is what keeps an operation that did not come to its end.
func (w *imagined) waiting(op string) string {
	for _, o := range w.s.Operations {
		if o.ID == op {
			return orText(o.Waits, string(o.Phase))
		}
	}
	return human.Span(w.f.Now.Sub(w.began))
}
