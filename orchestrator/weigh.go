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

// comparison is what one role's requests came to beside the old release's.
type comparison struct {
	fleet *Fleet // nil: nothing was compared
	canary.Verdict
}

// comparable are the fleets of an operation whose requests are compared: of every role with a route that the old release has too,
// unless the file says otherwise. The one that users meet first is the first.
func (s *State) comparable(op *Operation) []*Fleet {
	lead := s.fleet(op.Fleet)
	if lead == nil || !op.judged(lead) {
		return nil
	}
	if _, _, on := ruleOf(&s.configOf(lead).Cutover); !on {
		return nil
	}
	list := slices.DeleteFunc(s.fleetsOf(op), func(fl *Fleet) bool {
		return fl.Accessory || !s.routed(fl) || s.roleOf(fl).Verdict == config.VerdictOff || !op.hasOld(fl.ID.Role) || s.awaitsVolume(fl)
	})
	if i := slices.Index(list, lead); i > 0 {
		list = slices.Insert(slices.Delete(list, i, i+1), 0, lead)
	}
	return list
}

// hasOld says whether another release had traffic in a role when the operation began.
func (op *Operation) hasOld(role string) bool {
	for id, w := range op.Before {
		if w > 0 && roleIn(id) == role && !slices.Contains(op.fleets(), id) {
			return true
		}
	}
	return false
}

// beginWeighing starts the evidence of a step.
func (r *round) beginWeighing(op *Operation) {
	op.Unclear, op.Accepted = 0, false
	if !op.Steps[0].comparable() {
		return
	}
	steps := 0
	for _, st := range op.Steps {
		if st.comparable() {
			steps++
		}
	}
	for _, fl := range r.s.comparable(op) {
		op.setEvidence(fl, op.Evidence[fl.ID.String()].Begin(steps))
	}
}

func (op *Operation) setEvidence(fl *Fleet, e canary.Evidence) {
	if op.Evidence == nil {
		op.Evidence = map[string]canary.Evidence{}
	}
	op.Evidence[fl.ID.String()] = e
}

// weigh takes what the edges counted into the evidence of the step under way, and judges it; none where nothing is compared. The
// roles that are compared share the false alarms.
func (r *round) weigh(op *Operation) []comparison {
	if len(op.Evidence) == 0 || !op.Steps[0].comparable() {
		return nil
	}
	fleets := r.s.comparable(op)
	var list []comparison
	for _, fl := range fleets {
		rule, _, _ := ruleOf(&r.s.configOf(fl).Cutover)
		rule.Among = len(fleets)
		now := op.Evidence[fl.ID.String()]
		if r.f.Elapsed == 0 {
			now = now.Restart() // the baseline is another
		}
		fresh, old := r.stepTraffic(op, fl)
		now = now.Take(rule, canary.Pair{New: fresh, Old: old})
		op.setEvidence(fl, now)
		list = append(list, comparison{fleet: fl, Verdict: now.Judge(rule)})
	}
	return list
}

// passed says whether a step whose time is over may be left. What is not clear is waited for, and in the end a person is asked: too
// few requests are no proof of anything.
func (r *round) passed(op *Operation, fl *Fleet, compared []comparison) bool {
	if op.Accepted {
		return true
	}
	rule, wait, _ := ruleOf(&r.s.configOf(fl).Cutover)
	why, note := r.unjudged(op, fl), ""
	open := slices.IndexFunc(compared, func(c comparison) bool { return c.Outcome != canary.Good })
	switch {
	case len(compared) == 0:
		why, note = "", why
	case open >= 0:
		why = r.partOf(compared, open) + compared[open].Reason
		compared = compared[open:]
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
		told := why
		if open >= 0 {
			told += littleTraffic
		}
		r.sayOp("note", op, "no verdict on %s at %d %% yet, it is waited for %s more (cutover.verdict.wait): %s", op.Release, op.Percent, human.Span(wait), told)
	}
	if op.Unclear += r.f.Elapsed; op.Unclear < wait {
		r.wait(op, "a verdict on %s at %d %%, for %s at most (cutover.verdict.wait)", op.Release, op.Percent, human.Span(wait))
		return false
	}
	c := uncompared(compared, canary.Open, "", why)
	if open >= 0 {
		c = compared[0]
		c.Outcome, c.Aspect = canary.Open, ""
	}
	r.sayVerdict(op, c)
	r.hold(op, why)
	return false
}

// littleTraffic says what helps where a comparison has too little to go by.
const littleTraffic = "; where there is little traffic, cutover.verdict.enough says how many requests pass a step, and verdict: off compares nothing"

// forPerson is what a paused operation waits for.
const forPerson = "a person: release resume, or release abort"

// partOf names the role of a comparison where there are several: "api: ".
func (r *round) partOf(compared []comparison, i int) string {
	if len(compared) < 2 {
		return ""
	}
	return compared[i].fleet.ID.Role + ": "
}

// accept lets a step be left.
func (r *round) accept(op *Operation, compared []comparison, note string) {
	op.Accepted = true
	if note != "" {
		r.sayOp("note", op, "%s", note)
	}
	for _, c := range compared {
		r.sayVerdict(op, c)
	}
	if len(compared) == 0 && len(op.Checks) > 0 {
		r.sayVerdict(op, uncompared(nil, canary.Good, "", "what abort_on asks is answered well"))
	}
}

// hold pauses an operation by itself, until a person decides.
func (r *round) hold(op *Operation, why string) {
	op.Paused, op.Held = true, why
	r.sayOp("hold", op, "%s is held at %d %%: %s", op.Release, op.Percent, why)
	r.wait(op, forPerson)
}

// sayVerdict keeps a verdict that decided something, with its numbers.
func (r *round) sayVerdict(op *Operation, c comparison) {
	kept := Verdict{At: r.f.Now, Percent: op.Percent, Verdict: c.Verdict, Checks: slices.Clone(op.Checks)}
	name, of := op.Release, op.Fleet
	if c.fleet != nil {
		name, of, kept.Role = r.s.nameOf(c.fleet), c.fleet.ID.String(), r.s.roleIn(c.fleet)
	}
	op.Verdicts = append(op.Verdicts, kept)
	r.say(Event{Type: string(op.Kind) + ".verdict", Operation: op.ID, Release: op.Release, Fleet: of, Percent: op.Percent, Verdict: &kept},
		"%s at %d %%: %s%s", name, op.Percent, c.Reason, kept.numbers(op))
}

// roleIn is a fleet's role, "" in an app without roles.
func (s *State) roleIn(fl *Fleet) string {
	if rel := s.release(fl.ID.Release); rel == nil || len(rel.Config.Roles) == 0 {
		return ""
	}
	return fl.ID.Role
}

// Good says whether nothing is against leaving the step.
func (v *Verdict) Good() bool { return v.Outcome == canary.Good }

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

// Present is what the evidence of an operation under way comes to now, for each role that is compared, the one that users meet
// first before the others.
func (s *State) Present(op *Operation) []Verdict {
	if len(op.Evidence) == 0 || op.Phase != PhaseHold || len(op.Steps) == 0 || !op.Steps[0].comparable() {
		return nil
	}
	var list []Verdict
	fleets := s.comparable(op)
	for _, fl := range fleets {
		rule, _, _ := ruleOf(&s.configOf(fl).Cutover)
		rule.Among = len(fleets)
		list = append(list, Verdict{Percent: op.Percent, Role: s.roleIn(fl), Verdict: op.Evidence[fl.ID.String()].Judge(rule)})
	}
	return list
}
