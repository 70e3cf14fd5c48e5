// Package haproxy makes a running HAProxy obey the table: it is what users' requests go through, and the user's own service
// manager starts it. Release writes one file of its configuration and speaks to its master socket; weights, nodes, drains,
// previews and hosts change through the runtime API, without a reload. A reload, which loses no request either, comes when a
// route's listen address, certificate, conditions or limits change, or when there are more fleets at a time than ever before.
//
// Each edge has a folder:
//
//	release.cfg      what HAProxy reads by a second -f: frontends, backends, servers. It names the map.
//	release-*.map    what is decided at run time, as of one table. The map that release.cfg names has the same table.
//	tls/             links to certificates and keys, and lists of them
//	lock             held (flock) while a table is applied
//
// Replacing release.cfg commits a table: whenever HAProxy reads its configuration anew, whoever made it do so, it serves the
// newest table at once. A worker has the map in memory, under the name of the file that it began with, and all of a table's
// decisions change in it at one instant (prepare, add, commit). Its keys:
//
//	v                 version and digest of the table: what the worker confirms
//	t|N               the table: pieces of base64 of gzip of its canonical JSON
//	h|LISTEN|HOST/…/  route of a host and path; >PORT: sent on to HTTPS
//	w|LISTEN          there are wildcard hosts on this address
//	s|ROUTE           the split: upper bounds of 2^24 and slots, "1677721:1:16777216:2"
//	x|ROUTE|SLOT|N    node of another fleet that a request goes on to when no node of the slot can be reached; 8 of them
//	p|ROUTE|RELEASE   slot of a preview
//	u|ROUTE|N         slot of the rule with condition N
//	b|ROUTE|N         slot of the N-th of 4,096 groups of clients of a sticky route
//	k|ROUTE|TAG       slot of the fleet that a sticky cookie names, while it keeps its sessions
//	g|ROUTE|SLOT      tag of the fleet in the slot, for such cookies
//	a|ROUTE|SLOT      fleet in the slot            these are notes of our own
//	r|ROUTE           name of the route
//	c|ROUTE|N         condition N, as JSON
//	n|BACKEND/SERVER  node in the server, as JSON
//
// A route has an id made of its name and everything about it that a reload must change, so a worker that finishes after a
// reload obeys later tables for the routes that are as they were, and closes connections of the others instead of answering
// by a table of the past.
//
// Each route has slots, backends that a fleet is in while it is in the table (named 1, 2, 4, 8, so that sets of them are sums).
// A slot has servers, which nodes come into and leave: HAProxy 2.6 can add servers at run time, but does not reuse
// connections to such, and removing one that a stream still points to has crashed it. So servers are there from the start, are
// added only when there are too few, and are never removed.
//
// Request path: frontend (listen address) → host and path → client's address → preview, rules, stickiness or weights → slot →
// the less busy of two random servers. When none of them can be reached, the slot's last server leads to a node of another fleet,
// which was chosen with the slot.
package haproxy
