package builder

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// stubPackage has systemd's stub for UEFI, stubFile in it.
const (
	stubPackage = "systemd-boot-efi"
	stubFile    = "usr/lib/systemd/boot/efi/linuxx64.efi.stub"
	// imagePackages is how packages begin that hold a kernel, and those that depend on one.
	imagePackages = "linux-image-"
)

// machineDebian is the release that kernel and stub come from. That of the base has its mirrors and keys.
func (b *bake) machineDebian() *recipes.Debian {
	base := b.recipe.Base.Debian
	var suite string
	if m := b.recipe.Machine; m != nil {
		suite = m.Debian
	}
	if base != nil && (suite == "" || suite == base.Suite) {
		return base
	}
	return &recipes.Debian{Suite: cmp.Or(suite, recipes.MachineDebian)}
}

func (b *bake) machineKernel() string {
	if m := b.recipe.Machine; m != nil && m.Kernel != "" {
		return m.Kernel
	}
	return recipes.MachineKernel
}

// machineRequest is all that the choice of kernel and stub depends on besides the archives' state.
func (b *bake) machineRequest() []string {
	return []string{"debian " + b.machineDebian().Suite, "kernel " + b.machineKernel(), "stub " + stubPackage}
}

// pinMachine keeps the pins when they were made for the same request. A bake of a container leaves them as they are.
func (b *bake) pinMachine(ctx context.Context, old *recipes.LockedMachine) (*recipes.LockedMachine, error) {
	if b.o.Machine == nil || old != nil && slices.Equal(old.Request, b.machineRequest()) {
		return old, nil
	}
	made, err := b.chooseMachine(ctx)
	if err != nil {
		return nil, b.inMachine(fmt.Errorf("choose its kernel: %w", err))
	}
	return made, nil
}

// compareMachine lists how the pins differ from what the machine needs.
func (b *bake) compareMachine(pin *recipes.LockedMachine) []string {
	switch {
	case b.o.Machine == nil:
		return nil
	case pin == nil:
		return []string{"the machine's kernel is not pinned"}
	}
	var diffs []string
	for _, line := range b.machineRequest() {
		if !slices.Contains(pin.Request, line) {
			diffs = append(diffs, "machine: "+line+" is not in the lockfile")
		}
	}
	return diffs
}

func (b *bake) inMachine(err error) error {
	pos := b.recipe.Base.Pos
	if b.recipe.Machine != nil {
		pos = b.recipe.Machine.Pos
	}
	return inPart("machine", pos, err)
}

// chooseMachine asks the archives for the newest kernel and stub.
func (b *bake) chooseMachine(ctx context.Context) (*recipes.LockedMachine, error) {
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
	b.note(machineStep, "reading the package lists of %s", d.Suite)
	index, err := client.Update(ctx, plainSources(sources), machineArch)
	if err != nil {
		return nil, err
	}
	kernel, err := kernelPackage(index.Packages, b.machineKernel())
	if err != nil {
		return nil, err
	}
	stub, ok := newestOf(index.Packages, stubPackage)
	if !ok {
		return nil, fault.New(fault.NotFound, "the archives of %s have no package %s", d.Suite, stubPackage)
	}
	return &recipes.LockedMachine{Request: b.machineRequest(),
		Packages: pinsOfPackages([]debian.Package{kernel, stub}, sources)}, nil
}

// kernelPackage is the newest package of a name that holds a kernel. One that only depends on the present kernel's leads there.
func kernelPackage(list []debian.Package, name string) (debian.Package, error) {
	p, ok := newestOf(list, name)
	if !ok {
		return p, fault.New(fault.NotFound, "the archives have no package %s", name).WithHint("machine: {kernel: %s} in the recipe, or another Debian release", recipes.MachineKernel)
	}
	depends, err := debian.ParseRelations(p.Depends)
	if err != nil {
		return p, fmt.Errorf("read what %s depends on: %w", name, err)
	}
	for _, r := range depends {
		for _, d := range r {
			if strings.HasPrefix(d.Name, imagePackages) && d.Name != name {
				return kernelPackage(list, d.Name)
			}
		}
	}
	return p, nil
}

// newestOf is the newest package of a name.
func newestOf(list []debian.Package, name string) (newest debian.Package, ok bool) {
	for _, p := range list {
		if p.Name == name && (!ok || p.Version.Compare(newest.Version) > 0) {
			newest, ok = p, true
		}
	}
	return newest, ok
}
