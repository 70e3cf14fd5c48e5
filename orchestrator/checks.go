package orchestrator

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
	"github.com/bootandshoot/release/orchestrator/canary"
)

// What abort_on asks besides the edges: queries of a Prometheus server, and commands. They are asked while a step is held, each by
// its own clock. A bad answer aborts; to pass a step each needs a good one that is not old. What does not answer says nothing, good
// or bad: the step waits for it as it does for too few requests, and is held for a person in the end.

// CheckOutcome is what an answer says.
type CheckOutcome string

const (
	CheckGood    CheckOutcome = "good"
	CheckBad     CheckOutcome = "bad"
	CheckUnknown CheckOutcome = "unknown" // there was no answer, or none that says anything
)

// Check is how one of the questions stands in the step under way.
type Check struct {
	Name         string       `json:"name"`                    // its place in abort_on: "prometheus[0]"
	Asks         string       `json:"asks"`                    // the query and its limit, or the command
	AllowFailure bool         `json:"allow_failure,omitempty"` // it decides nothing
	Asked        int          `json:"asked,omitempty"`         // so many times in this step
	At           time.Time    `json:"at,omitzero"`             // of the newest answer, or when it was not there
	Outcome      CheckOutcome `json:"outcome,omitempty"`       // of it; "": nothing was asked yet
	Value        *float64     `json:"value,omitempty"`         // of a query: the worst, if that is a number
	Text         string       `json:"text,omitempty"`          // the answer, or why there is none
	BadFrom      time.Time    `json:"bad_from,omitzero"`       // since when all answers are bad
	BadAt        time.Time    `json:"bad_at,omitzero"`         // of the newest bad one
}

// Metric is a query to ask.
type Metric struct {
	config.Metric
	Expr string // the query, with all variables replaced
}

// question is one of abort_on: a query or a command.
type question struct {
	name           string
	metric         *config.Metric
	judge          *config.Judge
	every, timeout time.Duration // from one answer to the next question, and for the answer
	tolerated      time.Duration // for how long answers may be bad
}

// questionsOf are those of abort_on, in the order of the file.
func questionsOf(on *config.AbortOn) []question {
	if on == nil {
		return nil
	}
	var list []question
	for i := range on.Prometheus {
		m := &on.Prometheus[i]
		list = append(list, question{name: fmt.Sprintf("prometheus[%d]", i), metric: m, every: m.Every.Std(), timeout: m.Timeout.Std(), tolerated: m.For.Std()})
	}
	for i := range on.Command {
		j := &on.Command[i]
		list = append(list, question{name: fmt.Sprintf("command[%d]", i), judge: j, every: j.Every.Std(), timeout: j.Timeout.Std()})
	}
	return list
}

// gapOf is how many answers may be missing or late between two that belong together.
const gapOf = 3

// gap is the longest time between two answers that still belong together.
func (q question) gap() time.Duration { return gapOf * (q.every + q.timeout) }

// allowFailure says whether its answers decide nothing.
func (q question) allowFailure() bool { return q.judge != nil && q.judge.AllowFailure }

// String is the question for people.
func (q question) String() string {
	if q.judge != nil {
		return q.judge.Cmd.String()
	}
	return strings.Join(strings.Fields(q.metric.Query), " ") + ", bad " + q.metric.Limit()
}

// beginChecks starts the questions of a step anew, if it is held.
func (r *round) beginChecks(op *Operation, fl *Fleet) {
	op.Checks = nil
	if !op.judged(fl) || op.Steps[0].Hold == 0 {
		return
	}
	for _, q := range questionsOf(r.s.configOf(fl).Cutover.AbortOn) {
		op.Checks = append(op.Checks, Check{Name: q.name, Asks: q.String(), AllowFailure: q.allowFailure()})
	}
}

// forgetAnswers lets the questions be asked anew in the same step.
func (op *Operation) forgetAnswers() {
	for i, c := range op.Checks {
		op.Checks[i] = Check{Name: c.Name, Asks: c.Asks, AllowFailure: c.AllowFailure, Asked: c.Asked + 1} // one under way is not waited for
	}
}

