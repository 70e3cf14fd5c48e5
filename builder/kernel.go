package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/bootandshoot/release/builder/disk"
	"github.com/bootandshoot/release/debian/deb"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/payload"
	"github.com/bootandshoot/release/recipes"
)

// kernelParts are what a machine boots with, as blobs of the store.
type kernelParts struct {
	Schema  int               `json:"schema"`
	Release string            `json:"release"`
	Kernel  images.Descriptor `json:"kernel"`
	Initrd  images.Descriptor `json:"initrd"`
	Stub    images.Descriptor `json:"stub"`
}

// powerModules let a machine hear its power button.
var powerModules = []string{"button", "evdev"}

// maxStub bounds systemd's stub, in bytes.
const maxStub = 4 << 20

// kernel finds or makes the kernel, the initrd and the stub out of the pinned packages.
func (b *bake) kernel(ctx context.Context) (kernelParts, bool, error) {
	modules := slices.Concat(disk.BootModules(), powerModules)
	if m := b.recipe.Machine; m != nil {
		modules = append(modules, m.Modules...)
	}
	init, err := payload.Key(payload.BootInit, machineArch)
	if err != nil {
		return kernelParts{}, false, err
	}
	var sums []string
	for _, p := range b.lock.Machine.Packages {
		sums = append(sums, p.SHA256)
	}
	record := b.cache.spread("kernels", keyOf("kernel", sums, modules, init))
	var parts kernelParts
	if !b.o.NoCache && b.cache.load(record, &parts) && parts.Schema == cacheSchema && b.has(parts.Kernel, parts.Initrd, parts.Stub) {
		return parts, true, nil
	}
	if parts, err = b.unpackKernel(ctx, modules); err != nil {
		return parts, false, err
	}
	return parts, false, b.cache.save(record, parts)
}

func (b *bake) has(list ...images.Descriptor) bool {
	return !slices.ContainsFunc(list, func(d images.Descriptor) bool { return !b.store.Has(d.Digest) })
}

// unpackKernel reads the pinned packages.
func (b *bake) unpackKernel(ctx context.Context, modules []string) (parts kernelParts, err error) {
	paths, err := b.machinePackages(ctx)
	if err != nil {
		return parts, err
	}
	var k disk.Kernel
	var stub []byte
	for i, p := range b.lock.Machine.Packages {
		err := openPackage(paths[i], func(d *deb.Package) (err error) {
			if p.Name == stubPackage {
				stub, err = readStub(ctx, d)
				return err
			}
			k, err = disk.ReadKernel(ctx, d, modules)
			return err
		})
		if err != nil {
			return parts, fmt.Errorf("package %s %s: %w", p.Name, p.Version, err)
		}
	}
	if k.Image == nil || stub == nil {
		return parts, fault.New(fault.Invalid, "the lockfile pins no kernel, or no %s", stubPackage).WithHint("make the pins anew: release lock --update")
	}
	initrd, err := disk.MakeInitrd(k, machineArch)
	if err != nil {
		return parts, err
	}
	parts = kernelParts{Schema: cacheSchema, Release: k.Release}
	for _, w := range []struct {
		to   *images.Descriptor
		data []byte
	}{{&parts.Kernel, k.Image}, {&parts.Initrd, initrd}, {&parts.Stub, stub}} {
		if *w.to, err = b.store.WriteBlob(ctx, bytes.NewReader(w.data)); err != nil {
			return parts, err
		}
	}
	return parts, nil
}

// machinePackages fetches what is pinned and gives the files, in the order of the pins.
func (b *bake) machinePackages(ctx context.Context) ([]string, error) {
	d := b.machineDebian()
	sources, err := suiteSources(d)
	if err != nil {
		return nil, err
	}
	client, err := b.archivesOf(d, machineStep)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return client.Fetch(ctx, downloads(b.lock.Machine.Packages, sources))
}

func openPackage(path string, use func(*deb.Package) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	p, err := deb.Open(f, info.Size(), deb.Limits{})
	if err != nil {
		return err
	}
	return use(p)
}

func readStub(ctx context.Context, p *deb.Package) (stub []byte, err error) {
	found := errors.New("found")
	err = p.Each(ctx, func(e deb.Entry, content io.Reader) error {
		if e.Type != deb.File || e.Path != stubFile {
			return nil
		}
		if e.Size > maxStub {
			return fault.New(fault.Failed, "%s has %d bytes", e.Path, e.Size)
		}
		if stub, err = io.ReadAll(content); err != nil {
			return err
		}
		return found
	})
	if err != nil && !errors.Is(err, found) {
		return nil, err
	}
	if stub == nil {
		return nil, fault.New(fault.Invalid, "it has no %s", stubFile)
	}
	return stub, nil
}

// machineInputs are the packages of a machine that no layer has.
func machineInputs(l *recipes.LockedMachine) []images.MachineInput {
	var list []images.MachineInput
	for _, p := range l.Packages {
		list = append(list, images.MachineInput{Name: p.Name, Version: p.Version, Arch: p.Arch, SHA256: p.SHA256})
	}
	return list
}
