package disk

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/debian/deb"
	"github.com/bootandshoot/release/internal/fault"
)

// elfModule is the least that is a kernel module: a header, .modinfo, the names of sections, and their table.
func elfModule(modinfo string) []byte {
	const header, names = 64, "\x00.modinfo\x00.shstrtab\x00"
	le := binary.LittleEndian
	b := make([]byte, header)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 1)  // relocatable
	le.PutUint16(b[18:], 62) // amd64
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[40:], uint64(header+len(modinfo)+len(names)))
	le.PutUint16(b[52:], header)
	le.PutUint16(b[58:], 64) // bytes of a section's entry
	le.PutUint16(b[60:], 3)
	le.PutUint16(b[62:], 2) // the section of names
	b = append(append(b, modinfo...), names...)
	b = append(b, make([]byte, 64)...)
	for _, s := range []struct{ name, kind, offset, size int }{{1, 1, header, len(modinfo)}, {10, 3, header + len(modinfo), len(names)}} {
		e := make([]byte, 64)
		le.PutUint32(e, uint32(s.name))
		le.PutUint32(e[4:], uint32(s.kind))
		le.PutUint64(e[24:], uint64(s.offset))
		le.PutUint64(e[32:], uint64(s.size))
		b = append(b, e...)
	}
	return b
}

// packed is a package with the files.
func packed(t *testing.T, files map[string]string) *deb.Package {
	t.Helper()
	dir := t.TempDir()
	files["DEBIAN/control"] = "Package: linux-image\nVersion: 1\nArchitecture: amd64\nMaintainer: Nobody <nobody@mirror.example>\nDescription: made up\n"
	for name, content := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".xz") {
			plain := strings.TrimSuffix(at, ".xz")
			if err := os.Rename(at, plain); err != nil {
				t.Fatal(err)
			}
			mustTool(t, "xz-utils", "xz", plain)
		}
	}
	out := filepath.Join(t.TempDir(), "kernel.deb")
	if said, err := exec.Command("dpkg-deb", "--build", "--root-owner-group", "-Zgzip", dir, out).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s; apt-get install dpkg", err, said)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	p, err := deb.Open(bytes.NewReader(data), int64(len(data)), deb.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Debian 12 and 13 lay a kernel out in two ways.
func TestKernelIsReadOutOfItsPackage(t *testing.T) {
	below := string(elfModule("name=below\x00depends=\x00"))
	above := string(elfModule("depends=be-low,inside\x00softdep=pre: soft\x00"))
	soft := string(elfModule("alias=soft\x00"))
	for name, files := range map[string]map[string]string{
		"plain": {"lib/modules/6/kernel/a/be-low.ko": below, "lib/modules/6/kernel/above.ko": above, "lib/modules/6/kernel/real.ko": soft,
			"lib/modules/6/kernel/other.ko": soft, "lib/modules/6/modules.builtin": "kernel/in/inside.ko\n"},
		"compressed": {"usr/lib/modules/6/kernel/a/be-low.ko.xz": below, "usr/lib/modules/6/kernel/above.ko.xz": above,
			"usr/lib/modules/6/kernel/real.ko.xz": soft, "usr/lib/modules/6/modules.builtin": "kernel/in/inside.ko\n"},
	} {
		t.Run(name, func(t *testing.T) {
			files["boot/vmlinuz-6"] = "the kernel"
			k, err := ReadKernel(t.Context(), packed(t, files), []string{"above", "inside"})
			if err != nil {
				t.Fatal(err)
			}
			var order []string
			for _, m := range k.Modules {
				order = append(order, m.Name)
			}
			if name == "plain" {
				order[0] = strings.Replace(order[0], "other", "real", 1) // both have the alias: the first by name counts
			}
			if k.Release != "6" || string(k.Image) != "the kernel" || strings.Join(order, " ") != "real be_low above" || string(k.Modules[1].Data) != below {
				t.Errorf("kernel %s %q with modules %v", k.Release, k.Image, order)
			}
			if _, err := ReadKernel(t.Context(), packed(t, files), []string{"overlay"}); !fault.Is(err, fault.Unsupported) {
				t.Errorf("a module that is not there: %v", err)
			}
		})
	}
	if _, err := ReadKernel(t.Context(), packed(t, map[string]string{"usr/share/x": ""}), nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("a package without a kernel: %v", err)
	}
	broken := map[string]string{"boot/vmlinuz-6": "x", "lib/modules/6/a.ko": "no module"}
	if _, err := ReadKernel(t.Context(), packed(t, broken), nil); err == nil || !strings.Contains(err.Error(), "a.ko") {
		t.Errorf("a module that is none: %v", err)
	}
}
