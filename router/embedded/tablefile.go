package embedded

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// temporary are files under way.
const temporary = ".tmp-*"

func (e *engine) path(name string) string { return filepath.Join(e.cfg.Dir, name) }

// served says whether there is a table on disk.
func (e *engine) served() bool {
	names := e.tables.Paths()
	return slices.ContainsFunc(names[:], func(name string) bool {
		_, err := os.Lstat(name)
		return err == nil
	})
}

// save makes a table durable, in a form that router.Decode reads.
func (e *engine) save(v router.Version, table []byte) error {
	err := e.tables.Write(table, e.put)
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return fault.New(fault.NoSpace, "apply table %s: %w", v, err)
	case err != nil:
		return fault.New(fault.Failed, "apply table %s: %w", v, err)
	}
	return nil
}

// saveAgain makes the effective table durable where the disk has it no more: a successor reads it there.
func (e *engine) saveAgain() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.current.Load()
	if c == nil {
		return nil
	}
	b, _ := e.tables.Read(nil)
	if t, err := router.Decode(b); err == nil {
		if same, _ := c.table.Supersedes(t); same {
			return nil
		}
	}
	e.log.Error("the table on disk is not the one that is served: it is written again", "path", e.path(tableName), "table", c.table.Version.String())
	b, err := c.table.Encode()
	if err != nil {
		return err
	}
	return e.save(c.table.Version, b)
}

// load reads the table on disk; ErrNoTable: there is none. A table of a later program's schema is an error, which a restart of
// that program mends.
func (e *engine) load() (router.Table, error) {
	b, damage := e.tables.Read(func(b []byte) error {
		if _, err := router.Decode(b); !fault.Is(err, fault.Unsupported) {
			return err
		}
		return nil
	})
	if errors.Is(damage, os.ErrNotExist) {
		return router.Table{}, router.ErrNoTable
	}
	if b == nil {
		return router.Table{}, e.putAside(damage)
	}
	t, err := router.Decode(b)
	if err == nil && damage != nil {
		e.log.Error("ONE OF TWO COPIES OF THE TABLE IS DAMAGED, or a crash came in between: the other one is served until an agent applies a newer one",
			"table", t.Version.String(), "error", damage)
	}
	return t, err
}

// putAside is for a table that does not read, and no other is there. What can not even be read as a file stays.
func (e *engine) putAside(err error) error {
	for _, name := range e.tables.Paths() {
		if _, rerr := os.ReadFile(name); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
			return err
		}
	}
	e.log.Error("THE TABLE ON DISK IS DAMAGED, and there is none before it: put aside", "path", e.path(tableName)+".*"+badEnd, "error", err)
	for _, name := range e.tables.Paths() {
		if err := os.Rename(name, name+badEnd); err != nil && !errors.Is(err, os.ErrNotExist) {
			e.log.Error("the damaged table was not put aside", "error", err)
		}
	}
	return router.ErrNoTable
}

// badEnd is at the end of the names of files that were put aside.
const badEnd = ".bad"
