// Package consul routes through Consul: edges on any number of machines follow one record in its key-value space, the
// routing table, and confirm what they serve; catalog and config entries are a projection of it, for service meshes and DNS.
//
// Backend is the agents' side, Edge the companion of a data plane (package router/embedded), Projector keeps the projection.
// Only Consul is spoken to: agents and edges need not reach each other.
//
// # Layout
//
// All keys begin with the prefix of the installation, "release/" by default. Values are JSON, compressed by zstd when they
// are long; the first bytes tell.
//
//	PREFIX router/table      the router.Table that holds. Written by check-and-set, never by an older version
//	PREFIX router/trial      a table that edges are asked about before it is written: {"id":…,"table":…}
//	PREFIX router/edges/ID   what an edge says (edgeRecord), locked by its session while it lives
//	PREFIX router/projector  locked by the agent that keeps the projection
//	PREFIX certs/…           certificates that edges share (package certstore)
//
// # Applying
//
// A table that asks for other addresses or certificates than the one before could be refused by an edge: a port is taken
// there, a file is missing. So it is tried first: written as the trial, and refused whole if one live edge says that it cannot
// serve it. Then, and at once for all other tables, it is written as the table, and Apply returns when every live edge has
// confirmed it. Where edges are registered and none lives that is an error; where none is, whoever comes gets the newest table.
// What an edge refuses all the same (its disk is full) makes Apply fail with router.ErrUnavailable, which names
// the edge: others may serve the table.
//
// An edge confirms a table with a reading of its counters that was taken afterwards, in one write. So what Observe says of a
// node that left the table is never older than its leaving, however seldom edges write.
//
// # Edges
//
// An edge lives while its session does, and while it writes its record, once a second at least. Consul ends a session 10 s to
// 20 s after its last renewal; who leads holds an edge for silent before that, when it has not written for 5 s in which Consul
// answered. Its record stays, and it may go on serving: tables do not wait for it, and nothing is shot that it may route to. So
// one that is only slow costs nobody a request. It is removed when the edge stops in order, or when a person says that it is gone
// (Backend.Forget). An edge that was forgotten and comes back registers again.
//
// Edges serve what they have while Consul is away, also from their disk after a restart, and catch up afterwards. One never
// applies an older table than it serves. When Consul has lost the record, or has an old one since its state was restored, an
// edge that got a newer table from there writes it back.
//
// # Load
//
// Each edge waits in two blocking queries and writes its record at most four times a second while its counters change, once a
// second otherwise; one record is some KB, bounded by 256 KB. Each agent that leads reads the records four times a second. Ten
// edges under traffic are 40 small writes a second.
package consul
