package haproxy

import (
	"context"
	"errors"
	"time"

	"github.com/bootandshoot/release/router"
)

// tidy puts an edge in order: one that did not answer while a table was applied; servers that somebody drained, stopped or
// gave another address; workers from before that missed a table; certificates whose files changed; long connections that are
// to end; and servers whose node left and has no more requests. Those go out of service, so that a node that is shot next is
// not reported as a failure.
func (e *edge) tidy(ctx context.Context, p processes, l *layout) error {
	if e.committed.table.Version.Compare(l.notes.version) > 0 {
		return e.catchUp(ctx)
	}
	t, err := e.tableOf(&l.notes)
	if errors.Is(err, router.ErrNoTable) {
		return nil
	}
	if err != nil {
		return err
	}
	plan := arrange(l, t)
	packed, err := pack(t)
	if err != nil {
		return err
	}
	if m := plan.moves(l, false); !m.none() {
		e.log.Warn("haproxy's servers are not as the table wants them, and are put in order", "worker", p.current, "table", t.Version.String())
		if err := e.follow(ctx, p.current, l, packed); err != nil {
			return err
		}
	}
	for _, pid := range p.old {
		if err := e.trail(ctx, pid, packed); err != nil {
			return err
		}
	}
	if err := e.renew(ctx, p.current, t); err != nil {
		return err
	}
	if err := e.close(ctx, p, t, time.Now()); err != nil {
		return err
	}
	return e.retire(ctx, p.current, l, plan)
}

// retire takes servers out of service whose node left and has no more requests.
func (e *edge) retire(ctx context.Context, pid int, l *layout, p *plan) error {
	serves := map[string]bool{}
	for _, pr := range p.routes {
		for _, f := range pr.fleets {
			for _, a := range f.servers {
				serves[slotName(pr.id, f.slot)+"/"+a.server] = true
			}
		}
	}
	var out []string
	for backend, servers := range l.servers {
		for _, s := range servers {
			if name := backend + "/" + s.server; !serves[name] && !s.out() && !s.busy() {
				out = append(out, "set server "+name+" state maint")
			}
		}
	}
	return worker{e.console, pid}.tell(ctx, out, harmless)
}

// catchUp applies the table that was committed while the edge did not answer.
func (e *edge) catchUp(ctx context.Context) error {
	u, err := e.begin(ctx, e.committed)
	if err != nil {
		return err
	}
	defer u.end()
	e.log.Info("haproxy answers again, and gets the table that it missed", "table", e.committed.table.Version.String())
	for _, do := range []func() error{u.check, u.commit, func() error { return u.effect(ctx) }} {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}
