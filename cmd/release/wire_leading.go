package main

import (
	"context"
	"io"
	"time"

	"github.com/bootandshoot/release/console"
	"github.com/bootandshoot/release/orchestrator"
)

// leading is the orchestrator of the present lead, as the console sees it. While the agent does not lead every question ends with who
// does.
type leading struct{ *leadership }

var _ console.Orchestrator = leading{}

func (l leading) Submit(ctx context.Context, r orchestrator.Request) (orchestrator.Operation, error) {
	o, err := l.now(ctx)
	if err != nil {
		return orchestrator.Operation{}, err
	}
	return o.Submit(ctx, r)
}

func (l leading) Plan(ctx context.Context, r orchestrator.Request) (orchestrator.Plan, error) {
	o, err := l.now(ctx)
	if err != nil {
		return orchestrator.Plan{}, err
	}
	return o.Plan(ctx, r)
}

func (l leading) Steer(ctx context.Context, k orchestrator.Key, w orchestrator.Word) ([]string, error) {
	o, err := l.now(ctx)
	if err != nil {
		return nil, err
	}
	return o.Steer(ctx, k, w)
}

func (l leading) Operation(ctx context.Context, k orchestrator.Key, id string) (orchestrator.Operation, error) {
	o, err := l.now(ctx)
	if err != nil {
		return orchestrator.Operation{}, err
	}
	return o.Operation(ctx, k, id)
}

func (l leading) Status(ctx context.Context, k orchestrator.Key) (orchestrator.Status, error) {
	o, err := l.now(ctx)
	if err != nil {
		return orchestrator.Status{}, err
	}
	return o.Status(ctx, k)
}

func (l leading) Traffic(ctx context.Context, k orchestrator.Key) (orchestrator.Reading, error) {
	o, err := l.now(ctx)
	if err != nil {
		return orchestrator.Reading{}, err
	}
	return o.Traffic(ctx, k)
}

func (l leading) Events(ctx context.Context, k orchestrator.Key, after uint64, limit int) ([]orchestrator.Event, error) {
	o, err := l.now(ctx)
	if err != nil {
		return nil, err
	}
	return o.Events(ctx, k, after, limit)
}

func (l leading) History(ctx context.Context, k orchestrator.Key) ([]orchestrator.Operation, error) {
	o, err := l.now(ctx)
	if err != nil {
		return nil, err
	}
	return o.History(ctx, k)
}

func (l leading) EventsBefore(ctx context.Context, k orchestrator.Key, at time.Time) (uint64, error) {
	o, err := l.now(ctx)
	if err != nil {
		return 0, err
	}
	return o.EventsBefore(ctx, k, at)
}

func (l leading) Releases(ctx context.Context, k orchestrator.Key) ([]orchestrator.Release, error) {
	o, err := l.now(ctx)
	if err != nil {
		return nil, err
	}
	return o.Releases(ctx, k)
}

func (l leading) Record(ctx context.Context, k orchestrator.Key, release string) (orchestrator.Record, error) {
	o, err := l.now(ctx)
	if err != nil {
		return orchestrator.Record{}, err
	}
	return o.Record(ctx, k, release)
}

func (l leading) Diff(ctx context.Context, k orchestrator.Key, from, to string) (a, b orchestrator.Release, changes []orchestrator.ConfigChange, err error) {
	o, err := l.now(ctx)
	if err != nil {
		return a, b, nil, err
	}
	return o.Diff(ctx, k, from, to)
}

func (l leading) Stats(ctx context.Context, k orchestrator.Key, since time.Time) (orchestrator.Stats, error) {
	o, err := l.now(ctx)
	if err != nil {
		return orchestrator.Stats{}, err
	}
	return o.Stats(ctx, k, since)
}

func (l leading) Logs(ctx context.Context, k orchestrator.Key, node string, opts orchestrator.LogOptions) (io.ReadCloser, error) {
	o, err := l.now(ctx)
	if err != nil {
		return nil, err
	}
	return o.Logs(ctx, k, node, opts)
}

func (l leading) Previous(ctx context.Context, k orchestrator.Key) ([]orchestrator.Tail, error) {
	o, err := l.now(ctx)
	if err != nil {
		return nil, err
	}
	return o.Previous(ctx, k)
}

func (l leading) CopyOut(ctx context.Context, k orchestrator.Key, node, path string) (io.ReadCloser, error) {
	o, err := l.now(ctx)
	if err != nil {
		return nil, err
	}
	return o.CopyOut(ctx, k, node, path)
}

func (l leading) Exec(ctx context.Context, k orchestrator.Key, node string, s orchestrator.ExecSpec) (int, error) {
	o, err := l.now(ctx)
	if err != nil {
		return 0, err
	}
	return o.Exec(ctx, k, node, s)
}

// Keys and Changed are asked of an agent that leads a moment ago, at least: the console looks before it asks.
func (l leading) Keys() []orchestrator.Key {
	if o := l.present(); o != nil {
		return o.Keys()
	}
	return nil
}

// Changed is closed already while the agent does not lead: what is asked next says so.
func (l leading) Changed() <-chan struct{} {
	if o := l.present(); o != nil {
		return o.Changed()
	}
	over := make(chan struct{})
	close(over)
	return over
}

// present is the orchestrator, nil while the agent does not lead.
func (l *leadership) present() *orchestrator.Orchestrator {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mind
}

func (l leading) Drift(ctx context.Context, k orchestrator.Key, node string) (orchestrator.Drifted, error) {
	o, err := l.now(ctx)
	if err != nil {
		return orchestrator.Drifted{}, err
	}
	return o.Drift(ctx, k, node)
}
