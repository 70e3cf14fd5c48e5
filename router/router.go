// Package router is the contract between the orchestrator and the routing layer: a whole table is applied at once,
// durable and effective when Apply returns, and what the edges saw is read back.
//
// A table is a value. Its version is (epoch, seq): the epoch rises by compare-and-set at each leadership of an agent,
// seq counts within it. A backend refuses older versions, so a stale agent cannot take traffic back.
package router

import (
	"cmp"
	"context"
	"errors"
	"time"
)

var (
	// ErrStale: the backend has a newer table, or the same version with other bytes. The caller reads Applied.
	ErrStale = errors.New("router: a newer table is applied")
	// ErrUnavailable: the backend does not answer; what it serves is unknown but goes on.
	ErrUnavailable = errors.New("router: backend is unavailable")
	// ErrNoTable: nothing was ever applied.
	ErrNoTable = errors.New("router: no table applied yet")
)

// Schema is the version of the table's wire and disk format.
const Schema = 1

// Version orders tables.
type Version struct {
	Epoch uint64 `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// Compare is -1, 0 or 1 as v is older than, the same as or newer than w.
func (v Version) Compare(w Version) int {
	if c := cmp.Compare(v.Epoch, w.Epoch); c != 0 {
		return c
	}
	return cmp.Compare(v.Seq, w.Seq)
}

// Table is all routes of a router as one whole.
type Table struct {
	Schema  int     `json:"schema"`
	Version Version `json:"version"`
	Routes  []Route `json:"routes"` // sorted by name
}

// Route is one entry that users reach, and how its requests are split. Among the routes of one listen address the
// longest matching path of the most specific matching host wins.
type Route struct {
	Name    string   `json:"name"`             // app/env/role
	Listen  string   `json:"listen"`           // "host:port" or ":port" (loopback and all addresses alike, as in net.Listen)
	Hosts   []string `json:"hosts,omitempty"`  // exact names or "*.example"; none: every host
	Paths   []string `json:"paths,omitempty"`  // path prefixes on segment borders; none: "/"
	TLS     *TLS     `json:"tls,omitempty"`    // nil: plain HTTP
	Preview Preview  `json:"preview"`          // who may choose a release by the header X-Release
	Fleets  []Fleet  `json:"fleets,omitempty"` // sorted by id
}

// TLS is a certificate from files (PEM). They are read again when they change.
type TLS struct {
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// Preview says whose X-Release header is obeyed: requests from one of the networks (CIDR; the peer's address, no
// forwarded header), or with a header X-Release-Key whose SHA-256 is KeySHA256 (hex). Anybody else's is ignored.
type Preview struct {
	From      []string `json:"from,omitempty"`
	KeySHA256 string   `json:"key_sha256,omitempty"`
}

// Fleet is one target of a route's split.
type Fleet struct {
	ID      string `json:"id"`      // fleet.FleetID in text form
	Release string `json:"release"` // what X-Release names, "r8"
	// Weight is the fleet's share in units; the share is Weight over the sum of all fleets of the route. 0: no
	// requests but previews and, with Standby, spilled ones.
	Weight int `json:"weight"`
	// Standby lets a fleet of weight 0 take requests that no weighted fleet can: a warm old fleet.
	Standby bool   `json:"standby,omitempty"`
	Nodes   []Node `json:"nodes,omitempty"` // those that may get new requests; sorted by name
}

// Node is one address. A node that leaves the table gets no new requests, finishes those it has, and is
// reported by Observe until it has none.
type Node struct {
	Name    string `json:"name"`
	Address string `json:"address"` // ip:port
}

// Observation is what the edges saw since each of them started.
type Observation struct {
	At    time.Time `json:"at"`
	Edges []Edge    `json:"edges"`
}

// Edge is one router process. Counters rise from 0 at its start; Instance changes with each start, and a successor after
// an upgrade carries its predecessor's counters on.
type Edge struct {
	ID        string          `json:"id"`        // stable name of the edge
	Instance  string          `json:"instance"`  // changes when counters begin anew
	Confirmed Version         `json:"confirmed"` // the table it serves
	PID       int             `json:"pid"`
	Routes    []RouteTraffic  `json:"routes,omitempty"`
	Nodes     []NodeTraffic   `json:"nodes,omitempty"` // nodes in the table, and others until they are empty
	Listeners []ListenerState `json:"listeners,omitempty"`
}

// ListenerState is one listen address and why it does not serve, if so.
type ListenerState struct {
	Listen string `json:"listen"`
	Error  string `json:"error,omitempty"`
}

// RouteTraffic counts what is not any node's.
type RouteTraffic struct {
	Route    string `json:"route"`
	NoNode   uint64 `json:"no_node"`  // requests that found no node at all (503)
	Requests uint64 `json:"requests"` // requests from users, each once however often it was tried
	Retried  uint64 `json:"retried"`  // repeated on another node
	Failed   uint64 `json:"failed"`   // answered 502, 503 or 504 by the router itself, or cut in the middle
}

// NodeTraffic counts one node's part.
type NodeTraffic struct {
	Fleet    string    `json:"fleet"`
	Node     string    `json:"node"`
	InFlight int       `json:"in_flight"` // requests, WebSockets included
	Requests uint64    `json:"requests"`  // sent to it
	Status5x uint64    `json:"status_5xx"`
	Connect  uint64    `json:"failed_connect"` // no connection could be made
	Reset    uint64    `json:"failed_reset"`   // the connection broke before or within the answer
	Timeout  uint64    `json:"failed_timeout"`
	Cut      uint64    `json:"cut"` // upgraded connections that the router ended
	Latency  Histogram `json:"latency"`
}

// LatencyBounds are the upper bounds of Histogram's buckets in seconds, but for the last bucket, which has none:
// 1 ms to about 65 s, each √2 times the one before.
func LatencyBounds() []float64 {
	bounds := make([]float64, 33)
	for i, b := 0, 0.001; i < len(bounds); i, b = i+1, b*1.4142135623730951 {
		bounds[i] = b
	}
	return bounds
}

// Histogram counts latencies from the request's arrival to the end of its answer's header.
type Histogram struct {
	Counts []uint64 `json:"counts,omitempty"` // len(LatencyBounds())+1, or empty for none
	Sum    float64  `json:"sum"`              // seconds
}

// Backend is the contract.
type Backend interface {
	// Apply makes the table durable, then effective, then returns: every request that arrives at a live edge
	// afterwards is routed by it. ErrStale for an older version, or for the same version with other bytes; the same
	// table again is success. A table that cannot be served at all (a port that is taken, a certificate that does not
	// load) is refused whole with a *fault.Error that names the route, and the old one goes on.
	Apply(ctx context.Context, t Table) error
	// Applied reads the table back, or ErrNoTable.
	Applied(ctx context.Context) (Table, error)
	// Observe reads what each edge serves and saw. An edge that does not answer is missing.
	Observe(ctx context.Context) (Observation, error)
}
