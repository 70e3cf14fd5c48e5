package orchestrator

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/bootandshoot/release/router"
)

const (
	observeEvery   = 250 * time.Millisecond
	observeTimeout = 3 * time.Second
	// rateWindow is how far back request rates look.
	rateWindow = 5 * time.Second
)

// edgesSeen is what the edges counted.
type edgesSeen struct {
	at       time.Time          // when the newest reading began; zero: none yet
	inFlight map[string]int     // by node, long connections included
	long     map[string]int     // by node
	traffic  map[string]Traffic // by fleet, since this agent started
	counted  tallies
	last     map[edgeNode]router.NodeTraffic
	errors   map[string]string // listen address → why it does not serve
	held     map[string]string // node or fleet → the edge that is silent or behind and may route to it, as a sentence
	unserved string            // why nobody serves any route, as a sentence; "": somebody does
	samples  []sample          // of the last rateWindow
	asked    time.Time         // when they were to be read first
	why      error             // that the last reading failed with; nil: it did not
}

// edgeNode is a node at one edge process.
type edgeNode struct{ instance, node string }

// sample is the traffic at one time.
type sample struct {
	at      time.Time
	traffic map[string]Traffic
}

func newEdgesSeen() edgesSeen {
	return edgesSeen{
		inFlight: map[string]int{}, long: map[string]int{}, traffic: map[string]Traffic{}, counted: newTallies(),
		last: map[edgeNode]router.NodeTraffic{}, errors: map[string]string{},
	}
}

// watchRouter reads what the edges see, a few times a second.
func (o *Orchestrator) watchRouter(ctx context.Context) {
	ticker := time.NewTicker(observeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			o.observeRouter(ctx)
		case <-o.lookNow:
			o.observeRouter(ctx)
		}
	}
}

func (o *Orchestrator) observeRouter(ctx context.Context) {
	began := o.opts.Now()
	look, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	obs, err := o.opts.Router.Observe(look)
	if err != nil {
		if ctx.Err() == nil {
			o.post(func() {
				o.complain("observe router", err)
				o.world.edges.failed(began, err)
			})
		}
		return
	}
	if obs.At.Before(began) && !obs.At.IsZero() {
		began = obs.At
	}
	o.observed.Store(&obs)
	o.post(func() {
		effective, settled := o.world.table.settled(began)
		o.world.edges.take(obs, began, effective, settled)
		o.world.table.compare(obs, began)
	})
}

// blindAfter is how old the newest reading may be before that is said.
const blindAfter = 15 * time.Second

// failed notes that a reading failed.
func (e *edgesSeen) failed(began time.Time, err error) {
	e.why = err
	if e.asked.IsZero() {
		e.asked = began
	}
}

// blind says that nobody knows what the edges do, since their newest reading is old.
func (e *edgesSeen) blind(now time.Time) error {
	last := cmp.Or(e.at, e.asked)
	switch {
	case last.IsZero() || now.Sub(last) < blindAfter:
		return nil
	case e.why == nil:
		return fmt.Errorf("what the router does is not known since %s: a look at it takes long", last.UTC().Format(time.RFC3339))
	}
	return fmt.Errorf("what the router does is not known since %s: %w", last.UTC().Format(time.RFC3339), e.why)
}

// compare notices an edge that does not serve the table that it confirmed: its disk was lost, or somebody gave it another.
// Then the table is read back and applied again.
func (t *tableSeen) compare(obs router.Observation, began time.Time) {
	if !t.known || t.applying || t.pending != nil || began.Before(t.confirmed) {
		return
	}
	for _, edge := range obs.Edges {
		if edge.Silent.IsZero() && edge.Confirmed != t.effective.Version {
			t.known = false
		}
	}
}

// settled is the table that every edge had that answered when a reading began, zero for none; false: the reading is older.
func (t *tableSeen) settled(began time.Time) (v router.Version, ok bool) {
	if began.Before(t.confirmed) {
		return router.Version{}, false
	}
	return t.effective.Version, true
}

