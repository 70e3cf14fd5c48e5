package embedded

import (
	"fmt"
	"os"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/bootandshoot/release/internal/fault"
)

// guarded turns what bbolt does on a damaged file into an error: it panics on pages that make no sense, and a file that
// was cut short faults where its pages are mapped.
func guarded(path string, do func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(before)
	defer func() {
		if p := recover(); p != nil {
			err = damaged(path, fmt.Errorf("%v", p))
		}
	}()
	return do()
}

func damaged(path string, why error) error {
	return fault.New(fault.Failed, "the store's file is damaged: %w", why).
		WithHint("Restore %s from a copy. Without one, move it away: the agent then begins anew and leaves alone what runs.", path)
}

// openFile opens the file and checks that it is whole.
func openFile(path string, timeout time.Duration) (db *bolt.DB, err error) {
	err = guarded(path, func() error {
		var err error
		if db, err = bolt.Open(path, 0o600, &bolt.Options{Timeout: timeout}); err != nil {
			return err
		}
		return db.View(func(tx *bolt.Tx) error { return checkLength(path, tx.Size()) })
	})
	if err != nil && db != nil {
		_ = db.Close()
	}
	return db, err
}

func checkLength(path string, want int64) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() < want {
		return damaged(path, fmt.Errorf("it has %d bytes of %d", info.Size(), want))
	}
	return nil
}
