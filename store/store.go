// Package store is the contract for the state that an agent must not lose: a small versioned key-value space
// with atomic compare-and-set over several keys, watches and leases. store/embedded keeps it in one bbolt file,
// store/consul in a cluster of Consul servers, for several agents.
//
// Keys are slash-separated paths without a leading slash ("apps/shop/production"). Values are opaque bytes, JSON
// in this project. Versions rise with every write to a store and are never used again; version 0 means "absent".
package store

import (
	"context"
	"errors"
	"time"
)

// ErrConflict says that a key was not at the version that a write asked for: somebody else wrote it since. The
// caller reads again and decides again; repeating the same write is wrong.
var ErrConflict = errors.New("store: key has changed since it was read")

// ErrNotFound says that a key is absent.
var ErrNotFound = errors.New("store: no such key")

// ErrLeaseLost says that a lease ended: it was released, expired, or another holder took it.
var ErrLeaseLost = errors.New("store: lease lost")

// Entry is a key with its value and the version at which it was written.
type Entry struct {
	Key     string
	Value   []byte
	Version uint64
}

// MaxWrites is how many writes one commit may have: what every store takes.
const MaxWrites = 60

// Write is one change of a commit.
type Write struct {
	Key       string
	Value     []byte // nil deletes the key
	IfVersion uint64 // the version that the key must be at; 0: the key must be absent
	Any       bool   // write whatever the key's version is; IfVersion is ignored
	Check     bool   // change nothing: the other writes depend on the condition. Value is nil and Any is not set
}

// Change tells a watcher that keys under its prefix changed. It carries no content: the watcher reads.
type Change struct {
	Version uint64 // the newest version under the prefix
}

// Lease is a named exclusive right, held until released or lost.
type Lease interface {
	// Epoch rises at each acquisition of the name, by compare-and-set: the fencing token.
	Epoch() uint64
	// Lost is closed when the right has ended for whatever reason.
	Lost() <-chan struct{}
	// Release ends the right in order; a second call does nothing.
	Release(ctx context.Context) error
}

// Store is the contract. All methods may be called at the same time from any goroutine.
type Store interface {
	// Get returns one entry, or ErrNotFound.
	Get(ctx context.Context, key string) (Entry, error)
	// List returns all entries whose key begins with prefix, sorted by key; none is no error.
	List(ctx context.Context, prefix string) ([]Entry, error)
	// Commit applies all writes or none, durably, and returns the version they got; where nothing is written that is
	// the newest of all. ErrConflict when one of the conditions does not hold, fault.Internal for more than MaxWrites or
	// malformed ones. After another error the writes may or may not be there: read to find out.
	Commit(ctx context.Context, writes ...Write) (uint64, error)
	// Watch sends a Change soon after keys under prefix change, once at the start, until ctx ends; then it
	// closes the channel. Changes may be merged; the last is never lost.
	Watch(ctx context.Context, prefix string) (<-chan Change, error)
	// Acquire waits until the named right is free or ctx ends, and takes it for the holder. Where holders can
	// die unseen the right ends by itself after ttl.
	Acquire(ctx context.Context, name, holder string, ttl time.Duration) (Lease, error)
}