// take adds a reading. Counters of nodes that left the edges stay counted; an edge that began anew counts from 0.
func (e *edgesSeen) take(obs router.Observation, began time.Time, effective router.Version, settled bool) {
	first := e.at.IsZero()
	e.at, e.why = began, nil
	e.inFlight, e.long, e.errors = map[string]int{}, map[string]int{}, map[string]string{}
	e.hold(obs, effective, settled)
	e.unserved = unserved(obs)
	e.counted.take(obs, began)
	last := make(map[edgeNode]router.NodeTraffic, len(e.last))
	e.traffic = cloneTraffic(e.traffic)
	for _, edge := range obs.Edges {
		for _, n := range edge.Nodes {
			key := edgeNode{edge.Instance, n.Node}
			last[key] = n
			if n.InFlight > 0 {
				e.inFlight[n.Node] += n.InFlight
				e.long[n.Node] += n.Long
			}
			if !first {
				e.add(n, e.last[key])
			}
		}
		for _, l := range edge.Listeners {
			if l.Error != "" {
				e.errors[l.Listen] = l.Error
			}
		}
	}
	e.last = last
	e.sample(began)
}

// hold notes what edges that do not answer may still route to: all that they had when they were heard of last. The same goes for
// one that was silent and is back, until it has caught up with the table that the others confirmed. A reading that is older than
// that table cannot tell who has it: what was held stays so.
func (e *edgesSeen) hold(obs router.Observation, effective router.Version, settled bool) {
	before := e.held
	e.held = map[string]string{}
	if !settled {
		maps.Copy(e.held, before)
	}
	for _, edge := range obs.Edges {
		var why string
		switch {
		case !edge.Silent.IsZero():
			why = fmt.Sprintf("edge %s is silent since %s and may still route to it; when it is gone for good: release router forget %s",
				edge.ID, edge.Silent.UTC().Format(time.RFC3339), edge.ID)
		case edge.Confirmed.Compare(effective) < 0:
			why = fmt.Sprintf("edge %s still serves an older table", edge.ID)
		default:
			continue
		}
		for _, n := range edge.Nodes {
			e.held[n.Node], e.held[n.Fleet] = why, why
		}
	}
}

// unserved says why nobody serves what the table says, as far as the backend knows its edges.
func unserved(obs router.Observation) string {
	var silent []string
	for _, edge := range obs.Edges {
		if edge.Silent.IsZero() {
			return ""
		}
		silent = append(silent, edge.ID)
	}
	if len(silent) == 0 {
		return "no edge serves it: run one on each machine that users come to: release router run --consul"
	}
	return "no edge answers; silent are " + strings.Join(silent, ", ") + ": start one, or release router forget EDGE when its machine is gone for good"
}

func cloneTraffic(in map[string]Traffic) map[string]Traffic {
	out := make(map[string]Traffic, len(in))
	for id, t := range in {
		out[id] = t
	}
	return out
}

// add counts what a node got between two readings.
func (e *edgesSeen) add(now, before router.NodeTraffic) {
	count := func(n router.NodeTraffic) Traffic {
		return Traffic{Requests: n.Requests, Errors: n.Status5x + n.Connect + n.Reset + n.Timeout, Latency: n.Latency.Counts}
	}
	if countsOfNode(now) == countsOfNode(before) {
		return
	}
	e.traffic[now.Fleet] = e.traffic[now.Fleet].Plus(count(now).Since(count(before)))
}

func (e *edgesSeen) sample(at time.Time) {
	e.samples = append(e.samples, sample{at: at, traffic: e.traffic})
	for len(e.samples) > 1 && at.Sub(e.samples[0].at) > rateWindow {
		e.samples = e.samples[1:]
	}
}

// rates is a fleet's traffic over the last seconds.
func (e *edgesSeen) rates(id string) Rates {
	if len(e.samples) < 2 {
		return Rates{}
	}
	from, to := e.samples[0], e.samples[len(e.samples)-1]
	d := to.traffic[id].Since(from.traffic[id])
	r := Rates{P99: d.Quantile(0.99)}
	if s := to.at.Sub(from.at).Seconds(); s > 0 {
		r.RequestsPerSecond = float64(d.Requests) / s
	}
	if d.Requests > 0 {
		r.ErrorRate = min(1, float64(d.Errors)/float64(d.Requests))
	}
	return r
}

// inFlight is how many requests a node has, long connections included, or -1 when nobody has looked since it left the table.
func (w *world) inFlight(node string) int {
	if w.edges.at.IsZero() || w.edges.at.Before(w.table.left[node]) {
		return -1
	}
	return w.edges.inFlight[node]
}

// mayRoute says whether an edge may route to a node: by a table that is or may be in effect, or because it is silent. Until the
// edges were read since the node left the table any may: a table is in effect when those edges have it that answer.
func (w *world) mayRoute(node string) bool {
	return w.edges.at.IsZero() || w.table.mayRoute(node) || w.edges.at.Before(w.table.left[node]) || w.edges.held[node] != ""
}
