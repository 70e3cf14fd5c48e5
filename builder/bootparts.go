package builder

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/machine"
)

// volumeSize is that of a volume for a boot test, in bytes.
const volumeSize = 64 << 20

// makeVolume makes an empty ext4 with a label, as a data volume is.
func makeVolume(ctx context.Context, name, label string) error {
	program, err := exec.LookPath("mke2fs")
	if err != nil {
		if program = "/sbin/mke2fs"; !executable(program) { // not in the PATH of ordinary users
			return fault.New(fault.Unsupported, "make a volume %s for the boot test: %w", label, err).WithHint("install e2fsprogs")
		}
	}
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("make a volume for the boot test: %w", err)
	}
	err = f.Truncate(volumeSize)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("make a volume for the boot test: %w", err)
	}
	if out, err := exec.CommandContext(ctx, program, "-q", "-F", "-t", "ext4", "-L", label, name).CombinedOutput(); err != nil {
		return fault.New(fault.Failed, "make a volume %s for the boot test: %w: %s", label, err, out)
	}
	return nil
}

func executable(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// freePort is one of this machine's that nobody listens at now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

// endMachines ends the machines that a bake that does not live any more left in its work folder.
func (b *bake) endMachines(ctx context.Context, dir string) {
	list, err := filepath.Glob(filepath.Join(dir, "boot-*", "machine"))
	if err != nil {
		return
	}
	for _, dir := range list {
		if _, err := machine.Clear(ctx, dir); err != nil {
			b.log.Warn("cannot end the machine of an earlier bake", "folder", dir, "error", err)
		}
	}
}
