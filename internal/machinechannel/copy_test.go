package machinechannel

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
)

// TestCopies reads files, beside another connection's commands and after each other; what is not there, not whole, or given up is told as such.
func TestCopies(t *testing.T) {
	_, path := serveHost(t)
	c := dialPath(t, path)
	for range 2 {
		r, err := c.CopyOut(t.Context(), "/file")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, r); err != nil || n != 5<<20 {
			t.Errorf("%d bytes, %v", n, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.CopyOut(t.Context(), "/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	r, err := c.CopyOut(t.Context(), "/torn")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); err == nil || !strings.Contains(err.Error(), "the disk is bad") {
		t.Errorf("a file that cannot be read whole: %v", err)
	}
	_ = r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	if r, err = c.CopyOut(ctx, "/file"); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(r); err == nil {
		t.Error("a copy that is given up is whole")
	}
	_ = r.Close()
	if code, err := c.Run(t.Context(), Command{Args: []string{"true"}}); err != nil || code != 0 {
		t.Errorf("a command after that: %d %v", code, err)
	}
}