// fresh says whether the newest answer counts: the next one is not due yet. A clock that was set back makes it old.
func (c *Check) fresh(q question, now time.Time) bool {
	age := now.Sub(c.At)
	return !c.At.IsZero() && age >= 0 && age < q.every
}

// ask asks what is due, and takes the answers.
func (r *round) ask(op *Operation, fl *Fleet) {
	for i, q := range questionsOf(r.s.configOf(fl).Cutover.AbortOn) {
		if i >= len(op.Checks) {
			return // this step asks nothing
		}
		c := &op.Checks[i]
		if c.fresh(q, r.f.Now) {
			continue
		}
		a := r.askAction(op, fl, q, c)
		if res := r.f.Results[a.Key()]; res.Done || res.Err != nil {
			r.answered(op, q, c, res)
		} else {
			r.act(a)
		}
	}
}

// askAction asks a question, as often as it was not asked before in this step.
func (r *round) askAction(op *Operation, fl *Fleet, q question, c *Check) Action {
	a := Action{Kind: ActAsk, App: r.s.Key, Subject: operationSubject(r.s.Key, op), Point: askPoint(op, q.name, c.Asked)}
	if c.Asked > 0 {
		a.Over = Action{Kind: ActAsk, Subject: a.Subject, Point: askPoint(op, q.name, c.Asked-1)}.Key()
	}
	if q.metric != nil {
		a.Metric = &Metric{Metric: *q.metric, Expr: q.metric.At(config.Moment{Release: op.Release, From: op.From, App: r.s.Key.App, Env: r.s.Key.Env,
			Percent: op.Percent, Since: r.f.Now.Sub(op.ShiftedAt)})}
		return a
	}
	p := hookPoint{release: r.s.release(op.Release), point: "abort_on", percent: op.Percent, fleet: fl, operation: op.ID, performer: op.By, from: op.From}
	a.Hook = &HookSpec{Hook: q.judge.Hook(), Release: op.Release, Env: r.hookEnv(p)}
	return a
}

// askPoint names one asking of a question in the step under way: two steps may have one percentage.
func askPoint(op *Operation, name string, asked int) string {
	return fmt.Sprintf("%s@%d%%-%d#%d", name, op.Percent, len(op.Steps), asked)
}

// answered takes an answer into the check. The journal is told when it says something else than the one before.
func (r *round) answered(op *Operation, q question, c *Check, res Result) {
	before := c.Outcome
	c.Asked, c.At = c.Asked+1, r.f.Now
	c.Outcome, c.Value, c.Text = q.read(res)
	switch c.Outcome {
	case CheckGood:
		c.BadFrom, c.BadAt = time.Time{}, time.Time{}
	case CheckBad:
		if since := r.f.Now.Sub(c.BadAt); c.BadFrom.IsZero() || since < 0 || since > q.gap() {
			c.BadFrom = r.f.Now
		}
		c.BadAt = r.f.Now
	}
	// What was just routed is often not measured yet: the first that has no answer is told with the second.
	first := before == "" && c.Outcome == CheckUnknown
	if first || c.Outcome == before && (c.Outcome != CheckUnknown || c.Asked != 2) {
		return
	}
	said := Event{Operation: op.ID, Release: op.Release, Fleet: op.Fleet, Percent: op.Percent}
	said.Type = "check.output"
	for _, line := range res.Lines {
		r.say(said, "%s", line)
	}
	said.Type = "check." + string(c.Outcome)
	r.say(said, "%s", c)
}

// String is the check for people: what it is, and what it said last.
func (c *Check) String() string {
	switch c.Outcome {
	case "":
		return "abort_on." + c.Name + " was not asked yet"
	case CheckUnknown:
		return "abort_on." + c.Name + " has no answer: " + c.Text
	}
	return "abort_on." + c.Name + ": " + c.Text
}

