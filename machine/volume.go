package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"

	"github.com/bootandshoot/release/internal/fault"
)

// MakeVolume makes a new file with an empty ext4 of that many bytes and a label of at most 16, as machines have for data. The file takes
// as much space as is used. Without mke2fs it is fault.Unsupported.
func MakeVolume(ctx context.Context, name, label string, size int64) error {
	program, err := exec.LookPath("mke2fs")
	if err != nil {
		if program, err = exec.LookPath("/sbin/mke2fs"); err != nil { // not in the PATH of ordinary users
			return fault.New(fault.Unsupported, "make the volume %s: %w", label, err).WithHint("install e2fsprogs")
		}
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make the volume %s: %w", label, err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return fmt.Errorf("make the volume %s: %w", label, err)
	}
	// Blocks of 4096 bytes also where it is small: it may grow. Nothing is kept for root, who has no use for it in a machine.
	out, err := exec.CommandContext(ctx, program, "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-L", label, name).CombinedOutput()
	if err != nil {
		return fault.New(fault.Failed, "make the volume %s: %w: %s", label, err, out)
	}
	return nil
}

// GrowVolume makes the file of a volume larger, which no machine has now: the next one that mounts it makes use of it. One that is as large
// already stays as it is.
func GrowVolume(name string, size int64) error {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.NotFound, "grow the volume: %w", err)
	}
	if err != nil || info.Size() >= size {
		return err
	}
	return os.Truncate(name, size)
}
