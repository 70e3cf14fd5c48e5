package alb

import (
	"context"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/bootandshoot/release/router"
)

// A node that joins a group which gets requests already has its share as soon as the balancer finds it healthy: before the table that
// has it is written. So it is written down first, as one that leaves, together with the table of before. When that stays the one in
// effect, since the new one is refused or nobody is there any more to write it, the node is known: it is deregistered, and observed
// until it has drained.

// announce writes down who is about to join, and gives the record that is written now.
func (b *Backend) announce(ctx context.Context, v *view, before *record, w *wanted) (*record, error) {
	var all []leaving
	var has map[target]bool
	if before != nil {
		all, has = b.registered(v, before.Leaving), b.targets(before.Table)
	}
	known := len(all)
	for _, l := range w.joins() {
		if has[l.target()] {
			continue
		}
		b.joins[l] = joiner{time.Now(), w.groups[l.Group].route} // stays while tables of others are applied
		if v.asked(v.groups[l.Group]) && !slices.Contains(all[:known], l) {
			all = append(all, l) // may get requests: on record first
		}
	}
	if before == nil || len(all) == known {
		return before, nil // without a table there are no rules yet
	}
	if err := b.fence(ctx, v); err != nil {
		return nil, err
	}
	rec := &record{Table: before.Table, Leaving: inOrder(all)}
	return rec, b.save(ctx, v, rec)
}

// joins are the wanted nodes, as those who may join.
func (w *wanted) joins() (all []leaving) {
	for _, name := range sortedKeys(w.groups) {
		want := w.groups[name]
		for address, node := range want.nodes {
			all = append(all, leaving{want.fleet, node, name, address})
		}
	}
	return all
}

// asked is whether any rule but its anchor sends requests to a group.
func (v *view) asked(g *group) bool {
	anchor := matchText(anchorOf("", "", g.name).conditions)
	return slices.ContainsFunc(v.rules, func(r *rule) bool {
		_, to := r.action.weights[g.arn]
		return to && r.match != anchor
	})
}

// keepJoining is how long a node that joined is kept for a table that is not applied again meanwhile.
const keepJoining = 15 * time.Second

// joiner is a node that joined for a table which waits for it.
type joiner struct {
	at    time.Time // when one was last applied
	route string
}

// joining is whether a table waits for a node that joined, which may be another one than is applied just now.
func (b *Backend) joining(l leaving) bool { return time.Since(b.joins[l].at) < keepJoining }

// Abandon implements router.Abandoner: who joined for these routes drains. What AWS does not do now is done after the next look.
func (b *Backend) Abandon(ctx context.Context, routes []string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	any := false
	for l, j := range b.joins {
		if slices.Contains(routes, j.route) {
			b.joins[l], any = joiner{route: j.route}, true
		}
	}
	if !any {
		return nil
	}
	defer b.known.outdated()
	return b.repeat(ctx, "take back who joined", func() error {
		v, err := b.look(ctx)
		if err != nil {
			return err
		}
		rec, err := b.record(v)
		if err != nil {
			return err
		}
		if rec == nil {
			rec = &record{}
		}
		return b.lapse(ctx, v, rec)
	})
}

// dismiss forgets who joined for a table: it is written, or refused.
func (b *Backend) dismiss(w *wanted) {
	for _, l := range w.joins() {
		delete(b.joins, l)
	}
}

// decided forgets who joined fleets that a table which is written has otherwise than the one before: their app wants them no more.
func (b *Backend) decided(before *record, t router.Table) {
	was := map[string][]router.Fleet{}
	if before != nil {
		was = fleetsOf(before.Table)
	}
	is := fleetsOf(t)
	same := func(x, y router.Fleet) bool { return x.Weight == y.Weight && slices.Equal(x.Nodes, y.Nodes) }
	for l := range b.joins {
		if !slices.EqualFunc(was[l.Fleet], is[l.Fleet], same) {
			delete(b.joins, l)
		}
	}
}

// fleetsOf are the fleets of a table by id, once for each route that has it.
func fleetsOf(t router.Table) map[string][]router.Fleet {
	all := map[string][]router.Fleet{}
	for _, r := range t.Routes {
		for _, f := range r.Fleets {
			all[f.ID] = append(all[f.ID], f)
		}
	}
	return all
}

// lapse has those drain that joined for a table that nobody applies any more.
func (b *Backend) lapse(ctx context.Context, v *view, rec *record) error {
	for l := range b.joins {
		if b.joining(l) {
			continue
		}
		if err := b.expel(ctx, v, &record{Table: rec.Table, Leaving: []leaving{l}}); err != nil {
			return err
		}
		delete(b.joins, l)
	}
	return nil
}

// expel has those drain that are written down as leaving and are not on their way yet: they joined for a table that is not to be.
func (b *Backend) expel(ctx context.Context, v *view, rec *record) error {
	if rec == nil {
		return nil
	}
	out := map[string][]string{}
	for _, l := range b.out(rec) {
		g := v.groups[l.Group]
		if g == nil || b.joining(l) {
			continue
		}
		if g.targets == nil {
			if err := b.health(ctx, g); err != nil {
				return err
			}
		}
		if h, there := g.targets[l.Address]; there && h.State != types.TargetHealthStateEnumDraining {
			out[l.Group] = append(out[l.Group], l.Address)
		}
	}
	for _, name := range sortedKeys(out) {
		if err := b.drain(ctx, v.groups[name], out[name]); err != nil {
			return err
		}
	}
	return nil
}

// out are the nodes of a record whose targets its table does not have.
func (b *Backend) out(rec *record) []leaving {
	stays := b.targets(rec.Table)
	return slices.DeleteFunc(slices.Clone(rec.Leaving), func(l leaving) bool { return stays[l.target()] })
}
