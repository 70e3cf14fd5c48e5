package qemu

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/local"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/machine"
)

const (
	defaultVolume = 10 << 30 // bytes that a volume may hold
	volumeFile    = "disk"
)

// keeper keeps volumes as files with an ext4, each a disk of one machine at a time. [local.Volumes]
func (d *Driver) keeper(nodes local.Nodes[record]) *local.Volumes[record] {
	return &local.Volumes[record]{Nodes: nodes, Content: volumeFile, Over: d.over}
}

// over says whether nothing of a node runs any more.
func (d *Driver) over(_ context.Context, r record) bool {
	if r.State != local.Started {
		return false // it is about to start
	}
	_, err := d.liveOf(r)
	return errors.Is(err, errGone)
}

// giveVolumes makes the volumes of a node that is about to boot. It gives their disks, and the words by which the kernel's command line
// says where they belong. The lock on volumes is held.
func (d *Driver) giveVolumes(ctx context.Context, r record) (disks []machine.Disk, words string, err error) {
	for _, v := range r.Volumes {
		if !v.OneWriter {
			return nil, "", fault.New(fault.Unsupported, "volume %s: a machine has the disk of its volume alone", v.Volume).
				WithHint("give it writer: one, or use the fleet driver docker or sandbox")
		}
		if err := d.volumes.MayHave(ctx, r, v); err != nil {
			return nil, "", err
		}
		file, err := d.makeVolume(ctx, v)
		if err != nil {
			return nil, "", fmt.Errorf("make volume %s: %w", v.Volume, err)
		}
		disks = append(disks, machine.Disk{Path: file})
		words += " release.data=" + labelOf(v.Volume) + ":seed:" + v.Path
	}
	return disks, words, nil
}

// makeVolume makes the file of a volume that is not there yet, and has one that is there grow.
func (d *Driver) makeVolume(ctx context.Context, v fleet.VolumeMount) (string, error) {
	if strings.ContainsFunc(v.Path, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }) {
		return "", fault.New(fault.Invalid, "a kernel cannot be told the path %q: want visible ASCII without quotes", v.Path)
	}
	size := v.Size
	if size == 0 {
		size = defaultVolume
	}
	file, err := d.volumes.Make(v.Volume, func(file string) error { return machine.MakeVolume(ctx, file, labelOf(v.Volume), size) })
	if err != nil || v.Size == 0 {
		return file, err
	}
	return file, machine.GrowVolume(file, size)
}

// labelOf is the label by which a machine finds a volume: as long as one can be, the same for ever.
func labelOf(id fleet.VolumeID) string {
	sum := sha256.Sum256([]byte(id.String()))
	return "v-" + hex.EncodeToString(sum[:7])
}

// settlePatience is how long a machine may take to end by itself that has volumes. docs/machines.md says it.
const settlePatience = 30 * time.Second

// settle ends the services of a machine that has volumes at once, and lets the machine power off: what they wrote last is in its memory, and
// would be lost with it. One that has not ended after settlePatience is to be killed. An error is that of ctx: the machine is left as it is.
func (d *Driver) settle(ctx context.Context, r record) error {
	l, err := d.liveOf(r)
	if err != nil || len(r.Volumes) == 0 {
		return nil // nothing of it runs, or killing tells why that cannot be known
	}
	waiting, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	if err := d.ask(waiting, l, "KILL", answerPatience); err != nil { // it may be on its way to power off, where nobody listens any more
		d.opts.Log.Debug("kill signal did not arrive", "node", r.ID.Node, "error", err)
		if err := l.machine.PressPower(waiting); err != nil {
			d.opts.Log.Debug("power button was not pressed", "node", r.ID.Node, "error", err)
		}
	}
	select {
	case <-l.machine.Done():
		return nil
	case <-waiting.Done():
	}
	if ctx.Err() == nil {
		d.opts.Log.Warn("a machine does not power off, and what it wrote to its volumes last may be lost", "node", r.ID.Node)
	}
	return ctx.Err()
}

// makeRoom makes a node's folder with its record, and its volumes.
func (d *Driver) makeRoom(ctx context.Context, r record) (disks []machine.Disk, words string, err error) {
	if len(r.Volumes) > 0 {
		d.volumes.Lock()
		defer d.volumes.Unlock()
	}
	if disks, words, err = d.giveVolumes(ctx, r); err != nil {
		return nil, "", err
	}
	return disks, words, d.makeFolder(r)
}

// Volumes implements fleet.VolumeKeeper.
func (d *Driver) Volumes(ctx context.Context) ([]fleet.Volume, error) { return d.volumes.List(ctx) }

// RemoveVolume implements fleet.VolumeKeeper.
func (d *Driver) RemoveVolume(_ context.Context, id fleet.VolumeID) error {
	return d.volumes.Remove(id)
}
