package images

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/fault"
)

// diskError says what was being done and gives a full disk its own class.
func diskError(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	doing := fmt.Sprintf(format, args...)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fault.New(fault.NoSpace, "%s: %w", doing, err).
			WithHint("free space in the image store: release images rm IMAGE, df -h shows the disks")
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
