package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/local"
	"github.com/bootandshoot/release/internal/machinechannel"
	"github.com/bootandshoot/release/machine"
)

// Files of a machine's folder, besides those of package machine.
const (
	logFile     = "log"
	exitFile    = "exit"
	controlFile = "control"
)

// record is what is kept of a node.
type record struct {
	local.Record

	Volumes []fleet.VolumeMount `json:"volumes,omitempty"`
}

// Mounts are the volumes that a node has.
func (r record) Mounts() []fleet.VolumeMount { return r.Volumes }

// machineDir is where package machine keeps a node's machine.
func (d *Driver) machineDir(node string) string { return filepath.Join(d.nodes.Dir(node), "machine") }

// Nodes lists a fleet's nodes by name.
func (d *Driver) Nodes(ctx context.Context, id fleet.FleetID) ([]fleet.Node, error) {
	return d.nodes.List(ctx, id, func(_ context.Context, r record) fleet.Node { return d.view(r) })
}

// Fleets lists this installation's fleets.
func (d *Driver) Fleets(ctx context.Context) ([]fleet.Fleet, error) { return d.nodes.Fleets(ctx) }

// view is a node as it is now.
func (d *Driver) view(r record) fleet.Node {
	n := r.View(d.host)
	l, err := d.liveOf(r)
	switch {
	case err == nil:
		n.Presence, n.PID = fleet.Present, l.machine.PID
	case errors.Is(err, errGone):
		n.Exit = d.exitOf(r)
	default:
		d.opts.Log.Warn("cannot tell whether a node runs", "node", r.ID.Node, "error", err)
		n.Presence = fleet.Unknown
	}
	return n
}

// exitOf is how the node's services ended, as the machine has said; else how the machine itself did; nil: nobody knows.
func (d *Driver) exitOf(r record) *fleet.Exit {
	dir := d.machineDir(r.ID.Node)
	if e, at, err := readExit(filepath.Join(dir, exitFile)); err == nil {
		return &fleet.Exit{Code: e.Code, Signal: e.Signal, Reason: e.Reason, At: at}
	}
	m, err := machine.Open(dir)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	how, err := m.Wait(ctx)
	if err != nil {
		return nil
	}
	info, err := os.Stat(filepath.Join(dir, consoleFile))
	if err != nil {
		return nil
	}
	exit := &fleet.Exit{At: info.ModTime()}
	switch how.How {
	case machine.Killed:
		exit.Code, exit.Signal, exit.Reason = 128+9, "KILL", "its QEMU was killed"
	case machine.Reset:
		exit.Code, exit.Reason = 1, "the machine restarted or panicked; its console says why"
	default:
		exit.Code, exit.Reason = 1, "the machine powered off by itself; its console says why"
	}
	return exit
}

// consoleFile is what package machine keeps.
const consoleFile = "console.log"

// maxExit is how much of what a machine says of its end is read.
const maxExit = 16 << 10

// readExit reads what the machine wrote. The time is that of this machine's clock.
func readExit(name string) (e machinechannel.Exit, at time.Time, err error) {
	f, err := os.Open(name)
	if err != nil {
		return e, at, err
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, maxExit)).Decode(&e); err != nil {
		return e, at, err
	}
	info, err := f.Stat()
	if err != nil {
		return e, at, err
	}
	return e, info.ModTime(), nil
}
