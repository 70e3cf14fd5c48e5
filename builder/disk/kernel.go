package disk

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/bootandshoot/release/debian/deb"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/xz"
)

// Kernel is a kernel with the modules that a boot loads, in their order.
type Kernel struct {
	Release string // such as 6.1.0-56-cloud-amd64
	Image   []byte // vmlinuz
	Modules []Module
}

// Module is one kernel module.
type Module struct {
	Name string // as the kernel has it, with _ for -
	Data []byte // uncompressed
}

// BootModules are what every machine of ours loads before its root is there, unless the kernel has them built in: disks and
// networks of QEMU and of EC2, the file system of the root and its overlay, verity, and the metadata channel and serial ports of QEMU.
func BootModules() []string {
	return []string{"virtio_pci", "virtio_blk", "nvme", "ext4", "overlay", "dm_verity", "virtio_net", "ena", "qemu_fw_cfg", "virtio_console"}
}

const (
	maxKernel     = 128 << 20
	maxModule     = 64 << 20
	maxBuiltin    = 16 << 20
	maxDictionary = 64 << 20
)

// ReadKernel reads the kernel out of a package such as Debian's linux-image-…, with the wanted modules and those that they need.
// It goes through the package once; modules that turn out not to be needed are only in a temporary file meanwhile. A package
// without a kernel is fault.Invalid, a module that the kernel has in no form fault.Unsupported.
func ReadKernel(ctx context.Context, p *deb.Package, wanted []string) (Kernel, error) {
	spool, err := os.CreateTemp("", "release-kernel-*")
	if err != nil {
		return Kernel{}, fmt.Errorf("read kernel: %w", err)
	}
	defer spool.Close()
	if err := os.Remove(spool.Name()); err != nil {
		return Kernel{}, fmt.Errorf("read kernel: %w", err)
	}
	r := kernelReader{spool: spool, modules: map[string]module{}, places: map[string]place{}}
	if err := p.Each(ctx, r.entry); err != nil {
		return Kernel{}, fmt.Errorf("read kernel: %w", err)
	}
	if r.image == nil {
		return Kernel{}, fault.New(fault.Invalid, "read kernel: the package has no boot/vmlinuz-…").
			WithHint("name the package that holds the kernel itself, such as linux-image-6.1.0-56-cloud-amd64, not one that depends on it")
	}
	order, err := loadOrder(r.modules, r.builtin, wanted)
	if err != nil {
		return Kernel{}, fmt.Errorf("read kernel %s: %w", r.release, err)
	}
	k := Kernel{Release: r.release, Image: r.image}
	for _, name := range order {
		data := make([]byte, r.places[name].size)
		if _, err := spool.ReadAt(data, r.places[name].offset); err != nil {
			return Kernel{}, fmt.Errorf("read kernel module %s: %w", name, err)
		}
		k.Modules = append(k.Modules, Module{Name: name, Data: data})
	}
	return k, nil
}

// place is where a module lies in the temporary file.
type place struct{ offset, size int64 }

type kernelReader struct {
	spool   *os.File
	end     int64
	release string
	image   []byte
	builtin []string
	modules map[string]module
	places  map[string]place
}

// entry takes of the package's files what belongs to the kernel.
func (r *kernelReader) entry(e deb.Entry, content io.Reader) error {
	if e.Type != deb.File {
		return nil
	}
	name := strings.TrimPrefix(e.Path, "usr/") // Debian 13 has the modules there
	if release, ok := strings.CutPrefix(name, "boot/vmlinuz-"); ok {
		data, err := readAtMost(content, e, maxKernel)
		r.release, r.image = release, data
		return err
	}
	if !strings.HasPrefix(name, "lib/modules/") {
		return nil
	}
	base := path.Base(name)
	switch {
	case base == "modules.builtin":
		data, err := readAtMost(content, e, maxBuiltin)
		for line := range strings.Lines(string(data)) {
			r.builtin = append(r.builtin, moduleName(strings.TrimSuffix(path.Base(strings.TrimSpace(line)), ".ko")))
		}
		return err
	case strings.HasSuffix(base, ".ko"):
		data, err := readAtMost(content, e, maxModule)
		if err != nil {
			return err
		}
		return r.keep(e.Path, data)
	case strings.HasSuffix(base, ".ko.xz"):
		plain, err := xz.NewReader(content, maxDictionary)
		if err != nil {
			return fmt.Errorf("decompress %s: %w", e.Path, err)
		}
		data, err := io.ReadAll(io.LimitReader(plain, maxModule))
		if err != nil {
			return fmt.Errorf("decompress %s: %w", e.Path, err)
		}
		return r.keep(e.Path, data)
	}
	return nil
}

func (r *kernelReader) keep(name string, data []byte) error {
	m, err := parseModule(data)
	if err != nil {
		return fmt.Errorf("kernel module %s: %w", name, err)
	}
	// Kernels before 4.13 do not say the name within the module.
	base, _, _ := strings.Cut(path.Base(name), ".ko")
	m.name = moduleName(base)
	r.modules[m.name] = m
	r.places[m.name] = place{offset: r.end, size: int64(len(data))}
	_, err = r.spool.WriteAt(data, r.end)
	r.end += int64(len(data))
	return err
}

func readAtMost(content io.Reader, e deb.Entry, limit int64) ([]byte, error) {
	if e.Size > limit {
		return nil, fault.New(fault.Failed, "%s has %d MiB", e.Path, e.Size>>20)
	}
	var buf bytes.Buffer
	buf.Grow(int(e.Size) + bytes.MinRead)
	_, err := buf.ReadFrom(content)
	return buf.Bytes(), err
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
