package haproxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bootandshoot/release/internal/pause"
	"github.com/bootandshoot/release/router"
)

// backTimeout is how long it may take to bring an old table back.
const backTimeout = 5 * time.Second

// turn is one table's way into one edge.
type turn struct {
	e      *edge
	t      *packed
	unlock func()

	away   error // why the edge does not answer; nil: it does
	before processes
	l      *layout // of the current worker
	old    notes   // on disk
	saved  []byte  // release.cfg as it was
	same   bool    // the very table is on disk already

	plan      *plan
	cfg       configuration
	reload    bool // the worker cannot serve the table as it is
	committed bool
}

// begin looks at an edge, and refuses a table that is not newer than what it has.
func (e *edge) begin(ctx context.Context, t *packed) (u *turn, err error) {
	u = &turn{e: e, t: t}
	defer func() {
		if err != nil {
			u.end()
			u = nil
		}
	}()
	if u.unlock, err = e.folder.lock(ctx); err != nil {
		return u, err
	}
	if u.saved, err = e.folder.saved(); err != nil {
		return u, err
	}
	if u.old, err = e.folder.notes(); err != nil {
		return u, err
	}
	if u.same, err = t.supersedes(u.old); err != nil {
		return u, err
	}
	if u.before, u.l, err = e.current(ctx); errors.Is(err, router.ErrUnavailable) {
		u.away, err = err, nil
		empty := newLayout()
		u.l = &empty
	}
	if err != nil {
		return u, err
	}
	if _, err := t.supersedes(u.l.notes); err != nil {
		return u, err
	}
	u.plan = arrange(u.l, t.table)
	u.cfg = e.folder.setting().configure(u.plan.anew())
	u.reload = u.away == nil && !(u.plan.fits() && u.cfg.running(u.l))
	return u, nil
}

// supersedes is router.Table.Supersedes, by digests.
func (t *packed) supersedes(n notes) (same bool, err error) {
	if n.digest == "" {
		return false, nil
	}
	switch c := t.table.Version.Compare(n.version); {
	case c > 0:
		return false, nil
	case c < 0:
		return false, fmt.Errorf("apply table %s over %s: %w", t.table.Version, n.version, router.ErrStale)
	}
	if t.sum != n.digest {
		return false, fmt.Errorf("apply table %s: same version with other content: %w", t.table.Version, router.ErrStale)
	}
	return true, nil
}

// current is the master's processes and what its current worker has.
func (e *edge) current(ctx context.Context) (p processes, l *layout, err error) {
	err = e.steady(ctx, func(now processes) (err error) {
		p = now
		l, err = e.look(ctx, p.current)
		return err
	})
	return p, l, err
}

const (
	// reloadGrace is how long a master may not answer: while it reloads its socket is closed.
	reloadGrace = 500 * time.Millisecond
	// steadyGrace is how long workers may vanish one after another while they are asked.
	steadyGrace = 2 * time.Second
)

// steady does something with the master's processes, and again when a reload or restart came between.
func (e *edge) steady(ctx context.Context, do func(processes) error) error {
	for began := time.Now(); ; {
		p, err := e.settled(ctx)
		if err != nil {
			return err
		}
		err = do(p)
		gone, closed := errors.Is(err, errGone), errors.Is(err, router.ErrUnavailable)
		switch late := time.Since(began) > steadyGrace; {
		case !gone && !closed, closed && late:
			return err
		case late:
			return e.restless()
		}
		if err := e.pause(ctx); err != nil {
			return err
		}
	}
}

// restless is what is said of a HAProxy none of whose workers lasts for as long as it takes.
func (e *edge) restless() error {
	return unavailable(nil, "ask haproxy at %s: its workers do not last", e.Socket).
		WithHint("its log says why (journalctl -u haproxy)")
}

// pause waits before the master is asked again.
func (e *edge) pause(ctx context.Context) error {
	if err := pause.For(ctx, reloadPoll); err != nil {
		return fmt.Errorf("wait for haproxy's worker at %s: %w", e.Socket, err)
	}
	return nil
}

// settled is the master's processes when there is a worker. During a reload there may be none.
func (e *edge) settled(ctx context.Context) (processes, error) {
	began := time.Now()
	for {
		p, err := e.console.processes(ctx)
		if err != nil && (!errors.Is(err, router.ErrUnavailable) || time.Since(began) > reloadGrace) {
			return p, err
		}
		if err == nil && p.current != 0 {
			return p, p.modern()
		}
		if err := e.pause(ctx); err != nil {
			return p, err
		}
	}
}

func (u *turn) end() {
	if u != nil && u.unlock != nil {
		u.unlock()
		u.unlock = nil
	}
}

