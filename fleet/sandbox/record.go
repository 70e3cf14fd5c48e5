package sandbox

import (
	"context"
	"errors"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/local"
	"github.com/bootandshoot/release/sandbox"
)

// record is what is kept of a node.
type record struct {
	local.Record

	Cgroup  string              `json:"cgroup"`
	Volumes []fleet.VolumeMount `json:"volumes,omitempty"`

	// The init, once it exists.
	PID       int    `json:"pid,omitempty"`
	StartTime uint64 `json:"start_time,omitempty"`
	BootID    string `json:"boot_id,omitempty"`
}

// writeRecord replaces a record. That of a job must survive the machine; others only this process, which a rename does.
func (d *Driver) writeRecord(r record) error {
	return d.nodes.Write(r, r.Kind == fleet.Once)
}

// Nodes lists a fleet's nodes by name.
func (d *Driver) Nodes(ctx context.Context, id fleet.FleetID) ([]fleet.Node, error) {
	return d.nodes.List(ctx, id, d.view)
}

// Fleets lists this installation's fleets.
func (d *Driver) Fleets(ctx context.Context) ([]fleet.Fleet, error) { return d.nodes.Fleets(ctx) }

// view is a node as it is now.
func (d *Driver) view(ctx context.Context, r record) fleet.Node {
	n := r.View(d.host)
	if exit, err := sandbox.ReadExit(d.nodes.Dir(r.ID.Node)); err == nil {
		n.Exit = fleetExit(exit)
		return n
	}
	l, err := d.liveOf(r)
	switch {
	case err == nil:
		n.Presence, n.PID = fleet.Present, d.commandOf(ctx, r.ID.Node, l)
	case !errors.Is(err, sandbox.ErrGone):
		d.opts.Log.Warn("cannot tell whether a node runs", "node", r.ID.Node, "error", err)
		n.Presence = fleet.Unknown
	default:
		n.Exit = d.lateExit(r)
	}
	return n
}

// lateExit is how a node ended whose init is gone: it may have written its exit since we looked, or was killed itself.
func (d *Driver) lateExit(r record) *fleet.Exit {
	if exit, err := sandbox.ReadExit(d.nodes.Dir(r.ID.Node)); err == nil {
		return fleetExit(exit)
	}
	if r.BootID == d.boot && sandbox.OutOfMemory(r.Cgroup) {
		return &fleet.Exit{Code: 137, Signal: "KILL", Reason: "out of memory"}
	}
	return nil
}

func fleetExit(e sandbox.Exit) *fleet.Exit {
	return &fleet.Exit{Code: e.Code, Signal: e.Signal, Reason: e.Reason, At: e.At}
}
