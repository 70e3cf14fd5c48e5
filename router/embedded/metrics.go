package embedded

import (
	"context"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/bootandshoot/release/router"
)

// metricsHandler serves Prometheus text out of the same counters as Observe, so that requests pay for counting once.
func (p *process) metricsHandler() http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(newCollector(p))
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
}

// collector turns a snapshot into metrics at each scrape.
type collector struct {
	p *process

	requests, failures, duration, inFlight, cut *prometheus.Desc // by fleet
	long, ejected                               *prometheus.Desc // by fleet
	routeRequests, retries, noNode, failed      *prometheus.Desc // by route
	routeRejected, queued                       *prometheus.Desc // by route
	rejected                                    *prometheus.Desc // by reason
	weight, nodes                               *prometheus.Desc // of the table
	connections, epoch, seq                     *prometheus.Desc // of the process
}

func newCollector(p *process) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("release_router_"+name, help, labels, nil)
	}
	fleet := func(more ...string) []string { return append([]string{"route", "fleet", "release"}, more...) }
	return &collector{
		p:             p,
		requests:      desc("requests_total", "Answers of nodes, by class of the status code.", fleet("code")...),
		failures:      desc("node_failures_total", "Tries that failed at a node, by cause.", fleet("cause")...),
		duration:      desc("request_duration_seconds", "From a request's arrival to the end of its answer's header.", fleet()...),
		inFlight:      desc("in_flight_requests", "Requests that nodes have, long connections included.", "fleet"),
		cut:           desc("cut_connections_total", "Long connections that the router ended.", "fleet"),
		long:          desc("long_connections", "WebSockets, event streams, gRPC streams and TCP connections.", "fleet"),
		ejected:       desc("ejected_nodes", "Nodes that get no requests for a while because of their failures.", "fleet"),
		routeRejected: desc("route_rejected_total", "Requests refused after their route was found, as malformed or too large for the node.", "route"),
		queued:        desc("queued_requests", "Requests that wait for a node that may take one more.", "route"),
		rejected:      desc("rejected_total", "Requests and connections refused for what the client sent, by reason.", "reason"),
		routeRequests: desc("route_requests_total", "Requests from users, each once.", "route"),
		retries:       desc("retries_total", "Requests repeated on another node, or hedged.", "route"),
		noNode:        desc("no_node_total", "Requests that found no node.", "route"),
		failed:        desc("failed_total", "Requests that the router answered 502, 503 or 504 itself, or that were cut.", "route"),
		weight:        desc("fleet_weight", "Weight of the fleet in the applied table.", fleet()...),
		nodes:         desc("fleet_nodes", "Nodes of the fleet in the applied table.", fleet()...),
		connections:   desc("connections", "Connections from clients."),
		epoch:         desc("table_epoch", "Epoch of the applied table."),
		seq:           desc("table_seq", "Sequence number of the applied table within its epoch."),
	}
}

// Describe sends nothing: which series there are depends on the table.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics of this moment.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s := c.p.total(context.Background())
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, f := range s.Fleets {
		for class := 1; class < len(f.Codes); class++ {
			count(c.requests, f.Codes[class], f.Route, f.Fleet, f.Release, strconv.Itoa(class)+"xx")
		}
		count(c.failures, f.Connect, f.Route, f.Fleet, f.Release, "connect")
		count(c.failures, f.Reset, f.Route, f.Fleet, f.Release, "reset")
		count(c.failures, f.Timeout, f.Route, f.Fleet, f.Release, "timeout")
		out <- durationMetric(c.duration, f)
	}
	for _, r := range s.Edge.Routes {
		count(c.routeRequests, r.Requests, r.Route)
		count(c.retries, r.Retried, r.Route)
		count(c.noNode, r.NoNode, r.Route)
		count(c.failed, r.Failed, r.Route)
		count(c.routeRejected, r.Rejected, r.Route)
	}
	for route, n := range c.p.e.queued() {
		gauge(c.queued, float64(n), route)
	}
	for reason, n := range s.Rejected {
		count(c.rejected, n, reason)
	}
	inFlight, cut := map[string]int{}, map[string]uint64{}
	long, ejected := map[string]int{}, map[string]int{}
	for _, n := range s.Edge.Nodes {
		inFlight[n.Fleet] += n.InFlight
		cut[n.Fleet] += n.Cut
		long[n.Fleet] += n.Long
		if n.Ejected {
			ejected[n.Fleet]++
		}
	}
	for fleet, n := range inFlight {
		gauge(c.inFlight, float64(n), fleet)
		count(c.cut, cut[fleet], fleet)
		gauge(c.long, float64(long[fleet]), fleet)
		gauge(c.ejected, float64(ejected[fleet]), fleet)
	}
	gauge(c.connections, float64(s.Connections))
	if t, err := c.p.e.applied(); err == nil {
		c.table(t, gauge)
	}
}

func (c *collector) table(t router.Table, gauge func(*prometheus.Desc, float64, ...string)) {
	gauge(c.epoch, float64(t.Version.Epoch))
	gauge(c.seq, float64(t.Version.Seq))
	for _, r := range t.Routes {
		for _, f := range r.Fleets {
			gauge(c.weight, float64(f.Weight), r.Name, f.ID, f.Release)
			gauge(c.nodes, float64(len(f.Nodes)), r.Name, f.ID, f.Release)
		}
	}
}

func durationMetric(d *prometheus.Desc, f fleetCount) prometheus.Metric {
	buckets := map[float64]uint64{}
	var sum uint64
	for i, bound := range router.LatencyBounds() {
		if i < len(f.Latency.Counts) {
			sum += f.Latency.Counts[i]
		}
		buckets[bound] = sum
	}
	if n := len(f.Latency.Counts); n > len(buckets) {
		sum += f.Latency.Counts[n-1]
	}
	return prometheus.MustNewConstHistogram(d, sum, f.Latency.Sum, buckets, f.Route, f.Fleet, f.Release)
}
