package alb

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/bootandshoot/release/router"
)

// counts are what CloudWatch said of the groups since the backend began. Its numbers are of whole minutes, come a minute or two
// late, and may still rise for a while; each is counted once.
type counts struct {
	began  time.Time
	asked  time.Time
	groups map[string]map[time.Time]*minute // by name of the group
	nodes  map[leaving]*router.NodeTraffic
	routes map[string]uint64 // requests
}

// minute is what a group did in one.
type minute struct {
	counted map[string]uint64 // of each sum, what is counted already
	value   map[string]float64
}

func newCounts(now time.Time) counts {
	return counts{began: now, groups: map[string]map[time.Time]*minute{}, nodes: map[leaving]*router.NodeTraffic{}, routes: map[string]uint64{}}
}

// late is how long a minute's numbers may still rise.
const late = 5 * time.Minute

// metric is one number of CloudWatch's namespace AWS/ApplicationELB.
type metric struct{ key, name, stat string }

// metrics are those that are read of each group. TargetResponseTime is from when the request leaves the balancer until the target
// begins to answer, in seconds.
func metrics() []metric {
	return []metric{
		{"requests", "RequestCount", "Sum"}, {"5xx", "HTTPCode_Target_5XX_Count", "Sum"}, {"connect", "TargetConnectionErrorCount", "Sum"},
		{"p50", "TargetResponseTime", "p50"}, {"p90", "TargetResponseTime", "p90"}, {"p99", "TargetResponseTime", "p99"},
		{"most", "TargetResponseTime", "Maximum"}, {"mean", "TargetResponseTime", "Average"},
	}
}

// mostQueries of one call.
const mostQueries = 500

// count asks CloudWatch when it is time to. That it does not answer changes nothing for users: it is logged, and asked again.
func (b *Backend) count(ctx context.Context, v *view, rec *record, draining []leaving) {
	c, now := &b.known.counted, b.opts.Now()
	if now.Sub(c.asked) < b.opts.Count {
		return
	}
	from := slices.MaxFunc([]time.Time{c.began, now.Add(-late)}, time.Time.Compare).Truncate(time.Minute)
	var queries []types.MetricDataQuery
	of := map[string][2]string{} // group and metric by id of a query
	for i, name := range sortedKeys(v.groups) {
		for _, m := range metrics() {
			id := fmt.Sprintf("g%d_%s", i, strings.ToLower(m.key))
			of[id] = [2]string{name, m.key}
			queries = append(queries, types.MetricDataQuery{Id: aws.String(id), MetricStat: &types.MetricStat{Period: aws.Int32(60), Stat: aws.String(m.stat),
				Metric: &types.Metric{Namespace: aws.String("AWS/ApplicationELB"), MetricName: aws.String(m.name), Dimensions: []types.Dimension{
					{Name: aws.String("TargetGroup"), Value: aws.String(afterColons(v.groups[name].arn))},
					{Name: aws.String("LoadBalancer"), Value: aws.String(strings.TrimPrefix(afterColons(v.arn), "loadbalancer/"))}}}}})
		}
	}
	c.asked = now
	for part := range slices.Chunk(queries, mostQueries) {
		pages := cloudwatch.NewGetMetricDataPaginator(b.metrics, &cloudwatch.GetMetricDataInput{StartTime: &from, EndTime: &now, MetricDataQueries: part})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				if ctx.Err() == nil {
					b.opts.Log.Warn("no counters of the load balancer", "balancer", b.opts.Balancer, "error", explain("ask CloudWatch", err))
				}
				return
			}
			for _, r := range page.MetricDataResults {
				c.take(of[aws.ToString(r.Id)], r)
			}
		}
	}
	c.share(b.nodes(rec.Table), rec.Table, draining, now)
}

// afterColons is the last part of an ARN.
func afterColons(arn string) string { return arn[strings.LastIndexByte(arn, ':')+1:] }

// take notes the numbers of one metric of one group.
func (c *counts) take(of [2]string, r types.MetricDataResult) {
	group, key := of[0], of[1]
	if group == "" {
		return
	}
	if c.groups[group] == nil {
		c.groups[group] = map[time.Time]*minute{}
	}
	for i, at := range r.Timestamps {
		if i >= len(r.Values) {
			return
		}
		at = at.UTC()
		m := c.groups[group][at]
		if m == nil {
			m = &minute{counted: map[string]uint64{}, value: map[string]float64{}}
			c.groups[group][at] = m
		}
		m.value[key] = r.Values[i]
	}
}

