package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/bootandshoot/release/builder/disk"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/payload"
)

// Machine says how a machine is made of an image.
type Machine struct {
	Format   string // of the disk: images.DiskRaw, which "" is, or images.DiskQCOW2
	Compress bool   // the clusters of a qcow2
}

const (
	machineArch   = "amd64"
	machineStep   = "machine"
	machineFormat = 2 // of what is made from the same inputs; another one makes every disk anew
)

func (m Machine) format() string {
	if m.Format == "" {
		return images.DiskRaw
	}
	return m.Format
}

// check refuses what no disk can be.
func (m Machine) check() error {
	switch {
	case m.format() != images.DiskRaw && m.format() != images.DiskQCOW2:
		return fault.New(fault.Invalid, "make a machine: the format %q is none of raw, qcow2", m.Format)
	case m.Compress && m.format() == images.DiskRaw:
		return fault.New(fault.Invalid, "make a machine: a raw disk is never compressed").WithHint("--format qcow2 --compress")
	}
	return nil
}

// target is what the image is made for, as its provenance says it.
func (b *bake) target() string {
	if b.o.Machine == nil {
		return "container"
	}
	return "container,machine"
}

// machine makes the disk of the image and has the image commit to it.
func (b *bake) machine(ctx context.Context, m *made) error {
	p := b.begin(machineStep)
	if b.platform.Architecture != machineArch {
		return b.inMachine(fault.New(fault.Unsupported, "the image is for %s; machines are made for %s", b.platform.Architecture, machineArch).
			WithHint("--platform linux/%s", machineArch))
	}
	made, cached, err := b.findMachine(ctx, m)
	if err != nil {
		return b.inMachine(err)
	}
	if m.image, err = b.store.WriteMachine(ctx, m.image, made); err != nil {
		return err
	}
	m.machine = &made
	p.end(&m.result, StepResult{Cached: cached, Bytes: made.Disk.Size})
	return nil
}

// findMachine finds or makes it.
func (b *bake) findMachine(ctx context.Context, m *made) (images.Machine, bool, error) {
	parts, _, err := b.kernel(ctx)
	if err != nil {
		return images.Machine{}, false, err
	}
	root, err := b.machineRoot(ctx, m)
	if err != nil {
		return images.Machine{}, false, err
	}
	init, err := payload.Key(payload.BootInit, machineArch)
	if err != nil {
		return images.Machine{}, false, err
	}
	want := images.Machine{Schema: 1, Release: parts.Release, Arch: machineArch, Init: root.init, Packages: machineInputs(b.lock.Machine),
		Kernel: parts.Kernel, Initrd: parts.Initrd, Disk: images.MachineDisk{Format: b.o.Machine.format()}}
	for _, v := range b.volumes() {
		want.Volumes = append(want.Volumes, v.Label)
	}
	record := b.cache.spread("machines", keyOf(machineFormat, want, parts.Stub, root.chain(), b.volumes(), root.cmdline, b.epoch, init, b.o.Machine.Compress))
	var have images.Machine
	if !b.o.NoCache && b.cache.load(record, &have) && have.Schema == want.Schema && b.has(have.Kernel, have.Initrd, have.Disk.Descriptor) {
		return have, true, nil
	}
	if err := b.makeDisk(ctx, root, parts, &want); err != nil {
		return want, false, err
	}
	return want, false, b.cache.save(record, want)
}

func (b *bake) volumes() []disk.Volume {
	var list []disk.Volume
	if m := b.recipe.Machine; m != nil {
		for _, v := range m.Volumes {
			list = append(list, disk.Volume{Label: v.Label, Path: v.Path})
		}
	}
	return list
}

// makeDisk writes the disk into the store.
func (b *bake) makeDisk(ctx context.Context, root machineRoot, parts kernelParts, to *images.Machine) error {
	r := disk.Request{Own: 1, Data: b.volumes(), Cmdline: root.cmdline, Epoch: b.epoch}
	var err error
	if r.Files, err = b.store.FilesOf(ctx, root.image); err != nil {
		return err
	}
	r.Kernel.Release = parts.Release
	for _, in := range []struct {
		to   *[]byte
		from images.Descriptor
	}{{&r.Kernel.Image, parts.Kernel}, {&r.Initrd, parts.Initrd}, {&r.Stub, parts.Stub}} {
		if *in.to, err = os.ReadFile(b.store.BlobPath(in.from.Digest)); err != nil {
			return err
		}
	}
	var res disk.Result
	build := func(f *os.File) (err error) {
		res, err = disk.Build(ctx, f, r)
		return err
	}
	if to.Disk.Format == images.DiskQCOW2 {
		to.Disk.Descriptor, err = b.makeQCOW2(ctx, build)
	} else {
		to.Disk.Descriptor, err = b.store.MakeBlob(ctx, build)
	}
	to.Disk.Capacity, to.RootHash, to.Cmdline = res.Size, res.RootHash, res.Cmdline
	return err
}

// makeQCOW2 makes the raw disk aside.
func (b *bake) makeQCOW2(ctx context.Context, build func(*os.File) error) (d images.Descriptor, err error) {
	w, err := b.workspace()
	if err != nil {
		return d, err
	}
	dir, err := w.dir("disk-")
	if err != nil {
		return d, err
	}
	raw, err := os.Create(filepath.Join(dir, "disk.raw"))
	if err != nil {
		return d, fmt.Errorf("make the disk: %w", err)
	}
	defer func() { err = errors.Join(err, raw.Close(), os.Remove(raw.Name())) }()
	if err := build(raw); err != nil {
		return d, err
	}
	return b.store.MakeBlob(ctx, func(f *os.File) error {
		return disk.WriteQCOW2(ctx, f, raw, disk.QCOW2{Compress: b.o.Machine.Compress})
	})
}

// commandWord is a word of the kernel's command line for a program in the image.
func commandWord(name, program string) string {
	return name + "=" + path.Clean("/"+strings.TrimPrefix(program, "/"))
}
