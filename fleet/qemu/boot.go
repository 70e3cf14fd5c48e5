package qemu

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/local"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/failpoint"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/instance"
	"github.com/bootandshoot/release/internal/machinechannel"
	"github.com/bootandshoot/release/internal/removal"
	"github.com/bootandshoot/release/machine"
)

// Prepare looks whether the image is a machine, and here whole: its root is checked by the machine itself, block by block, but what
// checks it is not. Of the image only the kernel is unpacked.
func (d *Driver) Prepare(ctx context.Context, spec fleet.Spec) error {
	m, err := d.load(spec)
	if err != nil {
		return fmt.Errorf("prepare image %s: %w", spec.Image, err)
	}
	if err := d.check(ctx, images.Digest(spec.Image)); err != nil {
		return fmt.Errorf("prepare image %s: %w", spec.Image, err)
	}
	d.kernel(m)
	return nil
}

// kernel is the file that a machine boots: the kernel unpacked where QEMU can enter it so, else as the image has it. On KVM unpacking takes
// the machine no time, and only a kernel that unpacks itself chooses a random place in memory (KASLR).
func (d *Driver) kernel(m images.Machine) string {
	image := d.blob(m.Kernel)
	if d.accelerator == machine.KVM {
		return image
	}
	plain, err := machine.PlainKernel(image, d.kernels())
	switch {
	case fault.Is(err, fault.Unsupported):
		d.opts.Log.Debug("the kernel unpacks itself", "reason", err)
	case err != nil:
		d.opts.Log.Warn("the kernel unpacks itself", "error", err)
	default:
		return plain
	}
	return image
}

func (d *Driver) kernels() string { return filepath.Join(d.opts.Dir, "kernels") }

func (d *Driver) blob(b images.Descriptor) string {
	return d.opts.Images.BlobPath(images.Digest(b.Digest))
}

// sweepKernels removes what an agent before this one unpacked: what boots is unpacked from what was checked. QEMU reads it only when it starts.
func (d *Driver) sweepKernels() {
	if err := removal.Tree(d.kernels()); err != nil {
		d.opts.Log.Warn("cannot remove unpacked kernels", "error", err)
	}
}

// check reads a machine whole, once for each image.
func (d *Driver) check(ctx context.Context, image images.Digest) error {
	d.mu.Lock()
	known := d.checked[image]
	d.mu.Unlock()
	if known {
		return nil
	}
	if _, err := d.opts.Images.CheckMachine(ctx, image); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.checked[image] = true
	return nil
}

func (d *Driver) load(spec fleet.Spec) (images.Machine, error) {
	m, err := d.opts.Images.Machine(images.Digest(spec.Image))
	if fault.Is(err, fault.Unsupported) {
		return m, fmt.Errorf("%w: %w", fleet.ErrImageLacksTarget, err)
	}
	if err != nil {
		return m, err
	}
	return m, comesUp(m)
}

// comesUp refuses what would wait for ever.
func comesUp(m images.Machine) error {
	if len(m.Volumes) == 0 {
		return nil
	}
	return fault.New(fault.Unsupported, "its machine waits for the disk %s, which nodes that are machines of this machine do not have", m.Volumes[0]).
		WithHint("bake an image without machine.volumes for fleet.driver qemu, and give the fleet volumes; or run this one where its disk is")
}

// Ensure boots the nodes that do not exist yet, several at a time.
func (d *Driver) Ensure(ctx context.Context, spec fleet.Spec) ([]fleet.Node, error) {
	shared := sync.OnceValues(func() (images.Machine, error) { return d.load(spec) })
	return local.Ensure(spec, d.opts.Boots, func(want fleet.NodeSpec) (fleet.Node, error) { return d.ensure(ctx, spec, want, shared) })
}

