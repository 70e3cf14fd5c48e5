package qemu

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/local"
)

const (
	logPoll    = 50 * time.Millisecond
	boundEvery = 10 * time.Second
)

func (d *Driver) logName(r record) string {
	return filepath.Join(d.machineDir(r.ID.Node), logFile)
}

// Logs reads a node's output.
func (d *Driver) Logs(ctx context.Context, id fleet.NodeID, opts fleet.LogOptions) (io.ReadCloser, error) {
	r, ok, err := d.nodes.Ours(id)
	if err == nil && !ok {
		err = fleet.ErrNoNode
	}
	if err != nil {
		return nil, fmt.Errorf("logs of %s: %w", id.Node, err)
	}
	f, err := os.Open(d.logName(r))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("logs of %s: %w", id.Node, err)
	}
	if err != nil {
		return io.NopCloser(bytes.NewReader(nil)), nil // it has not begun
	}
	return local.ReadFrom(ctx, func(w io.Writer) error {
		defer f.Close()
		return d.copyLog(ctx, r, f, opts, w)
	}), nil
}

// copyLog writes what there is, and with Follow what comes.
func (d *Driver) copyLog(ctx context.Context, r record, f *os.File, opts fleet.LogOptions, w io.Writer) error {
	in := bufio.NewReaderSize(written{f}, 64<<10)
	if err := skipHole(f, in); err != nil {
		return err
	}
	if err := local.SelectLines(in, opts, w); err != nil || !opts.Follow {
		return err
	}
	ticker := time.NewTicker(logPoll)
	defer ticker.Stop()
	for {
		_, err := d.liveOf(r)
		last := errors.Is(err, errGone) // asked first: what is written before the end is copied below
		if _, err := io.Copy(w, written{f}); err != nil || last {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// written leaves out the zeros of a hole that is made behind a reader's back.
type written struct{ io.Reader }

func (r written) Read(b []byte) (int, error) {
	for {
		n, err := r.Reader.Read(b)
		if n = len(slices.DeleteFunc(b[:n], func(c byte) bool { return c == 0 })); n > 0 || err != nil {
			return n, err
		}
	}
}

// skipHole goes to the first whole line of a file whose beginning was given up.
func skipHole(f *os.File, in *bufio.Reader) error {
	start, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return nil // empty
	}
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	in.Reset(written{f})
	if start == 0 {
		return nil
	}
	if _, err := in.ReadBytes('\n'); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read log: %w", err)
	}
	return nil
}

// boundLog gives the beginning of a node's output up when there is too much. QEMU goes on appending to the file, whose size only seems to grow.
func (d *Driver) boundLog(ctx context.Context, node string) {
	ticker := time.NewTicker(boundEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, name := range []string{logFile, consoleFile, exitFile} {
			if err := giveUp(filepath.Join(d.machineDir(node), name), d.opts.LogBytes); err != nil && !errors.Is(err, fs.ErrNotExist) {
				d.opts.Log.Warn("cannot shorten a log", "node", node, "error", err)
			}
		}
	}
}

// giveUp makes a hole of all but the last keep bytes of a file, when twice as many are there.
func giveUp(name string, keep int64) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	const sector = 512 // unit of st_blocks
	if st.Blocks*sector <= 2*keep || st.Size <= keep {
		return nil
	}
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, st.Size-keep)
}
