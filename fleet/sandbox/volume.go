package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/local"
	"github.com/bootandshoot/release/internal/volumeseed"
	"github.com/bootandshoot/release/sandbox"
)

// Mounts are the volumes that a node has.
func (r record) Mounts() []fleet.VolumeMount { return r.Volumes }

// keeper keeps volumes as folders that nodes mount. [local.Volumes]
func (d *Driver) keeper(nodes local.Nodes[record]) *local.Volumes[record] {
	return &local.Volumes[record]{Nodes: nodes, Content: "data", Over: d.over}
}

// giveVolumes makes the volumes of a node that is about to boot, and says where they are. The lock on volumes is held.
func (b *booter) giveVolumes(ctx context.Context, r record, root string) ([]sandbox.Mount, error) {
	var mounts []sandbox.Mount
	for _, v := range r.Volumes {
		if err := b.volumes.MayHave(ctx, r, v); err != nil {
			return nil, err
		}
		data, err := b.makeVolume(v, root)
		if err != nil {
			return nil, fmt.Errorf("make volume %s: %w", v.Volume, err)
		}
		mounts = append(mounts, sandbox.Mount{Source: data, Target: v.Path})
	}
	return mounts, nil
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

// makeVolume makes the folder of a volume that is not there yet, with what the image has at its path.
func (d *Driver) makeVolume(v fleet.VolumeMount, root string) (string, error) {
	return d.volumes.Make(v.Volume, func(data string) error {
		if err := os.Mkdir(data, 0o755); err != nil {
			return err
		}
		if err := volumeseed.Fill(root, v.Path, data); err != nil {
			return err
		}
		return syncTree(data)
	})
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

// Volumes implements fleet.VolumeKeeper.
func (d *Driver) Volumes(ctx context.Context) ([]fleet.Volume, error) { return d.volumes.List(ctx) }

// RemoveVolume implements fleet.VolumeKeeper.
func (d *Driver) RemoveVolume(_ context.Context, id fleet.VolumeID) error {
	return d.volumes.Remove(id)
}
