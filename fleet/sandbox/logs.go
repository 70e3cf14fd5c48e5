package sandbox

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

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/local"
	"github.com/bootandshoot/release/sandbox"
)

const (
	logPoll     = 50 * time.Millisecond
	maxLogFiles = 102 // looked for; more are never kept
)

// Logs reads a node's output.
func (d *Driver) Logs(ctx context.Context, id fleet.NodeID, opts fleet.LogOptions) (io.ReadCloser, error) {
	r, ok, err := d.nodes.Ours(id)
	if err != nil {
		return nil, fmt.Errorf("logs of %s: %w", id.Node, err)
	}
	if !ok {
		return nil, fmt.Errorf("logs of %s: %w", id.Node, fleet.ErrNoNode)
	}
	files, err := openLogs(d.nodes.Dir(id.Node))
	if err != nil {
		return nil, fmt.Errorf("logs of %s: %w", id.Node, err)
	}
	return local.ReadFrom(ctx, func(w io.Writer) error { return d.copyLogs(ctx, r, files, opts, w) }), nil
}

// openLogs opens a log's files, oldest first. They may be turned over meanwhile: then one is seen twice, and dropped by
// its identity.
func openLogs(dir string) ([]*os.File, error) {
	var files []*os.File
	var seen []fs.FileInfo
	for i := range maxLogFiles {
		f, err := os.Open(logName(dir, i))
		if errors.Is(err, fs.ErrNotExist) {
			if i == 0 {
				continue // just turned over, or nothing was written yet
			}
			break
		}
		if err != nil {
			closeFiles(files)
			return nil, err
		}
		fi, err := f.Stat()
		if err != nil || slices.ContainsFunc(seen, func(s fs.FileInfo) bool { return os.SameFile(s, fi) }) {
			_ = f.Close()
			continue
		}
		files, seen = append(files, f), append(seen, fi)
	}
	slices.Reverse(files)
	return files, nil
}

func logName(dir string, i int) string {
	if i == 0 {
		return filepath.Join(dir, "log")
	}
	return filepath.Join(dir, fmt.Sprintf("log.%d", i))
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// copyLogs writes what there is, and with Follow what comes.
func (d *Driver) copyLogs(ctx context.Context, r record, files []*os.File, opts fleet.LogOptions, w io.Writer) error {
	defer func() { closeFiles(files) }()
	var readers []io.Reader
	for _, f := range files {
		readers = append(readers, f)
	}
	if err := local.SelectLines(bufio.NewReaderSize(io.MultiReader(readers...), 64<<10), opts, w); err != nil || !opts.Follow {
		return err
	}
	var last *os.File
	if len(files) > 0 {
		last = files[len(files)-1]
		files = files[:len(files)-1]
	}
	f := &follower{dir: d.nodes.Dir(r.ID.Node), file: last, w: w}
	defer f.close()
	return f.run(ctx, func() bool { return d.ended(r) })
}

// ended says whether a node writes no more.
func (d *Driver) ended(r record) bool {
	now, err := d.nodes.Read(r.ID.Node)
	if err != nil || now.PID != r.PID {
		return true
	}
	_, err = d.liveOf(r)
	return errors.Is(err, sandbox.ErrGone)
}

// follower copies what is appended to a log, over turned over files.
type follower struct {
	dir  string
	file *os.File // nil: nothing opened yet
	w    io.Writer
}

func (f *follower) close() {
	if f.file != nil {
		_ = f.file.Close()
	}
}

func (f *follower) run(ctx context.Context, ended func() bool) error {
	ticker := time.NewTicker(logPoll)
	defer ticker.Stop()
	for {
		last := ended() // asked first: what is written before the end is copied below
		if err := f.copy(); err != nil {
			return err
		}
		if last {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// copy takes all there is.
func (f *follower) copy() error {
	for {
		if f.file != nil {
			if _, err := io.Copy(f.w, f.file); err != nil {
				return err
			}
		}
		next, err := f.next()
		if err != nil || next == nil {
			return err
		}
		if f.file != nil {
			// Written between our last read and the turning over.
			if _, err := io.Copy(f.w, f.file); err != nil {
				return err
			}
		}
		f.close()
		f.file = next
	}
}

// next opens the file that follows the one being read: it was turned over, and may have been so more than once.
func (f *follower) next() (*os.File, error) {
	var current fs.FileInfo
	if f.file != nil {
		var err error
		if current, err = f.file.Stat(); err != nil {
			return nil, err
		}
	}
	for i := range maxLogFiles {
		fi, err := os.Stat(logName(f.dir, i))
		if err != nil || current != nil && os.SameFile(fi, current) {
			return openAt(f.dir, i-1)
		}
	}
	return nil, nil //nolint:nilnil // no newer file
}

func openAt(dir string, i int) (*os.File, error) {
	if i < 0 {
		return nil, nil //nolint:nilnil // the newest is the one being read
	}
	file, err := os.Open(logName(dir, i))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // removed this moment
	}
	return file, err
}

// keepTail hands on the end of a node's log, which outlives it.
func (d *Driver) keepTail(r record) error {
	if d.opts.Tails == nil {
		return nil
	}
	files, err := openLogs(d.nodes.Dir(r.ID.Node))
	if err != nil || len(files) == 0 {
		return err
	}
	defer closeFiles(files)
	var text []byte
	for i := len(files) - 1; i >= 0 && len(text) < fleet.TailBytes; i-- {
		part, err := local.EndOf(files[i], fleet.TailBytes-int64(len(text)))
		if err != nil {
			return err
		}
		text = append(part, text...)
	}
	return d.opts.Tails.Keep(r.ID, r.Kind, bytes.NewReader(text))
}
