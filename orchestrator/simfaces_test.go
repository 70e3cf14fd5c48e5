package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/healthcheck"
	"github.com/bootandshoot/release/orchestrator/hook"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
	"github.com/bootandshoot/release/store"
)

// What a process sees of the world: each of its calls goes through pass, and what it changes is checked.

// simStore is the store as a process reaches it.
type simStore struct{ p *process }

var errNoAnswer = errors.New("the store does not answer")

// reach fails while the process is cut off from the store.
func (s simStore) reach(ctx context.Context) error {
	if s.p.w.isCut(s.p) {
		sleep(ctx, storePatience)
		return errNoAnswer
	}
	return nil
}

func (s simStore) Get(ctx context.Context, key string) (e store.Entry, err error) {
	if err := s.reach(ctx); err != nil {
		return e, err
	}
	err = s.p.pass(ctx, callRead, key, errNoAnswer, func() (err error) {
		e, err = s.p.w.store.Get(ctx, key)
		return err
	})
	return e, err
}

func (s simStore) List(ctx context.Context, prefix string) (list []store.Entry, err error) {
	if err := s.reach(ctx); err != nil {
		return nil, err
	}
	err = s.p.pass(ctx, callRead, prefix, errNoAnswer, func() (err error) {
		list, err = s.p.w.store.List(ctx, prefix)
		return err
	})
	return list, err
}

func (s simStore) Commit(ctx context.Context, writes ...store.Write) (version uint64, err error) {
	if err := s.reach(ctx); err != nil {
		return 0, err
	}
	err = s.p.pass(ctx, callCommit, writes[0].Key, errNoAnswer, func() (err error) {
		if version, err = s.p.w.store.Commit(context.WithoutCancel(ctx), writes...); err == nil {
			s.p.w.committed(s.p, writes)
		}
		return err
	})
	return version, err
}

func (s simStore) Watch(ctx context.Context, prefix string) (<-chan store.Change, error) {
	return s.p.w.store.Watch(ctx, prefix)
}

func (s simStore) Acquire(ctx context.Context, _, _ string, _ time.Duration) (store.Lease, error) {
	if err := s.p.pass(ctx, callAcquire, "the lease", errNoAnswer, func() error { return nil }); err != nil {
		return nil, err
	}
	return s.p.w.lease.acquire(ctx, s.p)
}

// simDriver is the driver as a process reaches it.
type simDriver struct {
	*fleettest.Fake
	p *process
}

var errNoEngine = fmt.Errorf("the engine does not answer: %w", fleet.ErrUnavailable)

func (d simDriver) call(ctx context.Context, call, what string, do func() error) error {
	if err := d.p.w.isDown(); err != nil {
		return err
	}
	return d.p.pass(ctx, call, what, errNoEngine, do)
}

func (d simDriver) Prepare(ctx context.Context, spec fleet.Spec) error {
	return d.PrepareReporting(ctx, spec, nil)
}

func (d simDriver) PrepareReporting(ctx context.Context, spec fleet.Spec, report func(fleet.Progress)) error {
	return d.call(ctx, callPrepare, spec.Fleet.String(), func() error { return d.Fake.PrepareReporting(context.WithoutCancel(ctx), spec, report) })
}

func (d simDriver) Ensure(ctx context.Context, spec fleet.Spec) (nodes []fleet.Node, err error) {
	call := callEnsure
	if spec.Kind == fleet.Once {
		call = callRun
	}
	err = d.call(ctx, call, short(spec.Nodes[0].Name), func() (err error) {
		nodes, err = d.Fake.Ensure(context.WithoutCancel(ctx), spec)
		d.p.w.booted(spec)
		return err
	})
	return nodes, err
}

func (d simDriver) Remove(ctx context.Context, id fleet.NodeID, grace time.Duration) error {
	return d.call(ctx, callRemove, short(id.Node), func() error {
		d.p.w.shot(id.Fleet, []string{id.Node})
		return d.Fake.Remove(context.WithoutCancel(ctx), id, grace)
	})
}

func (d simDriver) Destroy(ctx context.Context, id fleet.FleetID) error {
	return d.call(ctx, callDestroy, id.String(), func() error {
		d.p.w.shot(id, d.p.w.nodesOf(id))
		return d.Fake.Destroy(context.WithoutCancel(ctx), id)
	})
}

func (d simDriver) Nodes(ctx context.Context, id fleet.FleetID) (nodes []fleet.Node, err error) {
	err = d.call(ctx, callNodes, id.String(), func() (err error) {
		nodes, err = d.Fake.Nodes(ctx, id)
		return err
	})
	return nodes, err
}

