package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store"
	"github.com/bootandshoot/release/store/local"
)

// schema is the version of the layout in the package comment.
const schema = 1

// lockTimeout is how long Open waits for another process to let go of the file: a predecessor that is just ending.
const lockTimeout = 2 * time.Second

var (
	bucketMeta    = []byte("meta")
	bucketEntries = []byte("entries")
	bucketLeases  = []byte("leases")
	keySchema     = []byte("schema")
)

// Store is a store in a file. Make one with Open.
type Store struct {
	db       *bolt.DB
	path     string
	watchers local.Watchers
	rights   local.Rights
}

var _ store.Store = (*Store)(nil)

// Open opens the store at path and creates it, with its folder, when it is absent. It fails with fault.Busy when
// another process has it open, and with fault.Unsupported when a newer release wrote it.
func Open(path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, classify(err))
	}
	db, err := openFile(path, lockTimeout)
	if err != nil {
		return nil, openError(path, err)
	}
	s := &Store{db: db, path: path}
	if err := guarded(path, func() error { return db.Update(prepare) }); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("open store %s: %w", path, classify(err))
	}
	return s, nil
}

func openError(path string, err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fault.New(fault.Busy, "open store %s: another agent holds it%s", path, lockHolder(path)).
			WithHint("Use that agent, end it with `release agent stop`, or choose another folder with RELEASE_STATE_DIR.")
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum),
		errors.Is(err, bolterrors.ErrVersionMismatch):
		return fmt.Errorf("open store %s: %w", path, damaged(path, err))
	}
	return fmt.Errorf("open store %s: %w", path, classify(err))
}

// classify gives errors of the disk their class.
func classify(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.New(fault.NoSpace, "%w", err).WithHint("Free space on the disk and repeat; nothing was changed.")
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		return fault.New(fault.Denied, "%w", err).WithHint("Check the owner of the folder, or set RELEASE_STATE_DIR.")
	}
	return err
}

// prepare creates the buckets of a new file and checks the schema of an old one.
func prepare(tx *bolt.Tx) error {
	meta, err := tx.CreateBucketIfNotExists(bucketMeta)
	if err != nil {
		return err
	}
	if _, err := tx.CreateBucketIfNotExists(bucketEntries); err != nil {
		return err
	}
	if _, err := tx.CreateBucketIfNotExists(bucketLeases); err != nil {
		return err
	}
	have := meta.Get(keySchema)
	if have == nil {
		return meta.Put(keySchema, strconv.AppendInt(nil, schema, 10))
	}
	version, err := strconv.Atoi(string(have))
	if err != nil {
		return fmt.Errorf("read schema version %q: %w", have, err)
	}
	if version > schema {
		return fault.New(fault.Unsupported, "it has schema version %d and this program knows %d", version, schema).
			WithHint("A newer release wrote it: use that one.")
	}
	return nil
}

// Close ends all rights and watches and lets go of the file. Calls under way end first, later ones fail.
func (s *Store) Close() error {
	s.rights.Close()
	s.watchers.Close()
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.Entry, error) {
	var found store.Entry
	err := s.view(ctx, func(tx *bolt.Tx) error {
		raw := tx.Bucket(bucketEntries).Get([]byte(key))
		if raw == nil {
			return store.ErrNotFound
		}
		var err error
		found, err = decode([]byte(key), raw)
		return err
	})
	if err != nil {
		return store.Entry{}, fmt.Errorf("get %q: %w", key, err)
	}
	return found, nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string) ([]store.Entry, error) {
	var found []store.Entry
	err := s.view(ctx, func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketEntries).Cursor()
		for k, v := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
			e, err := decode(k, v)
			if err != nil {
				return err
			}
			found = append(found, e)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %q: %w", prefix, err)
	}
	return found, nil
}

// Commit implements store.Store. A commit that has begun ends whatever ctx does.
func (s *Store) Commit(ctx context.Context, writes ...store.Write) (uint64, error) {
	if err := local.CheckWrites(writes); err != nil {
		return 0, err
	}
	var version uint64
	err := s.update(ctx, len(local.Written(writes)) > 0, func(tx *bolt.Tx) error {
		var err error
		version, err = apply(tx.Bucket(bucketEntries), writes)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	s.watchers.Notify(version, local.Written(writes))
	return version, nil
}

func apply(entries *bolt.Bucket, writes []store.Write) (uint64, error) {
	for _, w := range writes {
		raw := entries.Get([]byte(w.Key))
		var have uint64
		if raw != nil {
			e, err := decode([]byte(w.Key), raw)
			if err != nil {
				return 0, err
			}
			have = e.Version
		}
		if !local.Allows(w, have) {
			return 0, fmt.Errorf("%q: %w", w.Key, store.ErrConflict)
		}
	}
	if len(local.Written(writes)) == 0 {
		return entries.Sequence(), nil
	}
	version, err := entries.NextSequence()
	if err != nil {
		return 0, err
	}
	for _, w := range writes {
		if w.Check {
			continue
		}
		if err := put(entries, w, version); err != nil {
			return 0, fmt.Errorf("%q: %w", w.Key, err)
		}
	}
	return version, nil
}

func put(entries *bolt.Bucket, w store.Write, version uint64) error {
	if w.Value == nil {
		return entries.Delete([]byte(w.Key))
	}
	raw := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(w.Value)), version)
	return entries.Put([]byte(w.Key), append(raw, w.Value...))
}

// decode copies an entry out of the file's pages, which are ours only within the transaction.
func decode(key, raw []byte) (store.Entry, error) {
	if len(raw) < 8 {
		return store.Entry{}, fault.New(fault.Failed, "the record of %q is damaged", key)
	}
	return store.Entry{
		Key: string(key), Version: binary.BigEndian.Uint64(raw), Value: append([]byte{}, raw[8:]...),
	}, nil
}

func (s *Store) view(ctx context.Context, read func(*bolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return guarded(s.path, func() error { return s.db.View(read) })
}

func (s *Store) update(ctx context.Context, writes bool, change func(*bolt.Tx) error) error {
	if !writes {
		return s.view(ctx, change)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return guarded(s.path, func() error { return classify(s.db.Update(change)) })
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan store.Change, error) {
	return s.watchers.Add(ctx, prefix, func() (uint64, error) {
		entries, err := s.List(ctx, prefix)
		if err != nil {
			return 0, fmt.Errorf("watch %q: %w", prefix, err)
		}
		var newest uint64
		for _, e := range entries {
			newest = max(newest, e.Version)
		}
		return newest, nil
	})
}

// acquisition is a value of the bucket leases.
type acquisition struct {
	Epoch  uint64 `json:"epoch"`
	Holder string `json:"holder"`
}

// Acquire implements store.Store. The holder lives in this process, so the right ends by Release or Close, not by ttl.
func (s *Store) Acquire(ctx context.Context, name, holder string, _ time.Duration) (store.Lease, error) {
	return s.rights.Acquire(ctx, name, func() (uint64, error) {
		var next acquisition
		err := s.update(ctx, true, func(tx *bolt.Tx) error {
			leases := tx.Bucket(bucketLeases)
			if raw := leases.Get([]byte(name)); raw != nil {
				if err := json.Unmarshal(raw, &next); err != nil {
					return fmt.Errorf("read its epoch: %w", err)
				}
			}
			next = acquisition{Epoch: next.Epoch + 1, Holder: holder}
			raw, err := json.Marshal(next)
			if err != nil {
				return err
			}
			return leases.Put([]byte(name), raw)
		})
		return next.Epoch, err
	})
}
