// Package consul keeps a store.Store in the key-value space of Consul, so that agents on several machines share it and any
// of them, or a minority of Consul's servers, may die.
//
// # Layout
//
// All keys begin with a prefix of the installation's choice, "release/" by default:
//
//	PREFIX schema          the version of this layout, decimal
//	PREFIX kv/KEY          one entry: a line "1 COMMIT ENCODING\n", then the value. COMMIT is 32 hex digits, drawn at random
//	                       for each commit; ENCODING is "plain" or "zstd"
//	PREFIX commits/WHO/N   the newest commit of a client, of those that it makes one after the other: "1 COMMIT plain\n"
//	PREFIX leases/NAME     the lock of a right; who holds it, as JSON {"holder":…,"client":…}, empty when nobody does
//	PREFIX epochs/NAME     the counter of its acquisitions, as JSON {"epoch":…,"holder":…} of the newest
//
// # Versions and commits
//
// An entry's version is Consul's ModifyIndex of its key. Indexes rise over all keys of a cluster and are not used again, over
// deletes and restored snapshots alike; only a new cluster that is filled from the snapshot of another may repeat some. A commit
// is one transaction of Consul's, all of whose writes get the same index. The number of the commit in each value makes
// contents differ always: Consul leaves a key and its index as they are when it is given the content that it has.
//
// When the answer to a commit is lost the transaction is sent again, and its number, in a key that nobody else writes, tells
// whether the first one was applied: a commit is made once. It is conditional in any case, on a version that was read if the
// caller gave none, so that a transaction that was late on the network changes nothing.
//
// Consul takes 128 operations and 512 KiB in one transaction, values in base64. store.MaxWrites keeps below the first; values
// are compressed, and what is too large all the same is refused with fault.NoSpace. Servers may be told to take more
// (limits.txn_max_req_len, limits.kv_max_value_size).
//
// # Reading
//
// Get, List and what Commit and Acquire decide by are read with Consul's "consistent" mode: the leader asks a majority whether
// it still leads, so nothing stale is seen. Watch is a hint and is read in the default mode.
//
// A call during an election of Consul's waits for it, at most patience; Acquire waits as long as its context.
//
// # Rights
//
// A right is a lock held by a session without health checks, with the right's time as its TTL, at least Consul's own minimum
// of 10 s. Consul ends a session between one and two TTL after its last renewal, and gives a lock that was not released
// in order to nobody for another TTL, the lock delay. The holder counts from the moment it sent the last renewal that
// succeeded, by a clock that neither jumps nor stops while the machine sleeps, and gives up nine tenths of a TTL later. So
// there is never a second holder before the first one knows, also when somebody destroys the session at Consul. The right of
// a holder that died is free after at most three TTL; one that is released in order, at once.
//
// A client that knows that its earlier process is dead (Options.Sole) gives up what that held when it opens the store, and so
// need not wait for it.
//
// The epoch is counted in the same transaction that takes the lock.
package consul
