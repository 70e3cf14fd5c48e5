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

// Waiting is the error of a table whose nodes cannot take requests yet. It is not in effect, and neither will it be: it is applied
// again, or others without what waits.
type Waiting struct {
	Routes []string // names
	Err    error    // for what
}

// Error says for what.
func (w *Waiting) Error() string { return w.Err.Error() }

// Unwrap is for errors.Is.
func (w *Waiting) Unwrap() error { return w.Err }

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
	Schema  int       `json:"schema"`
	Version Version   `json:"version"`
	Routes  []Route   `json:"routes"`            // sorted by name
	Closing []Closing `json:"closing,omitempty"` // sorted by node
	Failed  []Failed  `json:"failed,omitempty"`  // sorted by node; those that the routes name are not meant
}

// Failed says that a node left the table because it failed: who waits for it might wait for ever, as a host whose line is cut says
// nothing. A node that is not named drains, and is left to finish. Of a request there nothing of whose answer has come:
//
//   - a safe one (RFC 9110, 9.2.1) goes to another node that is free for it, within the route's budget of retries; else it stays;
//   - where the node is Gone, one that may be repeated goes to another node, and any other is answered 502 at once.
//
// Answers under way and long connections stay as they are. A backend that cannot take requests back leaves them all where they are.
type Failed struct {
	Fleet string `json:"fleet"`
	Node  string `json:"node"`
	// Gone: it is dead, or its host is out of sight too. Else it may still work on what it has, however badly it answers probes.
	Gone bool `json:"gone,omitempty"`
}

// Closing asks the edges to end the long connections of a node that left the table: in order (WebSocket close 1001, end of
// an event stream), each at a time of its own within the given one, so that their clients do not come back all at once.
type Closing struct {
	Fleet  string        `json:"fleet"`
	Node   string        `json:"node"`
	Within time.Duration `json:"within"` // in nanoseconds
}

// Protocol is what a route's users speak.
type Protocol string

const (
	HTTP Protocol = ""    // HTTP/1.0, HTTP/1.1, h2, and WebSocket over them
	TCP  Protocol = "tcp" // connections are split, their bytes passed on
)

// Backend protocols: what a route's nodes speak.
const (
	NodeHTTP1 = ""    // HTTP/1.1
	NodeH2C   = "h2c" // HTTP/2 without TLS, as gRPC servers speak it
)

// Route is one entry that users reach, and how its requests are split. Among the routes of one listen address the
// longest matching path of the most specific matching host wins.
type Route struct {
	Name     string   `json:"name"`                // app/env/role
	Protocol Protocol `json:"protocol,omitempty"`  // the same for all routes of a listen address
	Listen   string   `json:"listen"`              // "host:port" or ":port" (loopback and all addresses alike, as in net.Listen)
	Hosts    []string `json:"hosts,omitempty"`     // exact names or "*.example"; none: every host
	Paths    []string `json:"paths,omitempty"`     // path prefixes on segment borders; none: "/"
	TLS      *TLS     `json:"tls,omitempty"`       // nil: plain
	Nodes    string   `json:"node_http,omitempty"` // NodeHTTP1 or NodeH2C
	Preview  Preview  `json:"preview"`             // who may choose a release by the header X-Release
	Trusted  []string `json:"trusted,omitempty"`   // networks (CIDR) of proxies in front, whose word for the client is taken
	// ProxyProtocol: connections from Trusted begin with a PROXY protocol header, version 1 or 2. The same for all routes
	// of a listen address.
	ProxyProtocol bool    `json:"proxy_protocol,omitempty"`
	Rules         []Rule  `json:"rules,omitempty"`  // in order, before the weights
	Sticky        *Sticky `json:"sticky,omitempty"` // nil: every request is split by itself
	Balance       Balance `json:"balance"`
	Fleets        []Fleet `json:"fleets,omitempty"` // sorted by id
}

// TLS says which certificate a route has: one from files (PEM), read again when they change, or one that is got by ACME.
type TLS struct {
	Cert string `json:"cert,omitempty"`
	Key  string `json:"key,omitempty"`
	ACME *ACME  `json:"acme,omitempty"`
	// Redirect is a listen address where plain HTTP requests for the route's hosts are sent on to HTTPS; "": none.
	Redirect string        `json:"redirect,omitempty"`
	HSTS     time.Duration `json:"hsts,omitempty"`      // Strict-Transport-Security's max-age; 0: not sent
	ClientCA string        `json:"client_ca,omitempty"` // PEM file: clients must show a certificate of it. The same for all routes of a listen address.
}

