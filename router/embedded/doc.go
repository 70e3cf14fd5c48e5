// Package embedded is the data plane of release as a process of its own, and its client.
//
// Run is the process. It serves the routes of the last table it was given and speaks to agents over a unix socket
// only; nothing else listens but what the table's routes (and Config.MetricsListen) say. It needs no agent: after
// kill -9 it serves the table on its disk again.
//
// State folder (mode 0700):
//
//	table.0 .1    the applied router.Table as canonical JSON and the one before it, written in turn before they become
//	              effective (package pairfile)
//	control.sock  the control API: HTTP and JSON, paths under /v1 (mode 0600)
//	router.lock   held (flock) while a router runs here; inherited by the successor of an upgrade
//	router.pid    the process id, for people and service managers
//	edge          the stable name of this edge
//	router.log    output of a router that Ensure started
//	certs/        accounts and certificates got by ACME (package certs)
//
// A table that does not read is passed over, and the one before it is served until an agent applies a newer one; where neither
// reads both are put aside (.bad). With a table a router starts whatever else it can not write, as on a full disk, and writes that later. What a
// killed process left half written (.tmp-*) is removed at the next start.
//
// Request path: a listener finds out what a connection speaks. HTTP/1.1 is served by h1conn, a loop over pooled memory that
// allocates nothing for a request; h2 by net/http, behind the same exchange. An exchange matches the route (match.go), decides
// the fleet (preview, rules, sticky clients, weights) and the node (pick.go), and goes from node to node as far as repeating
// is allowed (tries.go). Deadlines are not the runtime's but swept (guard.go); what idles holds no memory to read into
// (buffer.go). TCP routes and upgraded connections are passed on as bytes (tcp.go, tunnel.go).
//
// Upgrade: the successor inherits the listening sockets, the control socket and the lock, reads the table
// from disk, and says so. Only when the predecessor has answered it accepts, and says that too; then the predecessor stops accepting
// and finishes what it has, while tables and observations still reach it through the successor. Plain connections go over to the
// successor as they become idle.
package embedded
