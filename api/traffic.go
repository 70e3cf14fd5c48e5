package api

import (
	"context"
	"net/http"
	"time"
)

// Traffic is what the edges have counted of an app since each of them started, as it was read last. Rates are the
// difference of two readings with the same Instance.
type Traffic struct {
	At    time.Time     `json:"at"`
	Edges []EdgeTraffic `json:"edges"`
}

// EdgeTraffic is one router's part.
type EdgeTraffic struct {
	Edge     string         `json:"edge"`
	Instance string         `json:"instance"` // changes when the counters begin anew
	Routes   []RouteTraffic `json:"routes"`
	Nodes    []NodeTraffic  `json:"nodes"`
	// InFlightUnknown: the router cannot tell what its nodes have in flight, nor what of that is long.
	InFlightUnknown bool `json:"in_flight_unknown,omitempty"`
}

// RouteTraffic counts users' requests, each once.
type RouteTraffic struct {
	Route    string `json:"route"`
	Requests uint64 `json:"requests"`
	Failed   uint64 `json:"failed"`
	Retried  uint64 `json:"retried"`
	NoNode   uint64 `json:"no_node"`
	Rejected uint64 `json:"rejected"`
}

// NodeTraffic counts what a node was sent.
type NodeTraffic struct {
	Fleet    string   `json:"fleet"`
	Node     string   `json:"node"`
	InFlight int      `json:"in_flight"`
	Long     int      `json:"long"`
	Ejected  bool     `json:"ejected"`
	Requests uint64   `json:"requests"`
	Errors   uint64   `json:"errors"`            // 5xx answers, and tries that failed
	Latency  []uint64 `json:"latency,omitempty"` // counts by LatencyBounds, and one for what is beyond; to the end of the answer's header
}

// LatencyBounds are the upper bounds of NodeTraffic.Latency's buckets in seconds: 1 ms to about 65 s, each √2 times the one
// before.
func LatencyBounds() []float64 {
	bounds := make([]float64, 33)
	for i, b := 0, 0.001; i < len(bounds); i, b = i+1, b*1.4142135623730951 {
		bounds[i] = b
	}
	return bounds
}

// Traffic reads what the edges have counted.
func (c *Client) Traffic(ctx context.Context, app App) (t Traffic, err error) {
	return t, c.call(ctx, http.MethodGet, app.path("traffic"), nil, &t)
}
