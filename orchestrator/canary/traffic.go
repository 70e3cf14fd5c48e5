package canary

import (
	"math"
	"time"

	"github.com/bootandshoot/release/router"
)

// Traffic is what the requests of one fleet came to over some time.
type Traffic struct {
	Requests uint64   `json:"requests"`
	Errors   uint64   `json:"errors"`            // 5xx answers of nodes, and connections that failed or broke
	Latency  []uint64 `json:"latency,omitempty"` // by bucket of router.LatencyBounds
}

// Since is what was counted after the earlier reading. Counters that began anew count from 0.
func (t Traffic) Since(from Traffic) Traffic {
	if t.Requests < from.Requests || t.Errors < from.Errors || len(t.Latency) < len(from.Latency) {
		return t
	}
	d := Traffic{Requests: t.Requests - from.Requests, Errors: t.Errors - from.Errors}
	for i, n := range t.Latency {
		if i < len(from.Latency) {
			n -= min(n, from.Latency[i])
		}
		d.Latency = append(d.Latency, n)
	}
	return d
}

// Plus is the sum; neither summand is changed.
func (t Traffic) Plus(u Traffic) Traffic {
	sum := Traffic{Requests: t.Requests + u.Requests, Errors: t.Errors + u.Errors}
	sum.Latency = make([]uint64, max(len(t.Latency), len(u.Latency)))
	copy(sum.Latency, t.Latency)
	for i, n := range u.Latency {
		sum.Latency[i] += n
	}
	return sum
}

// Quantile is an upper bound of the q-quantile of the latencies: the bound of the bucket that holds it, 0 without any.
func (t Traffic) Quantile(q float64) time.Duration {
	i, _ := t.bucket(q)
	if i < 0 {
		return 0
	}
	bounds := router.LatencyBounds()
	return seconds(bounds[min(i, len(bounds)-1)])
}

// between is the q-quantile, interpolated within its bucket; 0 without any.
func (t Traffic) between(q float64) time.Duration {
	i, part := t.bucket(q)
	if i < 0 {
		return 0
	}
	bounds := router.LatencyBounds()
	upper := bounds[min(i, len(bounds)-1)]
	return seconds(upper / math.Pow(math.Sqrt2, 1-part))
}

// bucket is the bucket that holds the q-quantile, and which part of its count lies below it; -1 without any.
func (t Traffic) bucket(q float64) (i int, part float64) {
	var total, seen uint64
	for _, n := range t.Latency {
		total += n
	}
	if total == 0 {
		return -1, 0
	}
	for i, n := range t.Latency {
		if n > 0 && float64(seen+n) >= q*float64(total) {
			return i, min(1, max(0, (q*float64(total)-float64(seen))/float64(n)))
		}
		seen += n
	}
	return len(t.Latency) - 1, 1
}

// slower counts the requests in buckets above one, and all.
func (t Traffic) slower(bucket int) (slow, all uint64) {
	for i, n := range t.Latency {
		all += n
		if i > bucket {
			slow += n
		}
	}
	return slow, all
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// rate is the share of requests that failed, 0…1.
func (t Traffic) rate() float64 {
	if t.Requests == 0 {
		return 0
	}
	return min(1, float64(t.Errors)/float64(t.Requests))
}
