package qemu

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/machinechannel"
	"github.com/bootandshoot/release/machine"
)

const (
	recordSchema = 1
	stateBooting = "booting"
	stateStarted = "started"
)

// Files of a machine's folder, besides those of package machine.
const (
	logFile     = "log"
	exitFile    = "exit"
	controlFile = "control"
)

// record is what is kept of a node. It holds no environment: secrets would be in it.
type record struct {
	Schema       int          `json:"schema"`
	State        string       `json:"state"`
	ID           fleet.NodeID `json:"id"`
	Installation string       `json:"installation"`
	Kind         fleet.Kind   `json:"kind"`
	Image        string       `json:"image"`
	Slot         int          `json:"slot"`
	Address      string       `json:"address"`
	StopSignal   string       `json:"stop_signal"`
	Since        time.Time    `json:"since"`
}

// nodeName is the form of names that the caller mints; it keeps them from leading out of the nodes folder.
var nodeName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

func (d *Driver) nodeDir(name string) string    { return d.path("nodes", name) }
func (d *Driver) machineDir(name string) string { return d.path("nodes", name, "machine") }

// readRecord reads a node's record; os.ErrNotExist when there is none, or none whole.
func (d *Driver) readRecord(name string) (record, error) {
	if !nodeName.MatchString(name) {
		return record{}, fmt.Errorf("node name %q: %w", name, os.ErrNotExist)
	}
	data, err := os.ReadFile(filepath.Join(d.nodeDir(name), "record.json"))
	if err != nil {
		return record{}, fmt.Errorf("read record of %s: %w", name, err)
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil || r.ID.Node != name {
		return record{}, fmt.Errorf("read record of %s: damaged: %w", name, os.ErrNotExist)
	}
	if r.Schema > recordSchema {
		return record{}, fault.New(fault.Unsupported, "read record of %s: schema %d is newer than this program", name, r.Schema).
			WithHint("run the agent of the version that made the node")
	}
	return r, nil
}

// ours reads the record of a node if it belongs to this installation and fleet; ok is false when it does not, or is not there.
func (d *Driver) ours(id fleet.NodeID) (r record, ok bool, err error) {
	r, err = d.readRecord(id.Node)
	if errors.Is(err, os.ErrNotExist) {
		return record{}, false, nil
	}
	return r, err == nil && r.Installation == d.opts.Installation && r.ID.Fleet == id.Fleet, err
}

func (d *Driver) writeRecord(r record) error {
	r.Schema = recordSchema
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	return atomicfile.Write(filepath.Join(d.nodeDir(r.ID.Node), "record.json"), data, 0o600)
}

// records are all records of this installation, by name.
func (d *Driver) records() ([]record, error) {
	entries, err := os.ReadDir(d.path("nodes"))
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	var list []record
	for _, e := range entries {
		r, err := d.readRecord(e.Name())
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if r.Installation == d.opts.Installation {
			list = append(list, r)
		}
	}
	return list, nil
}

// Nodes lists a fleet's nodes by name.
func (d *Driver) Nodes(ctx context.Context, id fleet.FleetID) ([]fleet.Node, error) {
	records, err := d.records()
	if err != nil {
		return nil, err
	}
	var nodes []fleet.Node
	for _, r := range records {
		if r.ID.Fleet == id && r.State == stateStarted {
			nodes = append(nodes, d.view(r))
		}
	}
	return nodes, ctx.Err()
}

// Fleets lists this installation's fleets.
func (d *Driver) Fleets(ctx context.Context) ([]fleet.Fleet, error) {
	records, err := d.records()
	if err != nil {
		return nil, err
	}
	counts := map[fleet.FleetID]int{}
	for _, r := range records {
		if r.State == stateStarted {
			counts[r.ID.Fleet]++
		}
	}
	var fleets []fleet.Fleet
	for id, n := range counts {
		fleets = append(fleets, fleet.Fleet{ID: id, Nodes: n})
	}
	slices.SortFunc(fleets, func(a, b fleet.Fleet) int { return cmp.Compare(a.ID.String(), b.ID.String()) })
	return fleets, ctx.Err()
}

// view is a node as it is now.
func (d *Driver) view(r record) fleet.Node {
	n := fleet.Node{ID: r.ID, Slot: r.Slot, Host: d.host, Address: r.Address, Image: r.Image, Since: r.Since, Presence: fleet.Gone}
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