// more is by how much a sum has risen since it was counted last.
func (m *minute) more(key string) uint64 {
	now := uint64(max(0, m.value[key]))
	before := m.counted[key]
	if now <= before {
		return 0
	}
	m.counted[key] = now
	return now - before
}

// share gives what is new to the nodes of each group in equal parts: CloudWatch does not know nodes.
func (c *counts) share(nodes func(func(leaving) bool), t router.Table, draining []leaving, now time.Time) {
	members := map[string][]leaving{}
	for n := range nodes {
		if !slices.Contains(members[n.Group], n) {
			members[n.Group] = append(members[n.Group], n)
		}
	}
	for _, n := range draining {
		if len(members[n.Group]) == 0 {
			members[n.Group] = append(members[n.Group], n)
		}
	}
	routes := routesOf(t)
	for group, minutes := range c.groups {
		for _, at := range sortedMinutes(minutes) {
			if len(members[group]) > 0 {
				c.add(members[group], minutes[at], routes)
			}
			if now.Sub(at) > 2*late {
				delete(minutes, at)
			}
		}
	}
}

// routesOf are the routes of fleets.
func routesOf(t router.Table) map[string]string {
	of := map[string]string{}
	for _, r := range t.Routes {
		for _, f := range r.Fleets {
			if of[f.ID] == "" {
				of[f.ID] = r.Name
			}
		}
	}
	return of
}

// add counts a minute's news for the nodes of a group.
func (c *counts) add(nodes []leaving, m *minute, routes map[string]string) {
	requests, fives, connect := m.more("requests"), m.more("5xx"), m.more("connect")
	if route := routes[nodes[0].Fleet]; route != "" {
		c.routes[route] += requests
	}
	latency := spread(requests, m)
	for i, n := range nodes {
		t := c.nodes[n]
		if t == nil {
			t = &router.NodeTraffic{Fleet: n.Fleet, Node: n.Node}
			c.nodes[n] = t
		}
		own := part(requests, i, len(nodes))
		t.Requests += own
		t.Status5x += part(fives, i, len(nodes))
		t.Connect += part(connect, i, len(nodes))
		if own == 0 {
			continue
		}
		if t.Latency.Counts == nil {
			t.Latency.Counts = make([]uint64, len(router.LatencyBounds())+1)
		}
		for bucket, k := range latency {
			t.Latency.Counts[bucket] += part(k, i, len(nodes))
		}
		t.Latency.Sum += float64(own) * m.value["mean"]
	}
}

// part is the i-th of n parts of a whole, which differ by 1 at most.
func part(whole uint64, i, n int) uint64 {
	p := whole / uint64(n)
	if uint64(i) < whole%uint64(n) {
		p++
	}
	return p
}

// spread estimates the buckets of n latencies from percentiles: all up to a percentile count as it, so it errs on the slow side.
func spread(n uint64, m *minute) map[int]uint64 {
	out := map[int]uint64{}
	if n == 0 {
		return out
	}
	bounds := router.LatencyBounds()
	below := uint64(0)
	for _, p := range []struct {
		key  string
		upTo uint64
	}{{"p50", n / 2}, {"p90", n * 9 / 10}, {"p99", n * 99 / 100}, {"most", n}} {
		out[sort.SearchFloat64s(bounds, m.value[p.key])] += p.upTo - below
		below = p.upTo
	}
	return out
}

// fill puts the counters into an edge, for the nodes of the table and those that drain.
func (c *counts) fill(e *router.Edge, t router.Table, nodes func(func(leaving) bool), draining []leaving) {
	for _, r := range t.Routes {
		e.Routes = append(e.Routes, router.RouteTraffic{Route: r.Name, Requests: c.routes[r.Name]})
	}
	seen := map[leaving]bool{}
	add := func(n leaving, inFlight int) {
		if seen[n] {
			return
		}
		seen[n] = true
		traffic := router.NodeTraffic{Fleet: n.Fleet, Node: n.Node}
		if counted := c.nodes[n]; counted != nil {
			traffic = *counted
			traffic.Latency.Counts = slices.Clone(counted.Latency.Counts)
		}
		traffic.InFlight = inFlight
		e.Nodes = append(e.Nodes, traffic)
	}
	for n := range nodes {
		add(n, 0)
	}
	for _, n := range draining {
		add(n, 1)
	}
	for n := range c.nodes {
		if !seen[n] {
			delete(c.nodes, n)
		}
	}
	slices.SortFunc(e.Nodes, byNode)
}
