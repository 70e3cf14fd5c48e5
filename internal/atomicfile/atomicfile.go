// Package atomicfile writes files so that a crash at any instruction leaves the old content or the new, never
// a torn file: temporary file in the same folder, fsync, rename, fsync of the folder. Nothing in the project
// that must survive a crash is written another way.
package atomicfile

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

// Write replaces the file at path with data. The mode is set exactly, whatever the umask.
func Write(path string, data []byte, mode fs.FileMode) error {
	f, err := Create(path, mode)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return f.Commit()
}

// File is a file under way: what is written becomes visible at Commit and vanishes at Abort.
type File struct {
	f    *os.File
	path string
	done bool
}

// Create begins a file that Commit will place at path. The folder must exist, and path must be Replaceable.
func Create(path string, mode fs.FileMode) (*File, error) {
	if err := Replaceable(path); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	if err := f.Chmod(mode); err != nil {
		_ = f.Close()
		_ = os.Remove(f.Name())
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return &File{f: f, path: path}, nil
}

// Replaceable refuses, as invalid, a path where a file would take the place of a device, a pipe or a socket: a /dev/null that
// has become a file is noticed by every program of the machine. So is /dev/stdout, a link to a descriptor.
func Replaceable(path string) error {
	kind := ""
	if info, err := os.Stat(path); err == nil {
		switch mode := info.Mode(); {
		case mode&fs.ModeDevice != 0:
			kind = "a device"
		case mode&fs.ModeNamedPipe != 0:
			kind = "a pipe"
		case mode&fs.ModeSocket != 0:
			kind = "a socket"
		}
	}
	if to, err := os.Readlink(path); err == nil && strings.HasPrefix(to, "/proc/") {
		kind = "a link to a descriptor"
	}
	if kind == "" {
		return nil
	}
	return fault.New(fault.Invalid, "write %s: it is %s, which a file would take the place of", path, kind).WithHint("name a file")
}

var _ io.Writer = (*File)(nil)

// Write appends to the file under way.
func (f *File) Write(p []byte) (int, error) { return f.f.Write(p) }

// Handle is the file itself, for who writes it in another order than from its beginning to its end. It is not to be closed.
func (f *File) Handle() *os.File { return f.f }

// CommitAs is Commit with another final path in the same folder, for names known only after the content is.
func (f *File) CommitAs(path string) error {
	f.path = path
	return f.Commit()
}

// Commit makes the content durable and visible at its path. On error nothing is visible.
func (f *File) Commit() error {
	if f.done {
		return fmt.Errorf("write %s: already committed or aborted", f.path)
	}
	f.done = true
	err := f.f.Sync()
	if cerr := f.f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.f.Name(), f.path)
	}
	if err != nil {
		_ = os.Remove(f.f.Name())
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	return SyncDir(filepath.Dir(f.path))
}

// Abort drops the file under way; after Commit it does nothing, so it can be deferred.
func (f *File) Abort() {
	if f.done {
		return
	}
	f.done = true
	_ = f.f.Close()
	_ = os.Remove(f.f.Name())
}

// SyncDir makes renames and removals in a folder durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}
