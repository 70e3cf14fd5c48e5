package local

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
)

// Nodes are the nodes of a driver, whose records are R: a struct with a Record in it.
type Nodes[R interface{ Common() Record }] struct {
	Root         string // folder of the driver
	Installation string // other installations' nodes are left alone
}

// nodeName is the form of names that the caller mints; it keeps them from leading out of the nodes folder.
var nodeName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// Make makes the folders that are not there yet.
func (n Nodes[R]) Make() error {
	for _, dir := range []string{n.Dir(""), n.trash("")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
	}
	return nil
}

// Dir is the folder of a node.
func (n Nodes[R]) Dir(node string) string { return filepath.Join(n.Root, "nodes", node) }

func recordFile(dir string) string { return filepath.Join(dir, "record.json") }

// Read reads a node's record; fs.ErrNotExist when there is none, or none whole.
func (n Nodes[R]) Read(node string) (r R, err error) {
	if !nodeName.MatchString(node) {
		return r, fmt.Errorf("node name %q: %w", node, fs.ErrNotExist)
	}
	data, err := os.ReadFile(recordFile(n.Dir(node)))
	if err != nil {
		return r, fmt.Errorf("read record of %s: %w", node, err)
	}
	if err := json.Unmarshal(data, &r); err != nil || r.Common().ID.Node != node {
		// The machine went down before the record was on its disk: the node ended with it.
		return r, fmt.Errorf("read record of %s: damaged: %w", node, fs.ErrNotExist)
	}
	if schema := r.Common().Schema; schema > recordSchema {
		return r, fault.New(fault.Unsupported, "read record of %s: schema %d is newer than this program", node, schema).
			WithHint("run the agent of the version that made the node")
	}
	return r, nil
}

// Ours reads the record of a node if it belongs to this installation and fleet; ok is false when it does not, or is not there.
func (n Nodes[R]) Ours(id fleet.NodeID) (r R, ok bool, err error) {
	r, err = n.Read(id.Node)
	if errors.Is(err, fs.ErrNotExist) {
		return r, false, nil
	}
	return r, err == nil && r.Common().Installation == n.Installation && r.Common().ID.Fleet == id.Fleet, err
}

// Wanted reads the record of a node that is to be there; ok is false when it is not yet. A name that cannot be, or is another
// fleet's, is an error.
func (n Nodes[R]) Wanted(id fleet.NodeID) (r R, ok bool, err error) {
	if !nodeName.MatchString(id.Node) {
		return r, false, fault.New(fault.Invalid, "node name %q is not lower-case letters, digits and hyphens", id.Node)
	}
	r, err = n.Read(id.Node)
	if errors.Is(err, fs.ErrNotExist) {
		return r, false, nil
	}
	if is := r.Common(); err == nil && (is.Installation != n.Installation || is.ID.Fleet != id.Fleet) {
		err = fault.New(fault.Exists, "the name belongs to a node of %s", is.ID.Fleet)
	}
	return r, err == nil, err
}

// Write replaces a record, and the folder must be there. A durable one survives the machine, another one this process.
func (n Nodes[R]) Write(r R, durable bool) error {
	node := r.Common().ID.Node
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode record of %s: %w", node, err)
	}
	name := recordFile(n.Dir(node))
	if durable {
		return atomicfile.Write(name, data, 0o600)
	}
	if err := os.WriteFile(name+".new", data, 0o600); err != nil {
		return fmt.Errorf("write record of %s: %w", node, err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("write record of %s: %w", node, err)
	}
	return nil
}

// All are the records of this installation, by name.
func (n Nodes[R]) All() ([]R, error) {
	entries, err := os.ReadDir(n.Dir(""))
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	var list []R
	for _, e := range entries {
		r, err := n.Read(e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if r.Common().Installation == n.Installation {
			list = append(list, r)
		}
	}
	return list, nil
}

// Of are the records of a fleet, by name.
func (n Nodes[R]) Of(id fleet.FleetID) ([]R, error) {
	list, err := n.All()
	return slices.DeleteFunc(list, func(r R) bool { return r.Common().ID.Fleet != id }), err
}

// List is fleet.Driver's Nodes; view says how a started node is now.
func (n Nodes[R]) List(ctx context.Context, id fleet.FleetID, view func(context.Context, R) fleet.Node) ([]fleet.Node, error) {
	records, err := n.Of(id)
	if err != nil {
		return nil, err
	}
	var nodes []fleet.Node
	for _, r := range records {
		if r.Common().State == Started {
			nodes = append(nodes, view(ctx, r))
		}
	}
	return nodes, ctx.Err()
}

// Fleets is fleet.Driver's.
func (n Nodes[R]) Fleets(ctx context.Context) ([]fleet.Fleet, error) {
	records, err := n.All()
	if err != nil {
		return nil, err
	}
	counts := map[fleet.FleetID]int{}
	for _, r := range records {
		if r.Common().State == Started {
			counts[r.Common().ID.Fleet]++
		}
	}
	var fleets []fleet.Fleet
	for id, n := range counts {
		fleets = append(fleets, fleet.Fleet{ID: id, Nodes: n})
	}
	slices.SortFunc(fleets, func(a, b fleet.Fleet) int { return cmp.Compare(a.ID.String(), b.ID.String()) })
	return fleets, ctx.Err()
}

// Installations lists the installations whose nodes are in a driver's folder, sorted; none when there is no such folder.
func Installations(root string) ([]string, error) {
	all := Nodes[Record]{Root: root}
	entries, err := os.ReadDir(all.Dir(""))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	var ids []string
	for _, e := range entries {
		var r Record // of any schema
		data, err := os.ReadFile(recordFile(all.Dir(e.Name())))
		if err == nil && json.Unmarshal(data, &r) == nil && r.Installation != "" && !slices.Contains(ids, r.Installation) {
			ids = append(ids, r.Installation)
		}
	}
	slices.Sort(ids)
	return ids, nil
}
