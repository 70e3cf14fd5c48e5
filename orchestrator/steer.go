package orchestrator

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/internal/fault"
)

// Word is what a person says to an app beside asking for operations: to the one under way (pause, resume, abort, approve), or
// that none may begin (freeze, unfreeze).
type Word struct {
	Verb   string
	By     string    // who, from where: "ann@laptop"
	Name   string    // approve: the user whom the caller acts for
	Reason string    // freeze
	Until  time.Time // freeze; zero: until unfreeze
	Force  bool      // abort: also past what cannot be undone
	DryRun bool      // say what would be done, and do nothing
}

// Approval is a person's word that a cutover may go on beyond a step.
type Approval struct {
	Group   string    `json:"group"`
	Percent int       `json:"percent"` // the share that was looked at
	By      string    `json:"by"`
	At      time.Time `json:"at"`
}

// steer does what a word says. resume is also said to fleets in which replacing is held.
func (r *round) steer(w Word) error {
	switch w.Verb {
	case "freeze":
		return r.freeze(w)
	case "unfreeze":
		r.unfreeze(w)
		return nil
	}
	op := r.s.exclusive()
	if w.Verb == "resume" && r.resumeFleets(w.By) && (op == nil || !op.Paused) {
		return nil
	}
	if op == nil {
		return r.s.nothingUnderWay(w.Verb)
	}
	if op.Kind == KindDestroy {
		return fault.New(fault.Busy, "%s %s: a destroy cannot be steered", w.Verb, r.s.Key)
	}
	switch w.Verb {
	case "pause":
		op.Paused = true
	case "resume":
		if op.Gate != "" && !op.Paused {
			return fault.New(fault.Held, "resume %s: %s of %s is not paused, it waits for approval by %s", r.s.Key, op.Kind, op.Release, op.Gate).
				WithHint("release approve lets it go on, release abort routes back")
		}
		if op.stuck() {
			r.unstick(op)
		}
		op.Accepted = op.Held != "" // it goes on as it is
		op.Paused, op.Waits, op.Held = false, "", ""
	case "abort":
		return r.abortBy(op, w.By, w.Force)
	case "approve":
		return r.approve(op, w)
	default:
		return fault.New(fault.Invalid, "steer %s: unknown verb %q", r.s.Key, w.Verb)
	}
	r.sayOp(w.Verb, op, "%s by %s", w.Verb, w.By)
	return nil
}

// nothingUnderWay says that there is no operation to steer. A share that was asked for by itself is no operation, but something to
// go back from.
func (s *State) nothingUnderWay(verb string) error {
	f := fault.New(fault.NotFound, "%s %s: nothing is under way", verb, s.Key).WithHint("release status shows what runs")
	for _, fl := range s.Fleets {
		rel := s.release(fl.ID.Release)
		if fl.Weight == 0 || fl.Weight == 100 || rel == nil || rel.State != ReleaseNew {
			continue
		}
		return f.WithHint("%s holds at %d %%: release rollback routes back, release cutover %s goes on", rel.ID, fl.Weight, rel.ID)
	}
	return f
}

// approve lets an operation go on that waits at a gate. Its release keeps the approval: a later cutover does not ask again.
func (r *round) approve(op *Operation, w Word) error {
	if op.Gate == "" {
		f := fault.New(fault.NotFound, "approve %s: nothing waits for approval", r.s.Key).WithHint("release status shows what runs")
		if len(op.Steps) > 0 && op.Steps[0].Approve != "" {
			f = f.WithHint("%s of %s waits for %s first", op.Kind, op.Release, orText(op.Waits, "its step"))
		}
		return f
	}
	if members, listed := r.f.Approvers[op.Gate]; listed && !slices.Contains(members, w.Name) {
		return fault.New(fault.Denied, "approve %s of %s: %s is none of the approvers for %s", op.Kind, op.Release,
			orText(w.Name, "the caller"), op.Gate).WithHint("those may: %s (approvers in agent.yaml)", strings.Join(members, ", "))
	}
	a := Approval{Group: op.Gate, Percent: op.Percent, By: w.By, At: r.f.Now}
	rel := r.s.release(op.Release)
	rel.Approvals = append(slices.Clip(rel.Approvals), a) // the state before shares the old ones
	op.Approvals = append(slices.Clip(op.Approvals), a)
	op.Gate, op.Waits = "", ""
	r.sayOp("approve", op, "the step of %d %% is approved for %s by %s", op.Percent, a.Group, w.By)
	return nil
}

// gated says whether the step under way waits for somebody's approval.
func (r *round) gated(op *Operation) bool {
	st := op.Steps[0]
	if st.Approve == "" || r.s.release(op.Release).approved(st.Approve, st.Percent) {
		op.Gate = ""
		return false
	}
	if op.Gate == "" {
		op.Gate = st.Approve
		r.sayOp("gate", op, "held at %d %%, waits for approval by %s: release approve", op.Percent, op.Gate)
	}
	r.wait(op, "approval by %s: release approve", op.Gate)
	return true
}

// approved says whether a group has approved a share, or a larger one.
func (rel *Release) approved(group string, percent int) bool {
	return slices.ContainsFunc(rel.Approvals, func(a Approval) bool { return a.Group == group && a.Percent >= percent })
}

// ungated says why a release must not be rolled to: it never had all the traffic, and nobody has approved that it gets it.
func (r *round) ungated(rel *Release) error {
	if !rel.CompletedAt.IsZero() {
		return nil
	}
	for _, st := range rel.Config.Cutover.Steps {
		if st.Approve != "" && !rel.approved(st.Approve, st.Percent) {
			return fault.New(fault.Denied, "roll %s back to %s: it never had all the traffic, and the step of %d %% needs approval by %s",
				r.s.Key, rel.ID, st.Percent, st.Approve).WithHint("%s", fmt.Sprintf("release cutover %s", rel.ID))
		}
	}
	return nil
}
