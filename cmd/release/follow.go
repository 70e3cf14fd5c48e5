package main

import (
	"context"
	"errors"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
)

const (
	longPoll  = 10 * time.Second
	reconnect = 10 * time.Second       // how long a lost agent is looked for
	retry     = 100 * time.Millisecond // between two looks
)

// follower follows one operation until it ends. A lost agent is looked for, and started again when it is gone: the
// operation is in its journal and goes on.
type follower struct {
	c      *cli
	client *api.Client
	app    api.App
	id     string
	seq    uint64 // of the last event shown
	view   view
	waits  string // said last
}

// view shows what happens. Its methods are called by one goroutine at a time.
type view interface {
	event(e api.Event)
	status(s api.Status) // only when wantsStatus
	wantsStatus() bool
	close()
}

// run returns the operation once it ended or waits for a person. An error is fault.Running or fault.Interrupted when the
// operation goes on without us.
func (f *follower) run(ctx context.Context) (api.Operation, error) {
	defer f.view.close()
	for {
		op, err := f.watch(ctx)
		if err == nil {
			return op, nil
		}
		if fault.Is(err, fault.Unavailable) && !errors.Is(err, api.ErrNoAgent) {
			err = fault.New(fault.Running, "%w", err) // another agent leads by now
		}
		if !errors.Is(err, api.ErrNoAgent) || ctx.Err() != nil {
			return op, f.leave(ended(ctx, err))
		}
		if err := f.reconnect(ctx); err != nil {
			return op, f.leave(ended(ctx, err))
		}
	}
}

// leave says how to go on with an operation that we stop following.
func (f *follower) leave(err error) error {
	code := fault.CodeOf(err)
	if code != fault.Interrupted && code != fault.Running {
		return err
	}
	e := fault.New(code, "%w; %s goes on in the agent", err, f.id)
	return e.WithHint("follow it with: release events --follow · see release status · end it with: release abort")
}

// watch shows events while it waits for the end of the operation on one connection.
func (f *follower) watch(ctx context.Context) (api.Operation, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	shown := make(chan error, 1)
	go func() { shown <- f.client.Events(ctx, f.app, f.seq, true, f.show) }()
	stopStatus := f.refresh(ctx)
	op, err := f.wait(ctx)
	stopStatus()
	cancel()
	if streamErr := <-shown; err == nil && streamErr != nil && !errors.Is(streamErr, context.Canceled) && !op.Done() && !op.Halted() {
		err = streamErr
	}
	if err != nil {
		return op, err
	}
	// The stream may have been cut before the last events of the operation.
	return op, f.client.Events(context.WithoutCancel(ctx), f.app, f.seq, false, f.show)
}

func (f *follower) show(e api.Event) error {
	if e.Seq > f.seq {
		f.seq = e.Seq
		f.view.event(e)
	}
	return nil
}

func (f *follower) wait(ctx context.Context) (api.Operation, error) {
	for {
		op, err := f.client.Operation(ctx, f.app, f.id, longPoll)
		if err != nil || op.Done() || op.Halted() {
			return op, err
		}
		f.sayWaits(op)
	}
}

// sayWaits says what keeps an operation for long, once each; a live view shows it all the time.
func (f *follower) sayWaits(op api.Operation) {
	if op.Waits == "" || op.Waits == f.waits || f.view.wantsStatus() {
		return
	}
	f.waits = op.Waits
	f.c.out.note("still under way, waits for %s", op.Waits)
}

// refresh keeps a live view's picture of the nodes up to date.
func (f *follower) refresh(ctx context.Context) (stop func()) {
	if !f.view.wantsStatus() {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			if s, err := f.client.Status(ctx, f.app); err == nil {
				f.view.status(s)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-done }
}

// reconnect waits for an agent to answer again, and starts one if that is ours to do.
func (f *follower) reconnect(ctx context.Context) error {
	lost := fault.New(fault.Running, "the connection to the agent is lost")
	ctx, cancel := context.WithTimeoutCause(ctx, reconnect, lost)
	defer cancel()
	_, named, _ := f.c.socket()
	tick := time.NewTicker(retry)
	defer tick.Stop()
	for tries := 0; ; tries++ {
		if _, err := f.client.Agent(ctx); err == nil {
			return nil
		}
		if tries == 3 && !named { // a service manager is given the time to restart its own first
			f.c.out.note("the agent is gone: starting it again, the operation goes on")
			if err := f.c.startAgent(ctx, f.client); err != nil {
				return ended(ctx, err)
			}
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
