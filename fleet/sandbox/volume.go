package sandbox

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
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/removal"
	"github.com/bootandshoot/release/sandbox"
)

// Volumes are folders beside those of nodes:
//
//	DIR/volumes/APP.ENV.ROLE.NAME/volume.json   whose it is (type volumeRecord)
//	DIR/volumes/APP.ENV.ROLE.NAME/data          what nodes have mounted
//
// Which node has which volume is in the records of nodes.

// volumeRecord says whose a volume is.
type volumeRecord struct {
	Schema       int            `json:"schema"`
	ID           fleet.VolumeID `json:"id"`
	Installation string         `json:"installation"`
}

const volumeSchema = 1

// volumePart is the form of a part of a volume's name: none has a dot or leads out of the folder.
var volumePart = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

func (d *Driver) volumeDir(id fleet.VolumeID) (string, error) {
	parts := []string{id.App, id.Env, id.Role, id.Name}
	for _, p := range parts {
		if !volumePart.MatchString(p) {
			return "", fault.New(fault.Invalid, "volume %q: %q is not lower-case letters, digits and hyphens", id, p)
		}
	}
	return d.path("volumes", strings.Join(parts, ".")), nil
}

// giveVolumes makes the volumes of a node that is about to boot, and says where they are. The lock on volumes is held until
// the node's record names them, so that no two nodes find one free.
func (b *booter) giveVolumes(ctx context.Context, r record, root string) ([]sandbox.Mount, error) {
	var mounts []sandbox.Mount
	for _, v := range r.Volumes {
		if err := b.mayHave(ctx, r, v); err != nil {
			return nil, err
		}
		dir, err := b.makeVolume(v, root)
		if err != nil {
			return nil, fmt.Errorf("make volume %s: %w", v.Volume, err)
		}
		mounts = append(mounts, sandbox.Mount{Source: filepath.Join(dir, "data"), Target: v.Path})
	}
	return mounts, nil
}

// mayHave refuses a volume that a running node has, if one of the two wants to be its only writer.
func (d *Driver) mayHave(ctx context.Context, r record, v fleet.VolumeMount) error {
	holders, err := d.holders(v.Volume)
	if err != nil {
		return err
	}
	for _, other := range holders {
		i := slices.IndexFunc(other.Volumes, func(o fleet.VolumeMount) bool { return o.Volume == v.Volume })
		if other.ID.Node == r.ID.Node || !v.OneWriter && !other.Volumes[i].OneWriter {
			continue
		}
		if !d.over(ctx, other) {
			return fault.New(fault.Busy, "volume %s: node %s has it, and it is for one at a time", v.Volume, other.ID.Node).
				WithHint("release status shows what the node does")
		}
	}
	return nil
}

// over says whether nothing of a node runs any more. One whose end is written is waited for: the kernel takes a moment.
func (d *Driver) over(ctx context.Context, r record) bool {
	if r.PID == 0 {
		return false // it is about to start
	}
	l, err := d.liveOf(r)
	if err != nil {
		return errors.Is(err, sandbox.ErrGone)
	}
	if _, err := sandbox.ReadExit(d.nodes.Dir(r.ID.Node)); err != nil {
		return false
	}
	select {
	case <-l.process.Done():
		return true
	case <-time.After(killPatience):
	case <-ctx.Done():
	}
	return false
}

// holders are the records of nodes that have a volume.
func (d *Driver) holders(id fleet.VolumeID) ([]record, error) {
	records, err := d.nodes.All()
	return slices.DeleteFunc(records, func(r record) bool {
		return !slices.ContainsFunc(r.Volumes, func(v fleet.VolumeMount) bool { return v.Volume == id })
	}), err
}

// makeVolume makes the folder of a volume that is not there yet, with what the image has at its path.
func (d *Driver) makeVolume(v fleet.VolumeMount, root string) (string, error) {
	dir, err := d.volumeDir(v.Volume)
	if err != nil {
		return "", err
	}
	switch rec, err := readVolume(dir); {
	case err == nil && rec.Installation != d.opts.Installation:
		return "", fault.New(fault.Exists, "it belongs to another installation, %s", rec.Installation)
	case err == nil:
		return dir, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	if _, err := os.Lstat(dir); err == nil {
		return "", fault.New(fault.Exists, "%s is there without volume.json, so nobody knows whose data it has", dir).
			WithHint("put volume.json back, or move the folder away: nothing of it is removed")
	}
	return dir, d.newVolume(v, root, dir)
}

// newVolume makes a volume aside, and gives it its name once it is whole: whatever has the name is somebody's data.
func (d *Driver) newVolume(v fleet.VolumeMount, root, dir string) error {
	bin, err := d.nodes.Aside("volume")
	if err != nil {
		return err
	}
	defer func() { _ = removal.Tree(bin) }() // else the next start does
	data := filepath.Join(bin, "volume", "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return err
	}
	if err := seed(root, v.Path, data); err != nil {
		return err
	}
	if err := syncTree(data); err != nil {
		return err
	}
	text, err := json.Marshal(volumeRecord{Schema: volumeSchema, ID: v.Volume, Installation: d.opts.Installation})
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(bin, "volume", "volume.json"), text, 0o600); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(bin, "volume"), dir); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(dir))
}

// syncTree makes all that was written below a folder durable, whatever else its file system has to write.
func syncTree(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
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

// Volumes implements fleet.VolumeKeeper.
func (d *Driver) Volumes(ctx context.Context) ([]fleet.Volume, error) {
	dirs, err := filepath.Glob(d.path("volumes", "*"))
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
		if rec.Installation != d.opts.Installation {
			continue
		}
		v := fleet.Volume{ID: rec.ID, Where: filepath.Join(dir, "data")}
		holders, err := d.holders(rec.ID)
		if err != nil {
			return nil, fmt.Errorf("list volumes: %w", err)
		}
		for _, r := range holders {
			v.Nodes = append(v.Nodes, r.ID.Node)
		}
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b fleet.Volume) int { return cmp.Compare(a.ID.String(), b.ID.String()) })
	return list, ctx.Err()
}

// RemoveVolume implements fleet.VolumeKeeper.
func (d *Driver) RemoveVolume(_ context.Context, id fleet.VolumeID) error {
	if err := d.removeVolume(id); err != nil {
		return fmt.Errorf("remove volume %s: %w", id, err)
	}
	return nil
}

func (d *Driver) removeVolume(id fleet.VolumeID) error {
	d.volumes.Lock()
	defer d.volumes.Unlock()
	dir, err := d.volumeDir(id)
	if err != nil {
		return err
	}
	rec, err := readVolume(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && rec.Installation != d.opts.Installation {
		return nil
	}
	if err != nil {
		return err
	}
	holders, err := d.holders(id)
	if err != nil {
		return err
	}
	if len(holders) > 0 {
		return fault.New(fault.Busy, "node %s has it", holders[0].ID.Node)
	}
	bin, err := d.nodes.Aside("volume")
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
