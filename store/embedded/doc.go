// Package embedded keeps a store.Store in one bbolt file, opened by one agent alone.
//
// The file has three buckets:
//
//	meta     "schema" → the version of this layout, decimal
//	entries  key      → 8 bytes of version, big-endian, then the value
//	leases   name     → JSON {"epoch":…,"holder":…} of the newest acquisition
//
// The bucket entries carries the newest version ever written as its sequence, so versions rise over deletes and
// restarts alike. Every commit is one bbolt transaction: the pages are written and synced before the new root is, and
// the root is synced before Commit returns. After a crash the file is at the last commit whose root got to the disk;
// nothing needs repair.
//
// Rights and watches live in the process only: bbolt's lock on the file keeps other processes out, so a holder that
// dies takes the store with it and no right needs to end by time.
package embedded
