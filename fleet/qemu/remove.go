package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/local"
	"github.com/bootandshoot/release/internal/failpoint"
	"github.com/bootandshoot/release/machine"
)

// defaultSignal asks services to end whose fleet names none.
const defaultSignal = "TERM"

// Remove stops a node and removes it. When ctx ends during the grace the node is left as it is, and the next call goes on.
func (d *Driver) Remove(ctx context.Context, id fleet.NodeID, grace time.Duration) error {
	if err := d.remove(ctx, id, grace); err != nil {
		return fmt.Errorf("remove node %s: %w", id.Node, err)
	}
	return nil
}

func (d *Driver) remove(ctx context.Context, id fleet.NodeID, grace time.Duration) error {
	unlock, err := d.names.Lock(ctx, id.Node)
	if err != nil {
		return err
	}
	defer unlock()
	r, ok, err := d.nodes.Ours(id)
	if err != nil || !ok {
		return err
	}
	if err := d.stop(ctx, r, grace); err != nil {
		return err
	}
	if err := d.settle(ctx, r); err != nil {
		return err
	}
	if err := d.clear(ctx, r); err != nil {
		return err
	}
	d.watch.Send(id.Fleet)
	return nil
}

// answerPatience is how long a machine may take to hear that its services are to end: one that boots, or hangs, does not listen.
const answerPatience = 3 * time.Second

// stop asks a node to end and waits up to grace: its services by their signal, or the machine, when it does not listen, by its power
// button.
func (d *Driver) stop(ctx context.Context, r record, grace time.Duration) error {
	l, err := d.liveOf(r)
	if errors.Is(err, errGone) || err == nil && grace <= 0 {
		return nil
	}
	if err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if err := d.ask(waiting, l, r.StopSignal, min(grace/2, answerPatience)); err != nil {
		d.opts.Log.Debug("stop signal did not arrive", "node", r.ID.Node, "error", err)
		if err := l.machine.PressPower(waiting); err != nil {
			d.opts.Log.Debug("power button was not pressed", "node", r.ID.Node, "error", err)
		}
	}
	select {
	case <-l.machine.Done():
		return nil
	case <-waiting.Done():
		return ctx.Err()
	}
}

// ask sends the services their signal.
func (d *Driver) ask(ctx context.Context, l *live, signal string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if signal == "" {
		signal = defaultSignal
	}
	return l.talk.stop(ctx, signal)
}

// clear kills what runs of a node and removes all it left; the end of its output is handed on. It may be repeated.
func (d *Driver) clear(ctx context.Context, r record) error {
	if err := d.kill(ctx, r.ID.Node); err != nil {
		return err
	}
	failpoint.Pass(failpoint.NodeKilled)
	if err := d.keepTail(r); err != nil {
		d.opts.Log.Warn("cannot keep the end of a log", "node", r.ID.Node, "error", err)
	}
	return d.nodes.Discard(r.ID.Node)
}

// kill ends what runs of a node.
func (d *Driver) kill(ctx context.Context, node string) error {
	_, err := machine.Clear(ctx, d.machineDir(node))
	return err
}

// keepTail hands on the end of a node's output, which outlives it.
func (d *Driver) keepTail(r record) error {
	if d.opts.Tails == nil {
		return nil
	}
	f, err := os.Open(d.logName(r))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := local.EndOf(f, fleet.TailBytes)
	if err != nil {
		return err
	}
	return d.opts.Tails.Keep(r.ID, r.Kind, bytes.NewReader(text))
}

// Destroy kills and removes all nodes of a fleet. Killing does not wait for a Remove that is in its grace.
func (d *Driver) Destroy(ctx context.Context, id fleet.FleetID) error {
	records, err := d.nodes.Of(id)
	if err != nil {
		return fmt.Errorf("destroy fleet %s: %w", id, err)
	}
	var group errgroup.Group
	group.SetLimit(d.opts.Boots)
	for _, r := range records {
		group.Go(func() error {
			if err := d.settle(ctx, r); err != nil {
				return fmt.Errorf("destroy node %s: %w", r.ID.Node, err)
			}
			if err := d.kill(ctx, r.ID.Node); err != nil {
				return fmt.Errorf("destroy node %s: %w", r.ID.Node, err)
			}
			return d.Remove(ctx, r.ID, 0)
		})
	}
	return group.Wait()
}