// ACME gets certificates for the route's hosts from a certificate authority (RFC 8555), by TLS-ALPN-01 on the route's own
// port and by HTTP-01 on Redirect's.
type ACME struct {
	Email     string `json:"email,omitempty"`
	Directory string `json:"directory,omitempty"` // URL; "": the client library's default
	RootCA    string `json:"root_ca,omitempty"`   // PEM file that the directory's own certificate is checked with; "": the system's
}

// Preview says whose X-Release header is obeyed: requests from one of the networks (CIDR; the client's address, which only
// Trusted proxies may tell), or with a header X-Release-Key whose SHA-256 is KeySHA256 (hex). Anybody else's is ignored.
type Preview struct {
	From      []string `json:"from,omitempty"`
	KeySHA256 string   `json:"key_sha256,omitempty"`
}

// Rule sends requests to a fleet whatever the weights are. All conditions that are set must hold. A rule whose fleet is not
// in the table, or has no node that can take the request, is passed over.
type Rule struct {
	Headers map[string]string `json:"headers,omitempty"` // by canonical name; "" as value: any, but present
	Cookies map[string]string `json:"cookies,omitempty"` // the same
	Paths   []string          `json:"paths,omitempty"`   // prefixes on segment borders; one of them
	From    []string          `json:"from,omitempty"`    // networks (CIDR); one of them
	Fleet   string            `json:"fleet"`             // id
}

// StickyBy is what makes a client the same one in two requests.
type StickyBy string

const (
	StickyCookie  StickyBy = "cookie"         // a signed cookie of the router's own
	StickyHeader  StickyBy = "header"         // a header's value; a request without it is split by itself
	StickyAddress StickyBy = "client-address" // an IPv4 address, or the /64 of an IPv6 one
)

// Sticky keeps a client on its fleet. Clients are spread over the fleets by a weighted rendezvous hash, so that a share that
// grows takes clients from those that shrink and moves nobody else.
// [Schindelhauer, Schomaker: Weighted Distributed Hash Tables, SPAA 2005]
type Sticky struct {
	By     StickyBy `json:"by"`
	Header string   `json:"header,omitempty"` // canonical name, for StickyHeader
	Cookie string   `json:"cookie,omitempty"` // name, for StickyCookie
	Key    string   `json:"key,omitempty"`    // hex, 32 bytes: signs the cookie (HMAC-SHA-256). The same at all edges.
	// MaxAge of the cookie, renewed when half of it is over; 0: until the browser ends.
	MaxAge time.Duration `json:"max_age,omitempty"`
}

// Balance is how a fleet's nodes share its requests. Zero values are the defaults.
type Balance struct {
	// SlowStart is how long a node that joins a serving fleet takes to get its full share; 0: at once.
	SlowStart time.Duration `json:"slow_start,omitempty"`
	// EjectAfter is how many failures in a row (5xx, broken or timed out answers) take a node out for a while; 0: none do.
	// Connections that cannot be made always do. Never more than half of a fleet is out at a time for failures.
	EjectAfter int `json:"eject_after,omitempty"`
	// MaxInFlight is how many requests a node gets at a time; more wait, in order of arrival. 0: no limit.
	MaxInFlight int           `json:"max_in_flight,omitempty"`
	MaxQueue    int           `json:"max_queue,omitempty"`  // requests that wait for a fleet's nodes; more are 503 at once. 0: 1,024
	QueueWait   time.Duration `json:"queue_wait,omitempty"` // then 503. 0: 5 s
	Timeout     time.Duration `json:"timeout,omitempty"`    // to the end of an answer's header; 0: the edge's own setting
	// HedgeAfter is how long a safe request without a body waits for the header of its answer until it goes to a second node of its fleet as well;
	// the first answer counts. It comes out of the budget for retries. 0: never.
	HedgeAfter time.Duration `json:"hedge_after,omitempty"`
}

// Fleet is one target of a route's split.
type Fleet struct {
	ID      string `json:"id"`      // fleet.FleetID in text form
	Release string `json:"release"` // what X-Release names, "r8"
	// Weight is the fleet's share in units; the share is Weight over the sum of all fleets of the route. 0: no
	// requests but previews, sessions and, with Standby, spilled ones.
	Weight int `json:"weight"`
	// Standby lets a fleet of weight 0 take requests that no weighted fleet can: a warm old fleet.
	Standby bool `json:"standby,omitempty"`
	// Sessions: clients whose sticky cookie names this fleet stay on it whatever the weights are.
	Sessions bool   `json:"sessions,omitempty"`
	Nodes    []Node `json:"nodes,omitempty"` // those that may get new requests; sorted by name
}

// Node is one address. A node that leaves the table gets no new requests, finishes those it has, and is
// reported by Observe until it has none.
type Node struct {
	Name    string `json:"name"`
	Address string `json:"address"` // ip:port
}

