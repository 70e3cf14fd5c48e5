// Package embedded is the data plane of release as a process of its own, and its client.
//
// Run is the process. It serves the routes of the last table it was given and speaks to agents over a unix socket
// only; nothing else listens but what the table's routes (and Config.MetricsListen) say. It needs no agent: after
// kill -9 it serves the table on its disk again.
//
// State folder (mode 0700):
//
//	table.json    the applied router.Table as canonical JSON, replaced atomically before it becomes effective
//	control.sock  the control API: HTTP and JSON, paths under /v1 (mode 0600)
//	router.lock   held (flock) while a router runs here; inherited by the successor of an upgrade
//	router.pid    the process id, for people and service managers
//	edge          the stable name of this edge
//	router.log    output of a router that Ensure started
//
// A table.json that does not read is put aside as table.json.bad and the router waits for an agent.
//
// Request path: listener → server → match (host, path) → preview or weighted split → two random picks → node, with
// retries on other nodes. All of that is decided in pick.go, match.go and split.go, without net/http's proxy; only
// proxy.go moves bytes.
//
// Upgrade: the successor inherits the listening sockets, the control socket and the lock, reads the table
// from disk, accepts, and says so; then the predecessor stops accepting and finishes what it has, while tables and
// observations still reach it through the successor.
package embedded
