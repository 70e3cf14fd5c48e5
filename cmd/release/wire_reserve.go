package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// reserveFile in the state folder only takes space, so that it can be given up: what was decided on a full disk must be
	// written, and users brought back, before somebody finds what to delete.
	reserveFile = "reserve"
	// reserveSize is far more than the journal entries and tables of some rollbacks need.
	reserveSize = 8 << 20
	// reserveShare is how much more must be free than the reserve takes.
	reserveShare = 4
	// reserveAgain is how often it is looked whether the reserve can be made anew.
	reserveAgain = time.Minute
	// startNeeds is what a starting agent writes at least.
	startNeeds = 1 << 20
)

// reserve is disk space of an agent that is kept for the way back.
type reserve struct {
	path string
	log  *slog.Logger
}

func newReserve(dir string, log *slog.Logger) *reserve {
	return &reserve{path: filepath.Join(dir, reserveFile), log: log}
}

// release frees the space; false when there is none.
func (r *reserve) release() bool {
	err := os.Remove(r.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.log.Error("give up the reserve of disk space", "error", err)
	}
	return err == nil
}

// begin prepares a start: on a full disk the reserve is given up for it, else it is made.
func (r *reserve) begin() {
	if free, ok := r.free(); ok && free < startNeeds && r.release() {
		r.log.Warn("the disk is full: the space kept in reserve is given up", "folder", filepath.Dir(r.path))
		return
	}
	r.keep()
}

// run makes the reserve anew when there is space again, until ctx ends.
func (r *reserve) run(ctx context.Context) {
	tick := time.NewTicker(reserveAgain)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.keep()
		case <-ctx.Done():
			return
		}
	}
}

// keep makes the reserve if it is not there and the disk has room enough.
func (r *reserve) keep() {
	if info, err := os.Stat(r.path); err == nil && info.Size() >= reserveSize {
		return
	}
	if free, ok := r.free(); !ok || free < reserveShare*reserveSize {
		return
	}
	if err := r.allocate(); err != nil {
		r.log.Warn("keep disk space in reserve", "error", err)
	}
}

func (r *reserve) free() (bytes uint64, ok bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(r.path), &st); err != nil {
		return 0, false
	}
	return st.Bavail * uint64(st.Bsize), true
}

// allocate makes the file of blocks that are its own, not of a hole.
func (r *reserve) allocate() error {
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, reserveSize)
	if errors.Is(err, unix.EOPNOTSUPP) {
		_, err = f.Write(make([]byte, reserveSize))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("allocate %s: %w", r.path, err), os.Remove(r.path))
	}
	return nil
}
