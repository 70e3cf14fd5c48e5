package orchestrator

import (
	"fmt"
	"slices"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/human"
	"github.com/bootandshoot/release/orchestrator/canary"
)

// ruleOf is how the new release is compared with the old one, and whether it is.
func ruleOf(c *config.Cutover) (rule canary.Rule, wait time.Duration, on bool) {
	v, on := c.Judged()
	return canary.Rule{
		FalseAlarms: v.FalseAlarms.Share(), Missed: v.Missed.Share(),
		WorseErrors: v.WorseFrom.Errors.Share(), WorseLatency: float64(v.WorseFrom.Latency),
		GoodErrors: v.GoodWithin.Errors.Share(), GoodSlow: v.GoodWithin.Slow.Share(), Enough: v.Enough,
	}, v.Wait.Std(), on
}

// comparable says whether a step shows anything: it is watched, and others have traffic too.
func (s Step) comparable() bool { return s.Hold > 0 && s.Percent < 100 }

// beginWeighing starts the evidence of a step.
func (r *round) beginWeighing(op *Operation, fl *Fleet) {
	op.Unclear, op.Accepted = 0, false
	_, _, on := ruleOf(&r.s.configOf(fl).Cutover)
	if !on || !op.judged(fl) || !op.Steps[0].comparable() {
		return
	}
	steps := 0
	for _, st := range op.Steps {
		if st.comparable() {
			steps++
		}
	}
	var before canary.Evidence
	if op.Evidence != nil {
		before = *op.Evidence
	}
	now := before.Begin(steps)
	op.Evidence = &now
}

// weigh takes what the edges counted into the evidence of the step under way, and judges it; nil where nothing is compared.
func (r *round) weigh(op *Operation, fl *Fleet) *canary.Verdict {
	rule, _, on := ruleOf(&r.s.configOf(fl).Cutover)
	if !on || op.Evidence == nil || !op.Steps[0].comparable() {
		return nil
	}
	now := *op.Evidence
	if r.f.Elapsed == 0 {
		now = now.Restart() // the baseline is another
	}
	fresh, old := r.stepTraffic(op, fl)
	now = now.Take(rule, canary.Pair{New: fresh, Old: old})
	op.Evidence = &now
	v := now.Judge(rule)
	return &v
}

// passed says whether a step whose time is over may be left. What is not clear is waited for, and in the end a person is asked: too
// few requests are no proof of anything.
func (r *round) passed(op *Operation, fl *Fleet, compared *canary.Verdict) bool {
	if op.Accepted {
		return true
	}
	rule, wait, _ := ruleOf(&r.s.configOf(fl).Cutover)
	why, note := r.unjudged(op, fl), ""
	switch {
	case compared == nil:
		why, note = "", why
	case compared.Outcome != canary.Good:
		why = compared.Reason
	case rule.Enough > 0:
		why = "" // whoever says how many requests are enough means those of abort_on too
	}
	lacks, pending := r.lacking(op, fl)
	switch why = orText(why, lacks); {
	case why == "" && pending:
		r.wait(op, "the answers to what abort_on asks") // each ends in its time
		return false
	case why == "":
		r.accept(op, compared, note)
		return true
	}
	if op.Unclear == 0 && wait > 0 {
		r.sayOp("note", op, "no verdict on %s at %d %% yet, it is waited for %s more: %s", op.Release, op.Percent, human.Span(wait), why)
	}
	if op.Unclear += r.f.Elapsed; op.Unclear < wait {
		r.wait(op, "a verdict on %s at %d %%", op.Release, op.Percent)
		return false
	}
	r.sayVerdict(op, uncompared(compared, canary.Open, "", why))
	r.hold(op, why)
	return false
}

// accept lets a step be left.
func (r *round) accept(op *Operation, compared *canary.Verdict, note string) {
	op.Accepted = true
	if note != "" {
		r.sayOp("note", op, "%s", note)
	}
	switch {
	case compared != nil:
		r.sayVerdict(op, *compared)
	case len(op.Checks) > 0:
		r.sayVerdict(op, uncompared(nil, canary.Good, "", "what abort_on asks is answered well"))
	}
}

// hold pauses an operation by itself, until a person decides.
func (r *round) hold(op *Operation, why string) {
	op.Paused, op.Held = true, why
	r.sayOp("hold", op, "%s is held at %d %%: %s", op.Release, op.Percent, why)
	r.wait(op, "release resume")
}

// sayVerdict keeps a verdict that decided something, with its numbers.
func (r *round) sayVerdict(op *Operation, v canary.Verdict) {
	kept := Verdict{At: r.f.Now, Percent: op.Percent, Verdict: v, Checks: slices.Clone(op.Checks)}
	op.Verdicts = append(op.Verdicts, kept)
	r.say(Event{Type: string(op.Kind) + ".verdict", Operation: op.ID, Release: op.Release, Fleet: op.Fleet, Percent: op.Percent, Verdict: &kept},
		"%s at %d %%: %s%s", op.Release, op.Percent, v.Reason, kept.numbers(op))
}

// numbers are those of a verdict, for people.
func (v *Verdict) numbers(op *Operation) string {
	var text string
	if v.New.Requests > 0 || v.Old.Requests > 0 || len(v.Checks) == 0 {
		text = fmt.Sprintf("; %s: %s; %s: %s", op.Release, v.New, op.From, v.Old)
	}
	for _, c := range v.Checks {
		if c.Name != v.Aspect {
			text += "; " + c.String()
		}
	}
	return text
}

// Present is what the evidence of an operation under way comes to now; nil where nothing is compared.
func (s *State) Present(op *Operation) *canary.Verdict {
	fl := s.fleet(op.Fleet)
	if op.Evidence == nil || fl == nil || op.Phase != PhaseHold || len(op.Steps) == 0 || !op.Steps[0].comparable() {
		return nil
	}
	rule, _, _ := ruleOf(&s.configOf(fl).Cutover)
	v := op.Evidence.Judge(rule)
	return &v
}