// read is what an answer says.
func (q question) read(res Result) (CheckOutcome, *float64, string) {
	switch {
	case res.Err != nil:
		return CheckUnknown, nil, res.Err.Error()
	case q.metric != nil:
		return q.measure(res)
	case res.Exit == nil:
		return CheckUnknown, nil, "it was not run"
	}
	text := "it " + res.Exit.String()
	if n := len(res.Lines); n > 0 {
		text += ": " + res.Lines[n-1]
	}
	switch {
	case res.Exit.Signal != "" || slices.Contains(cannotTell(), res.Exit.Code):
		return CheckUnknown, nil, text
	case res.Exit.Code != 0:
		return CheckBad, nil, text
	}
	return CheckGood, nil, text
}

// cannotTell are exit codes that judge nothing: EX_TEMPFAIL of sysexits.h, and those of a shell that could not run the command.
func cannotTell() []int { return []int{75, 126, 127} }

// measure holds a query's answer against its limit. Of several values the worst counts.
func (q question) measure(res Result) (CheckOutcome, *float64, string) {
	if len(res.Samples) == 0 {
		return CheckUnknown, nil, "the query has no data"
	}
	worst := res.Samples[0]
	for _, s := range res.Samples[1:] {
		if q.metric.Worse(s.Value, worst.Value) {
			worst = s
		}
	}
	text := fmt.Sprintf("%.4g", worst.Value)
	if len(res.Samples) > 1 {
		text += fmt.Sprintf(" of %s, the worst of %d", worst.Labels, len(res.Samples))
	}
	text += ", bad is " + q.metric.Limit()
	value := &worst.Value
	if math.IsInf(worst.Value, 0) {
		value = nil // JSON has no such number
	}
	if q.metric.Bad(worst.Value) {
		return CheckBad, value, text
	}
	return CheckGood, value, text
}

// checksAgainst is what the answers hold against the release; nil for nothing.
func (r *round) checksAgainst(op *Operation, fl *Fleet, compared []comparison) *Failure {
	for i, q := range questionsOf(r.s.configOf(fl).Cutover.AbortOn) {
		if i >= len(op.Checks) {
			return nil
		}
		c := op.Checks[i]
		if c.Outcome != CheckBad || q.allowFailure() || c.BadAt.Sub(c.BadFrom) < q.tolerated {
			continue
		}
		r.sayVerdict(op, uncompared(compared, canary.Worse, c.Name, c.String()))
		name := r.s.nameOf(fl)
		return &Failure{Code: fault.RolledBack, Message: fmt.Sprintf("cut over to %s at %d %%: %s", name, op.Percent, &c),
			Hint:  "it asked: " + c.Asks + "; mend the release, or the question, and launch again",
			brief: fmt.Sprintf("%s goes back, as abort_on.%s says", name, c.Name)}
	}
	return nil
}

// uncompared is a verdict that came of something else than the requests: it is no role's. It has their numbers if those of one role
// are compared too.
func uncompared(compared []comparison, outcome canary.Outcome, aspect, reason string) comparison {
	c := comparison{Verdict: canary.Verdict{PWorse: 1, PNotGood: 1}}
	if len(compared) == 1 {
		c.Verdict = compared[0].Verdict
	}
	c.Outcome, c.Aspect, c.Reason = outcome, aspect, reason
	return c
}

// lacking says which question has no good answer; pending says that one is being asked.
func (r *round) lacking(op *Operation, fl *Fleet) (why string, pending bool) {
	for i, q := range questionsOf(r.s.configOf(fl).Cutover.AbortOn) {
		if i >= len(op.Checks) || q.allowFailure() {
			continue
		}
		switch c := op.Checks[i]; {
		case c.Outcome == CheckUnknown:
			return c.String(), false
		case c.Outcome == CheckBad:
			return fmt.Sprintf("%s, and that for %s", &c, human.Span(c.BadAt.Sub(c.BadFrom))), false
		case !c.fresh(q, r.f.Now):
			pending = true
		}
	}
	return "", pending
}
