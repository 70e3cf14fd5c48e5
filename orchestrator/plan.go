package orchestrator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
)

// Plan is what an operation would do.
type Plan struct {
	Kind      Kind
	Key       Key
	Nothing   bool   // what is asked for holds already, or is under way
	Release   string // that it moves to
	From      string // what serves
	Image     string
	FromImage string
	Images    map[string]string // by role, of an app with roles
	Fleets    []*PlannedFleet
	Changes   []config.Change // of the configuration, from what serves
	Steps     []Step
	Gaps      []string // in which nobody does the work of a role, since its nodes cannot run beside their successors
	Moments   []Moment
	Nodes     PlannedNodes
	Holds     time.Duration // how long it takes if boots, drains and approvals take no time
	Usual     time.Duration // what the last operations of the kind took, in the median; 0: there were none
	UsualOf   int           // how many
	Waits     string        // what it would wait for that nobody can foresee
	Asks      []string      // what abort_on asks while steps are held
	Frozen    *Freeze
	Basis     Basis
}

// PlannedFleet is what becomes of a fleet.
type PlannedFleet struct {
	ID        string
	Role      string
	Release   string
	Driver    string
	Image     string
	Nodes     int
	Now       FleetState // "" before it is launched
	Then      FleetState // when the operation has ended
	ShotAfter time.Duration
	Shot      bool          // after ShotAfter, at the earliest
	Drain     time.Duration // longest time for its requests to end before
	Long      time.Duration // the same for long connections
	Why       string        // it is shot
}

// PlannedNodes is how many nodes there are.
type PlannedNodes struct {
	Now, Peak, Then int
}

// usualOf is how many operations of the past are asked how long it takes.
const usualOf = 5

// Plan says what an operation would do, without doing anything. Errors are those of Submit, but for a freeze: that is in the plan
// unless the request is a dry run, which is refused as the operation would be.
func (o *Orchestrator) Plan(ctx context.Context, req Request) (Plan, error) {
	if err := o.waitReady(ctx); err != nil {
		return Plan{}, err
	}
	ask, err := o.ask(ctx, req)
	if err != nil {
		return Plan{}, err
	}
	var s *State
	f := Facts{Now: o.opts.Now()}
	if err := o.call(ctx, func() {
		a := o.app(req.Key)
		facts := o.facts(a.state, f.Now)
		f.Hosts = plannedHosts(facts.Hosts, ask.Config)
		s, f.StickyKey, f.Ledger, f.Found, f.Quarantine = a.state, facts.StickyKey, facts.Ledger, facts.Found, facts.Quarantine
	}); err != nil {
		return Plan{}, err
	}
	past, err := o.History(ctx, req.Key)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return Plan{}, err
	}
	p, err := plan(s, f, ask)
	p.Usual, p.UsualOf = usual(past, p.Kind)
	return p, err
}

// plan is pure: begin and next say what would be done.
func plan(s *State, f Facts, req asked) (Plan, error) {
	req = s.asCutover(req)
	p := Plan{Kind: req.Kind, Key: s.Key, Frozen: s.Frozen(f.Now), Basis: basisOf(s, req)}
	p.Basis.At = f.Now
	serving := s.serving()
	if serving != nil {
		p.From, p.FromImage = serving.ID.Release, s.release(serving.ID.Release).Image
	}
	f.Mint = imaginedNodes()
	thawed := *s
	if !req.DryRun {
		thawed.Freeze = nil
	}
	begun, op, events, err := begin(&thawed, f, req)
	if err != nil {
		return p, err
	}
	p.Release, p.Basis.Release, p.Steps = op.Release, op.Release, op.Steps
	if rel := begun.release(op.Release); rel != nil {
		p.Image, p.Images, p.Asks = rel.Image, rel.Images, asksOf(begun, op, rel)
		if p.From != "" && rel.ID != p.From {
			p.Changes = config.Diff(&s.release(p.From).Config, &rel.Config)
		}
	}
	p.Nodes.Now, p.Nodes.Peak = s.nodes(), s.nodes()
	p.Nothing = op.ID == "" || op.Number <= s.NextOperation && len(events) == 0
	if p.Nothing {
		p.Nodes.Then = p.Nodes.Now
		return p, nil
	}
	fc := foresee(begun, f, op.ID)
	p.Moments, p.Holds, p.Waits = fc.moments, fc.took, fc.waits
	for _, m := range fc.moments {
		if m.Type == "fleet.handover" {
			p.Gaps = append(p.Gaps, m.Message)
		}
	}
	if fc.failed != nil && op.Failure == nil {
		p.Waits = fc.failed.Message
	}
	p.Nodes.Peak, p.Nodes.Then = max(p.Nodes.Now, fc.peak), fc.end.nodes()
	p.Fleets = planned(s, fc.fleets)
	return p, nil
}