// check refuses a table whose ports other programs have. HAProxy would refuse it too, but its way of finding out is to stop
// accepting for a while.
func (u *turn) check() error {
	if !u.reload || !sameNetwork(u.before.master) {
		return nil
	}
	mine := u.l.addresses()
	for i := range u.t.table.Routes {
		if err := blocked(&u.t.table.Routes[i], mine); err != nil {
			return err
		}
	}
	return nil
}

// commit makes the table durable: from here on a HAProxy that reads its configuration anew serves it.
func (u *turn) commit() error {
	fresh := u.plan.anew()
	s := u.e.folder.setting()
	if err := s.tls.write(fresh); err != nil {
		return denied(err, "write haproxy's certificates")
	}
	u.committed = true
	if err := u.e.folder.commit(u.cfg, fresh.decide(u.t, kept{}), u.t.table.Version.String()); err != nil {
		return err
	}
	u.e.committed = u.t
	return nil
}

// attempts is how often the table is brought to workers that reloads of others replace meanwhile.
const attempts = 5

// effect makes the table effective in all workers.
func (u *turn) effect(ctx context.Context) error {
	if u.away != nil {
		return nil // it begins with what is on its disk, or gets it when it answers again
	}
	for range attempts {
		err := u.once(ctx)
		if !errors.Is(err, errGone) && !errors.Is(err, router.ErrUnavailable) {
			return err
		}
		if u.before, u.l, err = u.e.current(ctx); err != nil {
			return err
		}
		u.reload = !(arrange(u.l, u.t.table).fits() && u.cfg.running(u.l))
	}
	return fmt.Errorf("apply table %s: %w", u.t.table.Version, u.e.restless())
}

func (u *turn) once(ctx context.Context) error {
	p := u.before
	if u.reload {
		// What the worker has counted is read before it ends.
		if _, _, err := u.e.account(ctx, u.before); err != nil {
			return err
		}
		var err error
		p, err = u.e.reload(ctx, u.before)
		if errors.Is(err, errRefused) {
			return refusal(u.e, u.newRoutes())
		}
		if err != nil {
			return err
		}
	}
	l := u.l
	if u.reload {
		var err error
		if l, err = u.e.look(ctx, p.current); err != nil {
			return err
		}
	}
	if err := u.e.followAll(ctx, p, l, u.t); err != nil {
		return err
	}
	// A reload of somebody else that began before the table was on disk has the one before it.
	now, err := u.e.settled(ctx)
	if err == nil && (now.current != p.current || now.reloads != p.reloads || now.master != p.master) {
		err = errGone
	}
	return err
}

// followAll brings the current worker to the table, and those that still finish what they have.
func (e *edge) followAll(ctx context.Context, p processes, l *layout, t *packed) error {
	if err := e.follow(ctx, p.current, l, t); err != nil {
		return err
	}
	for _, pid := range p.old {
		if err := e.trail(ctx, pid, t); err != nil {
			return err
		}
	}
	return nil
}

// newRoutes are the routes that the reload was for.
func (u *turn) newRoutes() []string {
	var names []string
	for _, pr := range u.plan.routes {
		if !pr.fits {
			names = append(names, pr.route.Name)
		}
	}
	if len(names) == 0 {
		for _, pr := range u.plan.routes {
			names = append(names, pr.route.Name)
		}
	}
	return names
}

// back brings the table of before back, where this one was committed.
func (u *turn) back(ctx context.Context) error {
	if !u.committed || u.same {
		return nil
	}
	if err := u.e.folder.restore(u.saved); err != nil {
		return err
	}
	u.e.committed = &packed{}
	if u.away != nil {
		return nil
	}
	now, l, err := u.e.current(ctx)
	if err != nil {
		return err
	}
	if u.reload {
		// Also a master that refused a configuration is in order again only after one that it takes.
		if now, err = u.e.reload(ctx, now); err == nil {
			l, err = u.e.look(ctx, now.current)
		}
		if err != nil {
			return err
		}
	}
	old, err := u.old.table()
	if errors.Is(err, router.ErrNoTable) {
		return nil
	}
	if err != nil {
		return err
	}
	t, err := pack(old)
	if err != nil {
		return err
	}
	return u.e.followAll(ctx, now, l, t)
}

// applied is the newer one of the tables in effect and on disk, and whether it is both. An edge that does not answer has the
// one on its disk.
func (e *edge) applied(ctx context.Context) (t router.Table, settled bool, err error) {
	disk, err := e.folder.notes()
	if err != nil {
		return t, false, err
	}
	_, l, err := e.current(ctx)
	if errors.Is(err, router.ErrUnavailable) {
		t, noTable := disk.table()
		return t, false, errors.Join(err, noTable)
	}
	if err != nil {
		return t, false, err
	}
	settled = disk.version == l.notes.version && disk.digest == l.notes.digest
	n := l.notes
	if disk.digest != "" && disk.version.Compare(n.version) > 0 {
		n = disk
	}
	t, err = n.table()
	return t, settled, err
}