// Observation is what the edges saw since each of them started.
type Observation struct {
	At    time.Time `json:"at"` // what they saw is no older; a backend that takes long to look may answer with its look of before
	Edges []Edge    `json:"edges"`
}

// Edge is one router process. Counters rise from 0 at its start; Instance changes with each start, and a successor after
// an upgrade carries its predecessor's counters on.
type Edge struct {
	ID        string          `json:"id"` // stable name of the edge
	Host      string          `json:"host,omitempty"`
	Instance  string          `json:"instance"`  // changes when counters begin anew
	Confirmed Version         `json:"confirmed"` // the table it serves
	PID       int             `json:"pid"`
	Routes    []RouteTraffic  `json:"routes,omitempty"`
	Nodes     []NodeTraffic   `json:"nodes,omitempty"` // nodes in the table, and others until they are empty and what they counted last was read
	Listeners []ListenerState `json:"listeners,omitempty"`
	// Silent is when an edge was heard of last that does not answer now; zero: it answers. All else is what it said then: it
	// may still serve that table, and Nodes names every node that it may send requests to.
	Silent time.Time `json:"silent,omitzero"`
	// InFlightUnknown: InFlight of a node says no more than whether something may be left there, and Long says nothing.
	InFlightUnknown bool `json:"in_flight_unknown,omitempty"`
}

// ListenerState is one listen address and why it does not serve, if so.
type ListenerState struct {
	Listen string `json:"listen"`
	Error  string `json:"error,omitempty"`
	// Warning is what a person should do something about while it still serves: a certificate that ends soon or does not load.
	Warning string `json:"warning,omitempty"`
}

// RouteTraffic counts what is not any node's.
type RouteTraffic struct {
	Route    string `json:"route"`
	NoNode   uint64 `json:"no_node"`  // requests that found no node at all (503)
	Requests uint64 `json:"requests"` // requests from users, each once however often it was tried
	Retried  uint64 `json:"retried"`  // repeated on another node, or sent to a second one (HedgeAfter)
	Failed   uint64 `json:"failed"`   // answered 502, 503 or 504 by the router itself, or cut in the middle
	Rejected uint64 `json:"rejected"` // refused for a body that is malformed or a head that is too large for the node (4xx of the router itself)
}

// NodeTraffic counts one node's part.
type NodeTraffic struct {
	Fleet    string    `json:"fleet"`
	Node     string    `json:"node"`
	InFlight int       `json:"in_flight"` // requests, long connections included
	Long     int       `json:"long"`      // of those: WebSockets and the like, event streams, gRPC streams; and TCP connections
	Ejected  bool      `json:"ejected"`   // gets no requests for a while, because of its failures
	Requests uint64    `json:"requests"`  // sent to it
	Status5x uint64    `json:"status_5xx"`
	Connect  uint64    `json:"failed_connect"` // no connection could be made
	Reset    uint64    `json:"failed_reset"`   // the connection broke before or within the answer
	Timeout  uint64    `json:"failed_timeout"`
	Cut      uint64    `json:"cut"` // long connections that the router ended
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
	// afterwards is routed by it; silent edges are not waited for. ErrStale for an older version, or for the same version with other bytes; the same
	// table again is success. A table that cannot be served at all (a port that is taken, a certificate that does not
	// load) is refused whole with a *fault.Error that names the route, and the old one goes on. *Waiting: nodes cannot take
	// requests yet, and the old one goes on meanwhile. ErrUnavailable, or the end of ctx: it may be in effect, now or later;
	// the caller applies it again, or a newer one, or reads Applied.
	Apply(ctx context.Context, t Table) error
	// Applied reads the table back, or ErrNoTable.
	Applied(ctx context.Context) (Table, error)
	// Observe reads what each edge serves and saw. An edge that does not answer is silent where the backend keeps a record
	// of its edges, and missing where it keeps none.
	Observe(ctx context.Context) (Observation, error)
}

// Abandoner is implemented by backends that prepare nodes for a table of which Apply says *Waiting.
type Abandoner interface {
	// Abandon says that no such table is applied any more for the sake of these routes, by name: what was prepared for one and is in no
	// table that is in effect is undone. It may be repeated. After an error it is undone later, by the backend itself.
	Abandon(ctx context.Context, routes []string) error
}

// Prechecker is implemented by backends that can say before a fleet is booted why its route could not be served.
type Prechecker interface {
	// Precheck changes nothing. Its error says what stands in the way now: an address that is another program's
	// (fault.Exists) or may not be listened on (fault.Denied), files of a certificate that do not load (fault.Invalid). That
	// two routes of a table do not fit is for Table.Validate to say. What cannot be told is no error.
	Precheck(ctx context.Context, r Route) error
}