func (d simDriver) Fleets(ctx context.Context) (list []fleet.Fleet, err error) {
	err = d.call(ctx, callFleets, "all", func() (err error) {
		list, err = d.Fake.Fleets(ctx)
		return err
	})
	return list, err
}

func (d simDriver) Logs(ctx context.Context, id fleet.NodeID, opts fleet.LogOptions) (r io.ReadCloser, err error) {
	err = d.call(ctx, callLogs, short(id.Node), func() (err error) {
		r, err = d.Fake.Logs(ctx, id, opts)
		return err
	})
	return r, err
}

func (d simDriver) Drift(ctx context.Context, id fleet.NodeID, spec fleet.DriftSpec) (drift fleet.Drift, err error) {
	err = d.call(ctx, callDrift, short(id.Node), func() (err error) {
		drift, err = d.Fake.Drift(ctx, id, spec)
		return err
	})
	return drift, err
}

// Watch sends hints a moment after what they are about.
func (d simDriver) Watch(ctx context.Context) (<-chan fleet.FleetID, error) {
	in, err := d.Fake.Watch(ctx)
	if err != nil {
		return nil, err
	}
	out := make(chan fleet.FleetID)
	go func() {
		defer close(out)
		for id := range in {
			if !sleep(ctx, d.p.w.delay(d.p.String()+"hint", time.Millisecond)) {
				return
			}
			select {
			case out <- id:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// simRouter is the router as a process reaches it.
type simRouter struct {
	*routertest.Fake
	p *process
}

var errNoRouter = fmt.Errorf("the router does not answer: %w", router.ErrUnavailable)

func (r simRouter) Apply(ctx context.Context, t router.Table) error {
	return r.p.pass(ctx, callApply, tableText(t), errNoRouter, func() error {
		err := r.Fake.Apply(context.WithoutCancel(ctx), t)
		if err == nil {
			r.p.w.tableApplied(r.p, t)
		}
		return err
	})
}

func (r simRouter) Applied(ctx context.Context) (t router.Table, err error) {
	err = r.p.pass(ctx, callApplied, "table", errNoRouter, func() (err error) {
		t, err = r.Fake.Applied(ctx)
		return err
	})
	return t, err
}

func (r simRouter) Observe(ctx context.Context) (o router.Observation, err error) {
	err = r.p.pass(ctx, callObserve, "edges", errNoRouter, func() (err error) {
		o, err = r.Fake.Observe(ctx)
		return err
	})
	return o, err
}

// tableText is a table in a line.
func tableText(t router.Table) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d.%d", t.Version.Epoch, t.Version.Seq)
	for _, route := range t.Routes {
		b.WriteString(" " + route.Name[strings.LastIndex(route.Name, "/")+1:] + "{")
		for _, fl := range route.Fleets {
			fmt.Fprintf(&b, " %s=%d%%", fl.Release, fl.Weight)
			for _, n := range fl.Nodes {
				b.WriteString(" " + short(n.Name))
			}
		}
		b.WriteString(" }")
	}
	for _, c := range t.Closing {
		b.WriteString(" closing " + short(c.Node))
	}
	for _, f := range t.Failed {
		b.WriteString(map[bool]string{false: " unwell ", true: " gone "}[f.Gone] + short(f.Node))
	}
	return b.String()
}

// check asks a node.
func (p *process) check(ctx context.Context, t healthcheck.Target) healthcheck.Result {
	if !sleep(ctx, p.w.delay(p.String()+"check"+t.Key, time.Millisecond)) {
		return healthcheck.Result{}
	}
	return p.w.asked(t.Key)
}

// hook runs a hook: it takes a moment, and fails when a fault says so.
func (p *process) hook(ctx context.Context, c hook.Command, line func(string)) (exit hook.Exit, err error) {
	if c.Env["RELEASE_HOOK_POINT"] == "abort_on" {
		return p.judge(ctx, c)
	}
	err = p.pass(ctx, callHook, c.Env["RELEASE_HOOK_POINT"]+" "+c.Env["RELEASE_HOOK_OPERATION"], errors.New("it hangs"), func() error {
		p.w.hookRan(c)
		return nil
	})
	if err != nil {
		return hook.Exit{}, err
	}
	line("runs")
	if !sleep(ctx, p.w.delay(p.String()+"hook", time.Second)) {
		return hook.Exit{}, ctx.Err()
	}
	return hook.Exit{}, nil
}
