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
	"strings"
	"sync"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/removal"
)

// Volumes are folders beside those of nodes:
//
//	DIR/volumes/APP.ENV.ROLE.NAME/volume.json   whose it is (type volumeRecord)
//	DIR/volumes/APP.ENV.ROLE.NAME/CONTENT       what nodes have mounted, or attached
//
// Which node has which volume is in the records of nodes.
type Volumes[R Mounter] struct {
	Nodes   Nodes[R]
	Content string                        // name of what nodes have, in a volume's folder
	Over    func(context.Context, R) bool // says whether nothing of a node runs any more

	// Mutex is held from when a node's volumes are found free until its record names them, so that no two nodes find one free.
	sync.Mutex
}

// Mounter is a record that says which volumes its node has.
type Mounter interface {
	Common() Record
	Mounts() []fleet.VolumeMount
}

// volumeRecord says whose a volume is.
type volumeRecord struct {
	Schema       int            `json:"schema"`
	ID           fleet.VolumeID `json:"id"`
	Installation string         `json:"installation"`
}

const volumeSchema = 1

// volumePart is the form of a part of a volume's name: none has a dot or leads out of the folder.
var volumePart = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

func (v *Volumes[R]) dir(id fleet.VolumeID) (string, error) {
	parts := []string{id.App, id.Env, id.Role, id.Name}
	for _, p := range parts {
		if !volumePart.MatchString(p) {
			return "", fault.New(fault.Invalid, "volume %q: %q is not lower-case letters, digits and hyphens", id, p)
		}
	}
	return filepath.Join(v.Nodes.Root, "volumes", strings.Join(parts, ".")), nil
}

// MayHave refuses a volume that a running node has, if one of the two wants to be its only writer: fault.Busy. The lock is held.
func (v *Volumes[R]) MayHave(ctx context.Context, r R, m fleet.VolumeMount) error {
	holders, err := v.holders(m.Volume)
	if err != nil {
		return err
	}
	for _, other := range holders {
		i := slices.IndexFunc(other.Mounts(), func(o fleet.VolumeMount) bool { return o.Volume == m.Volume })
		name := other.Common().ID.Node
		if name == r.Common().ID.Node || !m.OneWriter && !other.Mounts()[i].OneWriter {
			continue
		}
		if !v.Over(ctx, other) {
			return fault.New(fault.Busy, "volume %s: node %s has it, and it is for one at a time", m.Volume, name).
				WithHint("release status shows what the node does")
		}
	}
	return nil
}

// holders are the records of nodes that have a volume.
func (v *Volumes[R]) holders(id fleet.VolumeID) ([]R, error) {
	records, err := v.Nodes.All()
	return slices.DeleteFunc(records, func(r R) bool {
		return !slices.ContainsFunc(r.Mounts(), func(m fleet.VolumeMount) bool { return m.Volume == id })
	}), err
}

// Make gives the content of a volume; one that is not there yet is filled. The lock is held.
func (v *Volumes[R]) Make(id fleet.VolumeID, fill func(content string) error) (string, error) {
	dir, err := v.dir(id)
	if err != nil {
		return "", err
	}
	content := filepath.Join(dir, v.Content)
	switch rec, err := readVolume(dir); {
	case err == nil && rec.Installation != v.Nodes.Installation:
		return "", fault.New(fault.Exists, "it belongs to another installation, %s", rec.Installation)
	case err == nil:
		return content, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	if _, err := os.Lstat(dir); err == nil {
		return "", fault.New(fault.Exists, "%s is there without volume.json, so nobody knows whose data it has", dir).
			WithHint("put volume.json back, or move the folder away: nothing of it is removed")
	}
	return content, v.create(id, dir, fill)
}

// create makes a volume aside, and gives it its name once it is whole: whatever has the name is somebody's data.
func (v *Volumes[R]) create(id fleet.VolumeID, dir string, fill func(content string) error) error {
	bin, err := v.Nodes.Aside("volume")
	if err != nil {
		return err
	}
	defer func() { _ = removal.Tree(bin) }() // else the next start does
	made := filepath.Join(bin, "volume")
	if err := os.Mkdir(made, 0o755); err != nil {
		return err
	}
	if err := fill(filepath.Join(made, v.Content)); err != nil {
		return err
	}
	text, err := json.Marshal(volumeRecord{Schema: volumeSchema, ID: id, Installation: v.Nodes.Installation})
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(made, "volume.json"), text, 0o600); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Rename(made, dir); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(dir))
}

// readVolume reads a volume's record; fs.ErrNotExist when there is none.
func readVolume(dir string) (volumeRecord, error) {
	var rec volumeRecord
	text, err := os.ReadFile(filepath.Join(dir, "volume.json"))
	if err != nil {
		return rec, err
	}
	if err := json.Unmarshal(text, &rec); err != nil {
		return rec, fmt.Errorf("read %s: %w", dir, err)
	}
	if rec.Schema > volumeSchema {
		return rec, fault.New(fault.Unsupported, "read %s: schema %d is newer than this program", dir, rec.Schema).
			WithHint("run the agent of the version that made the volume")
	}
	return rec, nil
}

// List is fleet.VolumeKeeper's Volumes.
func (v *Volumes[R]) List(ctx context.Context) ([]fleet.Volume, error) {
	dirs, err := filepath.Glob(filepath.Join(v.Nodes.Root, "volumes", "*"))
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	var list []fleet.Volume
	for _, dir := range dirs {
		rec, err := readVolume(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list volumes: %w", err)
		}
		if rec.Installation != v.Nodes.Installation {
			continue
		}
		kept := fleet.Volume{ID: rec.ID, Where: filepath.Join(dir, v.Content)}
		holders, err := v.holders(rec.ID)
		if err != nil {
			return nil, fmt.Errorf("list volumes: %w", err)
		}
		for _, r := range holders {
			kept.Nodes = append(kept.Nodes, r.Common().ID.Node)
		}
		list = append(list, kept)
	}
	slices.SortFunc(list, func(a, b fleet.Volume) int { return cmp.Compare(a.ID.String(), b.ID.String()) })
	return list, ctx.Err()
}

// Remove is fleet.VolumeKeeper's RemoveVolume.
func (v *Volumes[R]) Remove(id fleet.VolumeID) error {
	if err := v.remove(id); err != nil {
		return fmt.Errorf("remove volume %s: %w", id, err)
	}
	return nil
}

func (v *Volumes[R]) remove(id fleet.VolumeID) error {
	v.Lock()
	defer v.Unlock()
	dir, err := v.dir(id)
	if err != nil {
		return err
	}
	rec, err := readVolume(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && rec.Installation != v.Nodes.Installation {
		return nil
	}
	if err != nil {
		return err
	}
	holders, err := v.holders(id)
	if err != nil {
		return err
	}
	if len(holders) > 0 {
		return fault.New(fault.Busy, "node %s has it", holders[0].Common().ID.Node)
	}
	bin, err := v.Nodes.Aside("volume")
	if err != nil {
		return err
	}
	if err := os.Rename(dir, filepath.Join(bin, "volume")); err != nil {
		return err
	}
	if err := atomicfile.SyncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	return removal.Tree(bin)
}
