package orchestrator

import (
	"fmt"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
	"github.com/bootandshoot/release/orchestrator/canary"
)

// verdict is what there is against a fleet that an operation moves traffic to; nil while there is nothing. A rollback is
// not judged: it is the way out. compared is what the requests of the roles that are compared came to beside the old release's.
func (r *round) verdict(op *Operation, fl *Fleet, compared []comparison) *Failure {
	if !op.judged(fl) || r.s.awaitsVolume(fl) {
		return nil
	}
	against := func(format string, args ...any) *Failure {
		return &Failure{Code: fault.RolledBack, Logs: fl.Tails, Message: "cut over to " + r.s.nameOf(fl) + fmt.Sprintf(format, args...),
			Hint: "release logs shows what the nodes said; mend the release and launch again"}
	}
	if fl.healthy() == 0 && !op.Force {
		return against(": no node of it is healthy any more")
	}
	for _, c := range compared {
		if c.fleet == fl && c.Outcome == canary.Worse {
			r.sayVerdict(op, c)
			f := against(" at %d %%: worse than %s, beyond chance: %s", op.Percent, op.From, c.Reason)
			f.brief = fmt.Sprintf("%s goes back: worse than %s, beyond chance", r.s.nameOf(fl), op.From)
			return f
		}
	}
	rule := r.s.configOf(fl).Cutover.AbortOn
	if rule == nil {
		return nil
	}
	fresh, old := r.stepTraffic(op, fl)
	if why := judge(*rule, fresh, old); why != "" {
		return against(" at %d %%: %s", op.Percent, why)
	}
	return nil
}

// judged says whether an operation can be aborted for what a fleet does: with no other fleet there is nowhere to go back to.
func (op *Operation) judged(fl *Fleet) bool {
	return op.Kind != KindRollback && !fl.Accessory && len(op.way(fl)) > 0
}

// stepTraffic is what the fleet and the others of its role got since the present step began.
func (r *round) stepTraffic(op *Operation, fl *Fleet) (fresh, old Traffic) {
	for id := range op.Before {
		if id != fl.ID.String() && roleIn(id) == fl.ID.Role {
			old = old.Plus(r.f.Traffic[id].Since(op.Baseline[id]))
		}
	}
	return r.f.Traffic[fl.ID.String()].Since(op.Baseline[fl.ID.String()]), old
}

// unjudged says what abort_on has too few requests for in a step that is watched; "" for nothing. The roles that are compared must
// all have had enough.
func (r *round) unjudged(op *Operation, lead *Fleet) string {
	fleets := r.s.comparable(op)
	if len(fleets) == 0 {
		fleets = []*Fleet{lead}
	}
	for _, fl := range fleets {
		if why := r.unjudgedPart(op, fl); why != "" {
			return why
		}
	}
	return ""
}

func (r *round) unjudgedPart(op *Operation, fl *Fleet) string {
	rule := r.s.configOf(fl).Cutover.AbortOn
	if rule == nil || op.Steps[0].Hold == 0 || !op.judged(fl) {
		return ""
	}
	fresh, old := r.stepTraffic(op, fl)
	least := uint64(max(rule.MinRequests, 1))
	switch {
	case (rule.ErrorRate > 0 || rule.P99OverOld > 0) && fresh.Requests < least:
		return fmt.Sprintf("abort_on did not judge %s at %d %%: it had %s in the step, %d are needed (min_requests)",
			r.s.nameOf(fl), op.Percent, human.Count(fresh.Requests, "request"), least)
	case rule.P99OverOld > 0 && old.Requests < least && op.Percent < 100:
		return fmt.Sprintf("abort_on did not compare the p99 of %s at %d %%: the old release had %s in the step, %d are needed (min_requests)",
			r.s.nameOf(fl), op.Percent, human.Count(old.Requests, "request"), least)
	}
	return ""
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
		p, q := fresh.Quantile(0.99), old.Quantile(0.99)
		if q > 0 && float64(p) > float64(rule.P99OverOld)*float64(q) {
			return fmt.Sprintf("its p99 is %s, the old release's is %s, %.2fx is allowed", human.Span(p), human.Span(q), float64(rule.P99OverOld))
		}
	}
	return ""
}
