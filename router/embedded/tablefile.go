package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

const (
	previousName = tableName + ".previous"
	badName      = tableName + ".bad"
	spareName    = ".tmp-previous" // of the present table while the next one is written
	temporary    = ".tmp-*"        // files under way
)

func (e *engine) path(name string) string { return filepath.Join(e.cfg.Dir, name) }

// served says whether there is a table on disk.
func (e *engine) served() bool {
	_, err := os.Lstat(e.path(tableName))
	return err == nil
}

// save makes the table durable. The one before it stays as a second copy, at the cost of a link and a rename: it is what is
// served should this one be damaged.
func (e *engine) save(t router.Table) error {
	b, err := t.Encode()
	if err != nil {
		return err
	}
	spare := e.keepSpare()
	if err := atomicfile.Write(e.path(tableName), b, 0o600); err != nil {
		if spare {
			_ = os.Remove(e.path(spareName))
		}
		code := fault.Failed
		if errors.Is(err, syscall.ENOSPC) {
			code = fault.NoSpace
		}
		return fault.New(code, "apply table %s: %w", t.Version, err)
	}
	if spare {
		_ = os.Rename(e.path(spareName), e.path(previousName)) // else an older one stays
	}
	return nil
}

// keepSpare gives the present table a second name; false where there is none, or the file system has no such names.
func (e *engine) keepSpare() bool {
	err := os.Link(e.path(tableName), e.path(spareName))
	if errors.Is(err, os.ErrExist) {
		_ = os.Remove(e.path(spareName))
		err = os.Link(e.path(tableName), e.path(spareName))
	}
	return err == nil
}

// saveAgain makes the effective table durable where the disk has it no more: a successor reads it there.
func (e *engine) saveAgain() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.current.Load()
	if c == nil {
		return nil
	}
	if t, err := e.read(tableName); err == nil {
		if same, _ := c.table.Supersedes(t); same {
			return nil
		}
	}
	e.log.Error("the table on disk is not the one that is served: it is written again", "path", e.path(tableName), "table", c.table.Version.String())
	return e.save(c.table)
}

// load reads the table on disk, or the one before it when that is damaged; ErrNoTable: there is none. A table of a later
// program's schema is an error, which a restart of that program mends.
func (e *engine) load() (router.Table, error) {
	t, err := e.read(tableName)
	switch {
	case err == nil || fault.Is(err, fault.Unsupported):
		return t, err
	case errors.Is(err, os.ErrNotExist):
		return t, router.ErrNoTable
	}
	previous, perr := e.read(previousName)
	if perr != nil {
		return t, e.putAside(err)
	}
	e.log.Error("THE TABLE ON DISK IS DAMAGED: the one before it is served until an agent applies a newer one",
		"damaged", e.path(badName), "table", previous.Version.String(), "error", err)
	_ = os.Remove(e.path(badName))
	_ = os.Link(e.path(tableName), e.path(badName))
	if err := os.Rename(e.path(previousName), e.path(tableName)); err != nil {
		e.log.Error("the table before the damaged one is served and not in its place", "error", err)
	}
	return previous, nil
}

// putAside is for a table that does not read, and no other is there. What can not even be read as a file stays.
func (e *engine) putAside(err error) error {
	if _, rerr := os.ReadFile(e.path(tableName)); rerr != nil {
		return err
	}
	e.log.Error("the table on disk is damaged, and there is none before it: put aside", "path", e.path(badName), "error", err)
	if err := os.Rename(e.path(tableName), e.path(badName)); err != nil {
		e.log.Error("the damaged table was not put aside", "error", err)
	}
	return router.ErrNoTable
}

func (e *engine) read(name string) (router.Table, error) {
	b, err := os.ReadFile(e.path(name))
	if err != nil {
		return router.Table{}, fmt.Errorf("read table: %w", err)
	}
	return router.Decode(b)
}
