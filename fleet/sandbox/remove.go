package sandbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/failpoint"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/sandbox"
)

// killPatience is how long the kernel may take to end a killed sandbox.
const killPatience = 10 * time.Second

// Remove stops a node and removes it. When ctx ends during the grace the node is left as it is, and the next call
// goes on.
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
	if err := d.clear(r); err != nil {
		return err
	}
	d.watch.Send(id.Fleet)
	return d.foldNetwork()
}

// stop asks a node to end and waits up to grace.
func (d *Driver) stop(ctx context.Context, r record, grace time.Duration) error {
	l, err := d.liveOf(r)
	if errors.Is(err, sandbox.ErrGone) || err == nil && grace <= 0 {
		return nil
	}
	if err != nil {
		return err
	}
	signal, err := stopSignal(r.StopSignal)
	if err != nil {
		return err
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	asking, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if err := sandbox.ControlOf(d.nodes.Dir(r.ID.Node)).Signal(asking, signal); err != nil {
		// It may have ended this moment; if not, the kill comes after the grace.
		d.opts.Log.Debug("stop signal did not arrive", "node", r.ID.Node, "error", err)
	}
	select {
	case <-l.process.Done():
		return nil
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func stopSignal(name string) (syscall.Signal, error) {
	if name == "" {
		return unix.SIGTERM, nil
	}
	s := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG"))
	if s == 0 {
		return 0, fault.New(fault.Invalid, "stop signal %q is not known", name).WithHint("use a name such as TERM, INT or QUIT")
	}
	return s, nil
}

// clear kills what runs of a node and removes all it left; the end of its log is handed on. It may be repeated.
func (d *Driver) clear(r record) error {
	if r.PID != 0 {
		if err := d.kill(r); err != nil {
			return err
		}
	}
	failpoint.Pass(failpoint.NodeKilled)
	if err := d.keepTail(r); err != nil {
		d.opts.Log.Warn("cannot keep the end of a log", "node", r.ID.Node, "error", err)
	}
	d.network.detach(r.Slot)
	if err := sandbox.RemoveCgroup(r.Cgroup); err != nil {
		d.opts.Log.Warn("cannot remove cgroup", "node", r.ID.Node, "error", err)
	}
	return d.nodes.Discard(r.ID.Node)
}

func (d *Driver) kill(r record) error {
	l, err := d.liveOf(r)
	if errors.Is(err, sandbox.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := l.process.Kill(); err != nil {
		return err
	}
	select {
	case <-l.process.Done():
		return nil
	case <-time.After(killPatience):
		return fault.New(fault.Failed, "process %d does not end though killed", r.PID).
			WithHint("it hangs in the kernel, probably on a disk: see `cat /proc/%d/stack`", r.PID)
	}
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
			if err := d.kill(r); err != nil {
				return fmt.Errorf("destroy node %s: %w", r.ID.Node, err)
			}
			return d.Remove(ctx, r.ID, 0)
		})
	}
	return errors.Join(group.Wait(), d.foldNetwork())
}

// foldNetwork takes down what only nodes need when the last one is gone.
func (d *Driver) foldNetwork() error {
	return d.network.fold(func() (bool, error) {
		records, err := d.nodes.All()
		return len(records) == 0, err
	})
}
