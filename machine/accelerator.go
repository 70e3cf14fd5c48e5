package machine

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/bootandshoot/release/internal/fault"
)

// Accelerator is how a machine's instructions are run.
type Accelerator string

// The accelerators.
const (
	KVM       Accelerator = "kvm"
	Emulation Accelerator = "tcg"
)

// Program is what runs machines.
const Program = "qemu-system-x86_64"

const (
	qemu       = Program
	answerPort = "0xf4"
	answered   = 0x10<<1 | 1 // QEMU's exit code for the value that the guest writes (docs: isa-debug-exit)
	biosSize   = 64 << 10
)

// probeGuest is what runs at the reset vector, the last 16 bytes of the firmware:
//
//	mov al, 0x10
//	out 0xf4, al
//	hlt; jmp $-1
var probeGuest = []byte{0xb0, 0x10, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd}

// Accelerate gives the accelerator to use on this machine, and why it is not KVM when it is not. It takes a fraction of a second,
// seconds at most, and does not change while the machine is up: ask once. A missing QEMU is fault.Unsupported.
func Accelerate(ctx context.Context) (Accelerator, string, error) {
	if err := haveQEMU(); err != nil {
		return "", "", err
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return Emulation, err.Error(), nil
	}
	_ = f.Close()
	ok, why, err := probe(ctx, KVM, probePatience)
	if err != nil {
		return "", "", err
	}
	if !ok {
		return Emulation, "a guest on /dev/kvm " + why, nil
	}
	return KVM, "", nil
}

// probe runs the guest and says whether it answered.
func probe(ctx context.Context, a Accelerator, patience time.Duration) (ok bool, why string, err error) {
	dir, err := os.MkdirTemp("", "release-probe-*")
	if err != nil {
		return false, "", err
	}
	defer os.RemoveAll(dir)
	bios := make([]byte, biosSize)
	copy(bios[biosSize-16:], probeGuest)
	name := filepath.Join(dir, "bios")
	if err := os.WriteFile(name, bios, 0o600); err != nil {
		return false, "", err
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	args := append(processor(a), "-nodefaults", "-no-user-config", "-display", "none", "-m", "16", "-bios", name,
		"-device", "isa-debug-exit,iobase="+answerPort+",iosize=1")
	err = exec.CommandContext(limited, qemu, args...).Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return false, "", ctx.Err()
	case limited.Err() != nil:
		return false, "hangs", nil
	case errors.As(err, &exit) && exit.ExitCode() == answered:
		return true, "", nil
	case errors.As(err, &exit):
		return false, "fails: " + exit.String(), nil
	case err == nil:
		return false, "ends without an answer", nil
	}
	return false, "", err
}

// processor is QEMU's machine and CPU for an accelerator. An emulated one says of its instructions for copying strings (erms, fsrm) that they
// are not fast, since they are not: a kernel copies by others then.
func processor(a Accelerator) []string {
	if a == KVM {
		return []string{"-machine", "q35", "-accel", "kvm", "-cpu", "host"}
	}
	return []string{"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max,erms=off,fsrm=off"}
}

func haveQEMU() error {
	if _, err := exec.LookPath(qemu); err != nil {
		return fault.New(fault.Unsupported, "run a machine: %w", err).WithHint("install QEMU, for instance: sudo apt-get install qemu-system-x86 ovmf")
	}
	return nil
}
