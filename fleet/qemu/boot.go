package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"net"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/local"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/failpoint"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/instance"
	"github.com/bootandshoot/release/internal/machinechannel"
	"github.com/bootandshoot/release/machine"
)

// Prepare looks whether the image is a machine, and here whole: its root is checked by the machine itself, block by block, but what
// checks it is not. There is nothing to unpack.
func (d *Driver) Prepare(ctx context.Context, spec fleet.Spec) error {
	if _, err := d.load(spec); err != nil {
		return fmt.Errorf("prepare image %s: %w", spec.Image, err)
	}
	if err := d.check(ctx, images.Digest(spec.Image)); err != nil {
		return fmt.Errorf("prepare image %s: %w", spec.Image, err)
	}
	return nil
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
	return m, err
}

// Ensure boots the nodes that do not exist yet, several at a time.
func (d *Driver) Ensure(ctx context.Context, spec fleet.Spec) ([]fleet.Node, error) {
	nodes := make([]*fleet.Node, len(spec.Nodes))
	errs := make([]error, len(spec.Nodes))
	var group errgroup.Group
	group.SetLimit(d.opts.Boots)
	shared := sync.OnceValues(func() (images.Machine, error) { return d.load(spec) })
	for i, want := range spec.Nodes {
		group.Go(func() error {
			n, err := d.ensure(ctx, spec, want, shared)
			if err != nil {
				errs[i] = fmt.Errorf("boot node %s: %w", want.Name, err)
				return nil
			}
			nodes[i] = &n
			return nil
		})
	}
	_ = group.Wait()
	var booted []fleet.Node
	for _, n := range nodes {
		if n != nil {
			booted = append(booted, *n)
		}
	}
	return booted, errors.Join(errs...)
}

func (d *Driver) ensure(ctx context.Context, spec fleet.Spec, want fleet.NodeSpec, shared func() (images.Machine, error)) (fleet.Node, error) {
	if !nodeName.MatchString(want.Name) {
		return fleet.Node{}, fault.New(fault.Invalid, "node name %q is not lower-case letters, digits and hyphens", want.Name)
	}
	unlock, err := d.names.Lock(ctx, want.Name)
	if err != nil {
		return fleet.Node{}, err
	}
	defer unlock()
	switch r, err := d.readRecord(want.Name); {
	case err == nil && (r.Installation != d.opts.Installation || r.ID.Fleet != spec.Fleet):
		return fleet.Node{}, fault.New(fault.Exists, "the name belongs to a node of %s", r.ID.Fleet)
	case err == nil && r.State == stateStarted:
		return d.view(r), nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return fleet.Node{}, err
	case err == nil && r.Kind == fleet.Once: // an earlier try was cut off
		if err := d.settleJob(ctx, r); err != nil {
			return fleet.Node{}, err
		}
		if r, err = d.readRecord(want.Name); err == nil {
			return d.view(r), nil
		}
	}
	if err := ctx.Err(); err != nil {
		return fleet.Node{}, err
	}
	m, err := shared()
	if err != nil {
		return fleet.Node{}, err
	}
	r, err := d.bootNode(ctx, spec, want, m)
	if err != nil {
		return fleet.Node{}, errors.Join(d.explain(err), d.clear(context.WithoutCancel(ctx), r))
	}
	d.watch.Send(r.ID.Fleet)
	return d.view(r), nil
}

// explain adds the next step to what the disk refuses.
func (d *Driver) explain(err error) error {
	var known *fault.Error
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fault.New(fault.NoSpace, "%w", err).WithHint("free space or inodes: df -h %s; df -i %s", d.opts.Dir, d.opts.Dir)
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.Denied, "%w", err).WithHint("%s must belong to the user of the agent", d.opts.Dir)
	}
	return err
}

// bootNode starts a node. Whatever it returns an error for is to be cleared.
func (d *Driver) bootNode(ctx context.Context, spec fleet.Spec, want fleet.NodeSpec, m images.Machine) (record, error) {
	r := record{State: stateBooting, ID: fleet.NodeID{Fleet: spec.Fleet, Node: want.Name}, Installation: d.opts.Installation,
		Kind: spec.Kind, Image: spec.Image, Slot: want.Slot, StopSignal: spec.Stop.Signal, Since: d.opts.Now().UTC()}
	if len(spec.Volumes) > 0 {
		return r, fault.New(fault.Unsupported, "nodes that are machines of this machine have no volumes").
			WithHint("keep the state elsewhere, or use the fleet driver docker or sandbox")
	}
	forwards, err := d.place(&r, spec.Port)
	if err != nil {
		return r, err
	}
	settings, err := d.settings(spec, want.Name).Encode()
	if err != nil {
		return r, err
	}
	dir := d.nodeDir(want.Name)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return r, fmt.Errorf("make node folder: %w", err)
	}
	if err := d.writeRecord(r); err != nil {
		return r, err
	}
	failpoint.Pass(failpoint.NodeRecorded)
	if _, err := machine.Clear(ctx, d.machineDir(want.Name)); err != nil { // of an earlier try
		return r, err
	}
	blob := func(b images.Descriptor) string { return d.opts.Images.BlobPath(images.Digest(b.Digest)) }
	_, err = machine.Start(ctx, machine.Spec{
		Dir: d.machineDir(want.Name), Accelerator: d.accelerator,
		CPUs: max(1, int(math.Ceil(spec.Resources.CPUs))), Memory: memory(spec.Resources.Memory),
		Kernel:   &machine.Kernel{Image: blob(m.Kernel), Initrd: blob(m.Initrd), Cmdline: m.Cmdline},
		Disks:    []machine.Disk{{Path: blob(m.Disk.Descriptor), Format: machine.Format(m.Disk.Format), ReadOnly: true}},
		Forwards: forwards,
		Settings: []machine.Setting{{Name: instance.SettingName, Data: settings}},
		Ports: []machine.Port{{Name: machinechannel.LogPort, File: logFile}, {Name: machinechannel.ExitPort, File: exitFile},
			{Name: machinechannel.ControlPort, File: controlFile, Socket: true}},
	})
	if err != nil {
		return r, err
	}
	failpoint.Pass(failpoint.NodeStarted)
	r.State = stateStarted
	if err := d.writeRecord(r); err != nil {
		return r, err
	}
	_, err = d.liveOf(r) // which a list of nodes may have found first
	return r, err
}

// memory is what a machine gets, whole MiB.
func memory(limit int64) int64 {
	if limit == 0 {
		return defaultMemory
	}
	const mebibyte = 1 << 20
	return (limit + mebibyte - 1) / mebibyte * mebibyte
}

// place gives a node its address, and says what QEMU has to pass on for it.
func (d *Driver) place(r *record, declared int) ([]machine.Forward, error) {
	if r.Slot < 0 || r.Slot >= d.opts.PortCount || d.opts.PortBase+r.Slot > math.MaxUint16 {
		return nil, fault.New(fault.NoSpace, "slot %d is outside of the port range %d-%d", r.Slot, d.opts.PortBase, d.opts.PortBase+d.opts.PortCount-1).
			WithHint("give agent.yaml a larger range in `ports`")
	}
	if declared == 0 {
		return nil, nil
	}
	port := d.opts.PortBase + r.Slot
	if err := local.PortFree(port); err != nil {
		return nil, err
	}
	r.Address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return []machine.Forward{{Host: port, Guest: declared}}, nil
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
