package orchestrator

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
)

// groupedDriver is a driver with groups that nodes come into late.
type groupedDriver struct {
	*fleettest.Fake
	refusals atomic.Int64 // how many more words find no such node
	heard    atomic.Int64
}

func (d *groupedDriver) ReportHealth(_ context.Context, id fleet.NodeID, _ bool) error {
	if d.refusals.Add(-1) >= 0 {
		return fmt.Errorf("node %s: %w", id.Node, fleet.ErrNoNode)
	}
	d.heard.Add(1)
	return nil
}

func (d *groupedDriver) Quarantine(context.Context, fleet.NodeID) error { return nil }

// A node that is not in its group yet is told again, until the group knows; then nothing more is said.
func TestGroupIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		d := &groupedDriver{Fake: r.driver}
		d.refusals.Store(3)
		r.over = func() fleet.Driver { return d }
		r.start()
		defer func() { r.stop() }()
		r.up(1, 2)
		time.Sleep(time.Minute)
		if left, heard := d.refusals.Load(), d.heard.Load(); left != -2 || heard != 2 {
			t.Errorf("%d words were refused, and %d heard of 2 nodes", min(3, 3-left), heard)
		}
	})
}
