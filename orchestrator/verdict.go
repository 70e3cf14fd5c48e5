package orchestrator

import (
	"fmt"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
	"github.com/bootandshoot/release/router"
)

// verdict judges the fleet that an operation moves traffic to: nil while there is nothing against it. A rollback is not
// judged: it is the way out.
func (r *round) verdict(op *Operation, fl *Fleet) *Failure {
	if op.Kind == KindRollback || fl.Accessory || len(op.way(fl)) == 0 {
		return nil // with no other fleet there is nowhere to go back to
	}
	hint := "release logs shows what the nodes said; mend the release and launch again"
	if fl.healthy() == 0 && !op.Force {
		return &Failure{Code: fault.RolledBack, Hint: hint, Logs: fl.Tails,
			Message: fmt.Sprintf("cut over to %s: no node of it is healthy any more", r.s.nameOf(fl))}
	}
	rule := r.s.configOf(fl).Cutover.AbortOn
	if rule == nil {
		return nil
	}
	fresh, old := r.stepTraffic(op, fl)
	if why := judge(*rule, fresh, old); why != "" {
		return &Failure{Code: fault.RolledBack, Hint: hint, Logs: fl.Tails,
			Message: fmt.Sprintf("cut over to %s at %d %%: %s", r.s.nameOf(fl), op.Percent, why)}
	}
	return nil
}

// stepTraffic is what the fleet and the others of its role got since the present step began.
func (r *round) stepTraffic(op *Operation, fl *Fleet) (fresh, old Traffic) {
	for id := range op.Before {
		if id != fl.ID.String() && roleIn(id) == fl.ID.Role {
			old = old.plus(r.f.Traffic[id].since(op.Baseline[id]))
		}
	}
	return r.f.Traffic[fl.ID.String()].since(op.Baseline[fl.ID.String()]), old
}

// tellUnjudged says at the end of a step that was watched what abort_on had too few requests for: who asked for it must not
// believe that it found nothing.
func (r *round) tellUnjudged(op *Operation, fl *Fleet) {
	rule := r.s.configOf(fl).Cutover.AbortOn
	if rule == nil || op.Steps[0].Hold == 0 || op.Kind == KindRollback || len(op.way(fl)) == 0 {
		return
	}
	fresh, old := r.stepTraffic(op, fl)
	least := uint64(max(rule.MinRequests, 1))
	switch {
	case fresh.Requests < least:
		r.sayOp("note", op, "abort_on did not judge %s at %d %%: it had %s in the step, %d are needed (min_requests)",
			op.Release, op.Percent, human.Count(fresh.Requests, "request"), least)
	case rule.P99OverOld > 0 && old.Requests < least:
		r.sayOp("note", op, "abort_on did not compare the p99 of %s at %d %%: the old release had %s in the step, %d are needed (min_requests)",
			op.Release, op.Percent, human.Count(old.Requests, "request"), least)
	}
}

// judge holds the traffic of the new fleet against the rule and the old fleet's in the same time; "" is no objection.
func judge(rule config.AbortOn, fresh, old Traffic) string {
	if fresh.Requests == 0 || fresh.Requests < uint64(rule.MinRequests) {
		return ""
	}
	rate := float64(fresh.Errors) / float64(fresh.Requests)
	if limit := rule.ErrorRate.Share(); limit > 0 && rate > limit {
		return fmt.Sprintf("%.2f %% of its %d requests failed, %.2f %% are allowed", rate*100, fresh.Requests, limit*100)
	}
	if rule.P99OverOld > 0 && old.Requests >= uint64(rule.MinRequests) && old.Requests > 0 {
		p, q := fresh.quantile(0.99), old.quantile(0.99)
		if q > 0 && float64(p) > float64(rule.P99OverOld)*float64(q) {
			return fmt.Sprintf("its p99 is %s, the old release's is %s, %.2fx is allowed", human.Span(p), human.Span(q), float64(rule.P99OverOld))
		}
	}
	return ""
}

// since is what was counted after the earlier reading. Counters that began anew count from 0.
func (t Traffic) since(from Traffic) Traffic {
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

func (t Traffic) plus(u Traffic) Traffic {
	sum := Traffic{Requests: t.Requests + u.Requests, Errors: t.Errors + u.Errors}
	sum.Latency = make([]uint64, max(len(t.Latency), len(u.Latency)))
	copy(sum.Latency, t.Latency)
	for i, n := range u.Latency {
		sum.Latency[i] += n
	}
	return sum
}

// quantile is an upper bound of the q-quantile of the latencies: the bound of the bucket that holds it, 0 without any.
func (t Traffic) quantile(q float64) time.Duration {
	var total, seen uint64
	for _, n := range t.Latency {
		total += n
	}
	bounds := router.LatencyBounds()
	for i, n := range t.Latency {
		seen += n
		if total > 0 && float64(seen) >= q*float64(total) {
			return time.Duration(bounds[min(i, len(bounds)-1)] * float64(time.Second))
		}
	}
	return 0
}
