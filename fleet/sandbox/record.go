package sandbox

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/sandbox"
)

const (
	recordSchema = 1
	stateBooting = "booting"
	stateStarted = "started"
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
	Cgroup       string       `json:"cgroup"`
	Since        time.Time    `json:"since"`

	Volumes []fleet.VolumeMount `json:"volumes,omitempty"`

	// The init, once it exists.
	PID       int    `json:"pid,omitempty"`
	StartTime uint64 `json:"start_time,omitempty"`
	BootID    string `json:"boot_id,omitempty"`
}

// nodeName is the form of names that the caller mints; it keeps them from leading out of the nodes folder.
var nodeName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

func (d *Driver) nodeDir(name string) string { return d.path("nodes", name) }

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
		// The machine went down before the record was on its disk: the node ended with it.
		return record{}, fmt.Errorf("read record of %s: damaged: %w", name, os.ErrNotExist)
	}
	if r.Schema > recordSchema {
		return record{}, fault.New(fault.Unsupported, "read record of %s: schema %d is newer than this program", name, r.Schema).
			WithHint("run the agent of the version that made the node")
	}
	return r, nil
}

// ours reads the record of a node if it belongs to this installation and fleet; ok is false when it does not, or is
// not there.
func (d *Driver) ours(id fleet.NodeID) (r record, ok bool, err error) {
	r, err = d.readRecord(id.Node)
	if errors.Is(err, os.ErrNotExist) {
		return record{}, false, nil
	}
	return r, err == nil && r.Installation == d.opts.Installation && r.ID.Fleet == id.Fleet, err
}

// writeRecord replaces a record. That of a job must survive the machine; others only this process, which a rename does.
func (d *Driver) writeRecord(r record) error {
	r.Schema = recordSchema
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	path := filepath.Join(d.nodeDir(r.ID.Node), "record.json")
	if r.Kind == fleet.Once {
		return atomicfile.Write(path, data, 0o600)
	}
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return fmt.Errorf("write record of %s: %w", r.ID.Node, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write record of %s: %w", r.ID.Node, err)
	}
	return nil
}

// Installations lists the installations whose nodes are in a driver's folder, sorted; none when there is no such folder.
func Installations(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "nodes"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	var ids []string
	for _, e := range entries {
		var r record
		data, err := os.ReadFile(filepath.Join(dir, "nodes", e.Name(), "record.json"))
		if err == nil && json.Unmarshal(data, &r) == nil && r.Installation != "" && !slices.Contains(ids, r.Installation) {
			ids = append(ids, r.Installation)
		}
	}
	slices.Sort(ids)
	return ids, nil
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
			nodes = append(nodes, d.view(ctx, r))
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
func (d *Driver) view(ctx context.Context, r record) fleet.Node {
	n := fleet.Node{ID: r.ID, Slot: r.Slot, Host: d.host, Address: r.Address, Image: r.Image, Since: r.Since,
		Presence: fleet.Gone}
	if exit, err := sandbox.ReadExit(d.nodeDir(r.ID.Node)); err == nil {
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
	if exit, err := sandbox.ReadExit(d.nodeDir(r.ID.Node)); err == nil {
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
