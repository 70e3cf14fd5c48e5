package sandbox

import (
	"debug/elf"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/fault"
)

// machine is how programs of an architecture begin, and who runs them elsewhere.
type machine struct {
	qemu    string // as QEMU calls it
	class   elf.Class
	order   elf.Data
	machine elf.Machine
}

// machines are by Go's names.
func machines(arch string) (machine, bool) {
	m, ok := map[string]machine{
		"amd64":    {"x86_64", elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64},
		"arm64":    {"aarch64", elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_AARCH64},
		"arm":      {"arm", elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_ARM},
		"386":      {"i386", elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_386},
		"ppc64le":  {"ppc64le", elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_PPC64},
		"riscv64":  {"riscv64", elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_RISCV},
		"s390x":    {"s390x", elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_S390},
		"mips64le": {"mips64el", elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_MIPS},
	}[arch]
	return m, ok
}

// header is the begin of a program, in which the type, executable or shared object, is open by the mask.
func (m machine) header() (magic, mask []byte) {
	magic = append([]byte("\x7fELF"), byte(m.class), byte(m.order), 1)
	magic = append(magic, make([]byte, 9)...)
	mask = []byte("\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff")
	kind, code := []byte{2, 0}, []byte{byte(m.machine), byte(m.machine >> 8)}
	open := []byte{0xfe, 0xff}
	if m.order == elf.ELFDATA2MSB {
		kind, code, open = []byte{0, 2}, []byte{byte(m.machine >> 8), byte(m.machine)}, []byte{0xff, 0xfe}
	}
	return append(append(magic, kind...), code...), append(append(mask, open...), 0xff, 0xff)
}

const binfmtDir = "/proc/sys/fs/binfmt_misc"

// Emulator finds out how sandboxes run programs for an architecture, by Go's name of it. The text is for Spec.Emulator:
// "" when nothing is needed, because the machine runs them itself or its kernel knows an emulator. Without any the error
// says what to install.
func Emulator(arch string) (string, error) {
	if arch == runtime.GOARCH || arch == "386" && runtime.GOARCH == "amd64" {
		return "", nil
	}
	refuse := fault.New(fault.Unsupported, "this machine (%s) cannot run programs for %s", runtime.GOARCH, arch)
	m, ok := machines(arch)
	if !ok {
		return "", refuse.WithHint("use a machine with that architecture")
	}
	if m.registered() {
		return "", nil
	}
	program := m.static()
	switch {
	case program == "":
		return "", refuse.WithHint("install QEMU's emulators: sudo apt install qemu-user-static")
	case !ownHandlers():
		return "", refuse.WithHint("let the kernel know of %s: sudo apt install binfmt-support qemu-user-static (a kernel from 6.7 on needs no such thing)", program)
	}
	magic, mask := m.header()
	return fmt.Sprintf(":release-%s:M::%s:%s:%s:F", m.qemu, escape(magic), escape(mask), program), nil
}

func escape(data []byte) string {
	var b strings.Builder
	for _, c := range data {
		b.WriteString(`\x` + hex.EncodeToString([]byte{c}))
	}
	return b.String()
}

// registered reports whether the kernel has a handler that works in a root without the emulator: flag F.
func (m machine) registered() bool {
	magic, _ := m.header()
	entries, err := os.ReadDir(binfmtDir)
	if err != nil {
		return false
	}
	if status, err := os.ReadFile(filepath.Join(binfmtDir, "status")); err != nil || strings.TrimSpace(string(status)) != "enabled" {
		return false
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(binfmtDir, e.Name()))
		if err == nil && handles(string(text), hex.EncodeToString(magic)) {
			return true
		}
	}
	return false
}

// handles reads what the kernel says of a handler.
func handles(text, magic string) bool {
	var fixed, fits bool
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if flags, ok := strings.CutPrefix(line, "flags:"); ok {
			fixed = strings.Contains(flags, "F")
		}
		fits = fits || line == "magic "+magic
	}
	return strings.HasPrefix(text, "enabled\n") && fixed && fits
}

// static finds an emulator that needs no library: the root that it runs in has none of its own architecture.
func (m machine) static() string {
	for _, name := range []string{"qemu-" + m.qemu + "-static", "qemu-" + m.qemu} {
		at, err := exec.LookPath(name)
		if err != nil || strings.ContainsAny(at, ": \\\n") {
			continue
		}
		if f, err := elf.Open(at); err == nil {
			libraries, err := f.ImportedLibraries()
			_ = f.Close()
			if err == nil && len(libraries) == 0 {
				return at
			}
		}
	}
	return ""
}

// ownHandlers reports whether user namespaces have handlers of their own: Linux 6.7.
func ownHandlers() bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	var major, minor int
	_, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor)
	return err == nil && (major > 6 || major == 6 && minor >= 7)
}
