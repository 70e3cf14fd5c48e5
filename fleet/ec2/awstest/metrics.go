package awstest

import (
	"math"
	"slices"
	"strings"
	"time"
)

// Sample is one request that a target group's targets answered.
type Sample struct {
	At      time.Time
	Status  int // 0: no connection could be made
	Seconds float64
}

// Count adds what a target group did, as if users had asked it.
func (s *Server) Count(region, group string, samples ...Sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.region(region).balancing.groups {
		if g.arn == group || g.name == group {
			g.samples = append(g.samples, samples...)
		}
	}
}

// metricQuery is one of GetMetricData.
type metricQuery struct {
	id, namespace, metric, stat string
	period                      int
	dimensions                  map[string]string
}

type metricResult struct {
	id     string
	times  []time.Time
	values []float64
}

// answerMetric is a metric over whole periods, newest first, as the service orders them. A metric that nothing was counted of has none.
func (r *region) answerMetric(q metricQuery, from, to time.Time) (metricResult, *Fault) {
	out := metricResult{id: q.id}
	if q.period < 60 || q.period%60 != 0 || q.namespace == "" || q.metric == "" || q.stat == "" {
		return out, elbFault("ValidationError", "The metric of query '%s' is not valid", q.id)
	}
	period := time.Duration(q.period) * time.Second
	by := map[time.Time][]float64{}
	for _, g := range r.balancing.groups {
		if q.namespace != "AWS/ApplicationELB" || q.dimensions["TargetGroup"] != g.arn[strings.LastIndexByte(g.arn, ':')+1:] || !r.ofBalancer(g, q.dimensions["LoadBalancer"]) {
			continue
		}
		for _, s := range g.samples {
			at := s.At.UTC().Truncate(period)
			if v, counts := s.value(q.metric); counts && !at.Before(from) && at.Before(to) {
				by[at] = append(by[at], v)
			}
		}
	}
	for at, values := range by {
		slices.Sort(values)
		if _, known := statistic(q.stat, values); !known {
			return out, elbFault("ValidationError", "The statistic '%s' is not valid", q.stat)
		}
		out.times = append(out.times, at)
	}
	slices.SortFunc(out.times, func(a, b time.Time) int { return b.Compare(a) })
	for _, at := range out.times {
		v, _ := statistic(q.stat, by[at])
		out.values = append(out.values, v)
	}
	return out, nil
}

// ofBalancer is whether a balancer forwards to the group; what was counted stays when that ends.
func (r *region) ofBalancer(g *targetGroup, name string) bool {
	for _, b := range r.balancing.balancers {
		if strings.HasSuffix(b.arn, "loadbalancer/"+name) {
			return true
		}
	}
	return false
}

// value is what a request adds to a metric.
func (s Sample) value(metric string) (float64, bool) {
	switch metric {
	case "RequestCount":
		return 1, s.Status != 0
	case "HTTPCode_Target_5XX_Count":
		return 1, s.Status/100 == 5
	case "TargetConnectionErrorCount":
		return 1, s.Status == 0
	case "TargetResponseTime":
		return s.Seconds, s.Status != 0
	}
	return 0, false
}

// statistic of sorted values; false: there is no such one.
func statistic(name string, values []float64) (float64, bool) {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	at := map[string]float64{"p50": .5, "p90": .9, "p99": .99}
	switch q, percentile := at[name]; {
	case name == "Sum":
		return sum, true
	case name == "Average":
		return sum / float64(len(values)), true
	case name == "Maximum":
		return values[len(values)-1], true
	case percentile:
		return values[max(0, int(math.Ceil(q*float64(len(values))))-1)], true
	}
	return 0, false
}