func (d *Driver) ensure(ctx context.Context, spec fleet.Spec, want fleet.NodeSpec, shared func() (images.Machine, error)) (fleet.Node, error) {
	unlock, err := d.names.Lock(ctx, want.Name)
	if err != nil {
		return fleet.Node{}, err
	}
	defer unlock()
	id := fleet.NodeID{Fleet: spec.Fleet, Node: want.Name}
	r, ok, err := d.nodes.Wanted(id)
	if ok && r.State == local.Booting && r.Kind == fleet.Once { // an earlier try was cut off
		if err := d.settleJob(ctx, r); err != nil {
			return fleet.Node{}, err
		}
		r, ok, err = d.nodes.Wanted(id)
	}
	if err != nil {
		return fleet.Node{}, err
	}
	if ok && r.State == local.Started {
		return d.view(r), nil
	}
	if err := ctx.Err(); err != nil {
		return fleet.Node{}, err
	}
	m, err := shared()
	if err != nil {
		return fleet.Node{}, err
	}
	if r, err = d.bootNode(ctx, spec, want, m); err != nil {
		return fleet.Node{}, errors.Join(local.Explain(err, d.opts.Dir), d.clear(context.WithoutCancel(ctx), r))
	}
	d.watch.Send(r.ID.Fleet)
	return d.view(r), nil
}

// bootNode starts a node. Whatever it returns an error for is to be cleared.
func (d *Driver) bootNode(ctx context.Context, spec fleet.Spec, want fleet.NodeSpec, m images.Machine) (record, error) {
	r := record{Record: local.NewRecord(d.opts.Installation, spec, want, d.opts.Now()), Volumes: spec.Volumes}
	port, address, err := d.opts.Ports.Place(r.Slot, spec.Port)
	if err != nil {
		return r, err
	}
	var forwards []machine.Forward
	if r.Address = address; port != 0 {
		forwards = []machine.Forward{{Host: port, Guest: spec.Port}}
	}
	settings, err := d.settings(spec, want.Name).Encode()
	if err != nil {
		return r, err
	}
	volumes, words, err := d.makeRoom(ctx, r)
	if err != nil {
		return r, err
	}
	failpoint.Pass(failpoint.NodeRecorded)
	if _, err := machine.Clear(ctx, d.machineDir(want.Name)); err != nil { // of an earlier try
		return r, err
	}
	_, err = machine.Start(ctx, machine.Spec{
		Dir: d.machineDir(want.Name), Accelerator: d.accelerator,
		CPUs: max(1, int(math.Ceil(spec.Resources.CPUs))), Memory: memory(spec.Resources.Memory),
		Kernel:   &machine.Kernel{Image: d.kernel(m), Initrd: d.blob(m.Initrd), Cmdline: m.Cmdline + words},
		Disks:    append([]machine.Disk{{Path: d.blob(m.Disk.Descriptor), Format: machine.Format(m.Disk.Format), ReadOnly: true}}, volumes...),
		Forwards: forwards,
		Settings: []machine.Setting{{Name: instance.SettingName, Data: settings}},
		Ports: []machine.Port{{Name: machinechannel.LogPort, File: logFile}, {Name: machinechannel.ExitPort, File: exitFile},
			{Name: machinechannel.ControlPort, File: controlFile, Socket: true}},
	})
	if err != nil {
		return r, err
	}
	failpoint.Pass(failpoint.NodeStarted)
	r.State = local.Started
	if err := d.nodes.Write(r, true); err != nil {
		return r, err
	}
	_, err = d.liveOf(r) // which a list of nodes may have found first
	return r, err
}

// makeFolder makes a node's folder, with the record first: from then on a crash leaves something that is found.
func (d *Driver) makeFolder(r record) error {
	if err := os.Mkdir(d.nodes.Dir(r.ID.Node), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make node folder: %w", err)
	}
	return d.nodes.Write(r, true)
}

// memory is what a machine gets, whole MiB.
func memory(limit int64) int64 {
	if limit == 0 {
		return defaultMemory
	}
	const mebibyte = 1 << 20
	return (limit + mebibyte - 1) / mebibyte * mebibyte
}

// settings are what the machine is told.
func (d *Driver) settings(spec fleet.Spec, name string) instance.Settings {
	env := map[string]string{}
	maps.Copy(env, spec.Env)
	maps.Copy(env, spec.Secrets)
	if spec.Port != 0 {
		env["PORT"] = strconv.Itoa(spec.Port)
	}
	return instance.Settings{Hostname: name, Environment: env, Command: spec.Command}
}
