package orchestrator

import (
	"context"
	"slices"
	"time"

	"github.com/bootandshoot/release/router"
)

// farEdge is an edge out of sight, which may still serve the table that it had.
type farEdge struct{ until *time.Timer }

// edge takes an edge out of sight for a time, silent or with its old table.
func (p *player) edge(m move) {
	p.mu.Lock()
	table := p.table
	p.mu.Unlock()
	obs, err := p.router.Observe(context.Background())
	if err != nil || len(obs.Edges) != 1 || len(table.Routes) == 0 {
		return
	}
	edge := obs.Edges[0]
	edge.ID, edge.Instance = "far", "far-1"
	span := 2 * m.span
	if edge.Silent = time.Now(); m.do == "edge behind" {
		edge.Silent, span = time.Time{}, m.span/10 // it is back, and about to have the newest table
	}
	for i := range edge.Nodes {
		edge.Nodes[i].InFlight, edge.Nodes[i].Long = 0, 0
	}
	p.note("far", "%s for %s with %s", m.do, span, tableText(table))
	p.mu.Lock()
	p.truth.far = p.nodesIn(table)
	p.mu.Unlock()
	p.router.SetOthers(edge)
	p.far = &farEdge{time.AfterFunc(span, p.edgeGone)}
}

func (p *player) edgeGone() {
	p.note("far", "is forgotten")
	p.router.SetOthers()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.truth.far = map[string]bool{}
}

func (w *simWorld) nodesIn(table router.Table) map[string]bool {
	names := map[string]bool{}
	for name := range w.shares(table) {
		names[name] = true
	}
	return names
}

// heal ends all that is wrong and waits until everything is at rest with exactly the nodes that are on record.
func (p *player) heal() {
	if p.ctx.Err() != nil {
		return
	}
	p.note("world", "heals")
	p.edgeGone()
	p.router.FailApply(nil)
	p.mu.Lock()
	p.healing, p.down, p.crash = true, time.Time{}, time.Time{}
	clear(p.bad)
	clear(p.silent)
	for what := range p.sick {
		p.well[what] = time.Now()
	}
	clear(p.sick)
	p.mu.Unlock()
	for name := range p.running() {
		p.known(name)
	}
	for _, a := range p.agents {
		p.join(a)
	}
	why := ""
	for i := range healWithin {
		if why = p.unrest(); why == "" {
			break
		}
		if i%10 == 0 {
			p.help(i)
		}
		if !sleep(p.ctx, time.Second+time.Duration(i)) {
			return
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if why != "" {
		p.violate(inv7Rest, "%s", why)
	}
}

// healWithin is for how many seconds rest is waited for, of which people help out after some.
const healWithin = 1200

// help is what a person does who wants an end of it.
func (p *player) help(seconds int) {
	p.mu.Lock()
	op, tasks := p.state.exclusive(), slices.Clone(p.state.Tasks)
	p.mu.Unlock()
	for _, task := range tasks {
		if task.Ended.IsZero() {
			p.ask("stop "+task.ID, func(ctx context.Context, o *Orchestrator) error { return o.StopTask(ctx, shop, task.ID, "ann") })
		}
	}
	switch {
	case op == nil && p.isSplit():
		p.ask("cutover", func(ctx context.Context, o *Orchestrator) error {
			_, err := o.Submit(ctx, Request{Kind: KindCutover, Key: shop, By: "ann", Force: true})
			p.note("ann", "cutover: %v", err)
			return err
		})
	case op == nil:
	case op.Gate != "":
		p.steer("approve")
	case op.Paused && seconds < healWithin/2:
		p.steer("resume")
	case seconds > healWithin/2:
		p.steer("abort force")
	}
}

// isSplit says whether somebody left the traffic divided.
func (p *player) isSplit() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.state.Fleets, func(fl *Fleet) bool { return fl.Weight > 0 && fl.Weight < 100 })
}

// unrest says what is not at rest, "" for nothing.
func (p *player) unrest() string {
	running := p.running()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.state
	if len(s.Operations) > 0 {
		return s.Operations[0].ID + " is under way: " + string(s.Operations[0].Phase)
	}
	if len(s.Tasks) > 0 {
		return s.Tasks[0].ID + " is " + string(s.Tasks[0].Phase)
	}
	for _, fl := range s.Fleets {
		if fl.Weight != 100 && !fl.Accessory && fl.HadWeight || fl.healthy() != s.sizeOf(fl) || len(fl.Nodes) != s.sizeOf(fl) {
			return fl.ID.String() + " is " + string(fl.State)
		}
	}
	for _, fl := range s.Fleets {
		if name := p.strays(fl); name != "" && fl.Weight > 0 {
			return name + " differs from its image"
		}
	}
	if named, runs := s.nodes(), sortedNames(running); !sameSet(named, runs) {
		return inv5Orphan
	}
	return ""
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}
