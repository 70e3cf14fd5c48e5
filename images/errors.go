package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/fault"
)

// diskError says what was being done and gives a full disk, and one that may not be written, classes of their own.
func diskError(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	doing := fmt.Sprintf(format, args...)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fault.New(fault.NoSpace, "%s: %w", doing, err).
			WithHint("free space in the image store: release images rm IMAGE, df -h shows the disks")
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return fault.New(fault.Denied, "%s: %w", doing, err).WithHint("choose a folder of your own with RELEASE_IMAGES_DIR")
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// contextReader ends with the context's error once it is done.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
