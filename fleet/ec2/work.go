package ec2

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

// work is what is under way for one fleet in this process, and what all that works on it shares.
type work struct {
	over  context.Context // ends when the fleet is to be destroyed; never again is anything made for it
	end   context.CancelCauseFunc
	calls sync.WaitGroup // Ensures under way
	gone  time.Time      // when it was destroyed; guarded by the driver's lock

	grounding chan struct{} // has something in while somebody makes the ground, or reads image
	image     string        // the AMI of the fleet; "" while the ground is not known to be there

	looking chan struct{} // the same, of the list
	listed  time.Time     // when it began
	list    []machine
}

// of is the work on a fleet.
func (d *Driver) of(id fleet.FleetID) *work {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.work, func(_ fleet.FleetID, w *work) bool { return !w.gone.IsZero() && time.Since(w.gone) > d.opts.Settles })
	w := d.work[id]
	if w == nil {
		w = &work{grounding: make(chan struct{}, 1), looking: make(chan struct{}, 1)}
		w.over, w.end = context.WithCancelCause(context.Background())
		d.work[id] = w
	}
	return w
}

// enter begins a call that makes something for a fleet, unless that is being destroyed or was: a fleet's id is never used again.
func (d *Driver) enter(id fleet.FleetID) (w *work, leave func(), err error) {
	w = d.of(id)
	d.mu.Lock()
	defer d.mu.Unlock()
	if w.over.Err() != nil {
		return nil, nil, context.Cause(w.over)
	}
	w.calls.Add(1)
	return w, w.calls.Done, nil
}

// expel keeps all calls from making more for a fleet, and waits until those under way have stopped: what they launched is then known.
func (d *Driver) expel(ctx context.Context, id fleet.FleetID) error {
	w := d.of(id)
	d.mu.Lock()
	w.end(fault.New(fault.Conflict, "fleet %s is being destroyed", id))
	d.mu.Unlock()
	left := make(chan struct{})
	go func() { w.calls.Wait(); close(left) }()
	select {
	case <-left:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// destroyed notes that nothing of a fleet is left. That is remembered for a while, for calls that come late.
func (d *Driver) destroyed(id fleet.FleetID) {
	w := d.of(id)
	d.mu.Lock()
	defer d.mu.Unlock()
	w.gone = time.Now()
}

// until is ctx that ends with the fleet, too. It is for waiting: what is asked of AWS is heard to the end, or what it made would not be known.
func (w *work) until(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(w.over, func() { cancel(context.Cause(w.over)) })
	return ctx, func() { stop(); cancel(nil) }
}

// turn waits for a place of one.
func turn(ctx context.Context, place chan struct{}) (done func(), err error) {
	select {
	case place <- struct{}{}:
		return func() { <-place }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// glance lists a fleet's instances, or gives a list that began less than a poll ago: many nodes wait for the same one.
func (d *Driver) glance(ctx context.Context, w *work, id fleet.FleetID) ([]machine, error) {
	done, err := turn(ctx, w.looking)
	if err != nil {
		return nil, err
	}
	defer done()
	if time.Since(w.listed) < d.opts.Poll {
		return w.list, nil
	}
	began := time.Now()
	all, err := d.instances(ctx, &id)
	if err != nil {
		return nil, err
	}
	w.listed, w.list = began, all
	return all, nil
}