// asksOf is what abort_on of the release will ask.
func asksOf(s *State, op *Operation, rel *Release) []string {
	fl := s.fleet(op.Fleet)
	if fl == nil || !op.judged(fl) || !slices.ContainsFunc(op.Steps, func(st Step) bool { return st.Hold > 0 }) {
		return nil
	}
	var list []string
	for _, q := range questionsOf(rel.Config.Cutover.AbortOn) {
		list = append(list, fmt.Sprintf("abort_on.%s every %s: %s", q.name, human.Span(q.every), q))
	}
	return list
}

// asCutover makes the cutover of an up whose release is launched already, or holds at a share: it goes on with what is there.
func (s *State) asCutover(req asked) asked {
	if req.Kind != KindUp || s.exclusive() != nil {
		return req
	}
	for _, rel := range slices.Backward(s.Releases) {
		fl := s.launched(rel)
		if fl == nil || rel.State != ReleaseNew {
			continue
		}
		if (fl.State == FleetReady || fl.Weight > 0) && rel.same(req) {
			req.Kind, req.Release = KindCutover, rel.ID
		}
		break
	}
	return req
}

// nodes counts those that run or are to run.
func (s *State) nodes() int {
	n := 0
	for _, fl := range s.Fleets {
		n += len(fl.Nodes)
	}
	return n
}

// planned completes the fleets with what they are now, in the order of their releases.
func planned(s *State, fleets []*PlannedFleet) []*PlannedFleet {
	for _, fl := range fleets {
		if now := s.fleet(fl.ID); now != nil {
			fl.Now = now.State
		}
	}
	slices.SortStableFunc(fleets, func(a, b *PlannedFleet) int {
		return cmp.Compare(releaseNumber(a.Release), releaseNumber(b.Release))
	})
	return fleets
}

// usual is the median of what the last operations of a kind took that reached what was asked.
func usual(past []Operation, kind Kind) (time.Duration, int) {
	var took []time.Duration
	for _, op := range past { // the newest first
		if op.Kind == kind && op.Failure == nil && !op.Auto && len(took) < usualOf {
			took = append(took, op.Ended.Sub(op.At))
		}
	}
	span := spanOf(took)
	return span.Median, span.Count
}

// count keeps how many nodes there are at the most, and follows the fleets.
func (w *imagined) count() {
	w.out.peak = max(w.out.peak, w.s.nodes())
	there := map[string]bool{}
	for _, fl := range w.s.Fleets {
		there[fl.ID.String()] = true
		p := w.planned(fl)
		p.Nodes = max(p.Nodes, len(fl.Nodes))
		if fl.State == FleetShooting && p.Why == "" {
			p.ShotAfter, p.Why = w.f.Now.Sub(w.began), orText(fl.Reason, "it is not needed any more")
		}
	}
	for _, p := range w.out.fleets {
		if !there[p.ID] && !p.Shot {
			p.Shot = true
		}
	}
}

// planned is the record of a fleet.
func (w *imagined) planned(fl *Fleet) *PlannedFleet {
	for _, p := range w.out.fleets {
		if p.ID == fl.ID.String() {
			return p
		}
	}
	d := w.s.configOf(fl).Cutover.Drain
	p := &PlannedFleet{
		ID: fl.ID.String(), Role: fl.ID.Role, Release: fl.ID.Release, Driver: fl.Driver, Image: fl.Image,
		Drain: d.Timeout.Std(), Long: d.LongConnections.Std(),
	}
	w.out.fleets = append(w.out.fleets, p)
	return p
}

// landed notes what the fleets are when the operation ends.
func (w *imagined) landed() {
	for _, fl := range w.s.Fleets {
		w.planned(fl).Then = fl.State
	}
}
