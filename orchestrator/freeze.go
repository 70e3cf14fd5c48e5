package orchestrator

import (
	"fmt"
	"time"

	"github.com/bootandshoot/release/internal/fault"
)

// Freeze says that nobody may begin an exclusive operation. What steers one under way, and what keeps the fleets, goes on; and
// so does the way back to a release that was complete.
type Freeze struct {
	Reason string    `json:"reason"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Until  time.Time `json:"until,omitzero"` // zero: until unfreeze
}

// String says until when and why.
func (f *Freeze) String() string {
	until := "until release unfreeze"
	if !f.Until.IsZero() {
		until = "until " + f.Until.In(f.At.Location()).Format(freezeTime)
	}
	return fmt.Sprintf("%s: %s", until, f.Reason)
}

// freezeTime has no seconds: freezes last for hours and days. The agent's zone need not be that of who reads it.
const freezeTime = "2006-01-02 15:04 MST"

// Frozen is the freeze that holds at a moment, nil for none.
func (s *State) Frozen(now time.Time) *Freeze {
	if f := s.Freeze; f != nil && (f.Until.IsZero() || now.Before(f.Until)) {
		return f
	}
	return nil
}

func (r *round) freeze(w Word) error {
	if w.Reason == "" {
		return fault.New(fault.Invalid, "freeze %s: no reason given", r.s.Key).WithHint("release freeze --reason TEXT")
	}
	if !w.Until.IsZero() && !w.Until.After(r.f.Now) {
		return fault.New(fault.Invalid, "freeze %s: %s is over already", r.s.Key, w.Until.Format(freezeTime))
	}
	r.s.Freeze = &Freeze{Reason: w.Reason, By: w.By, At: r.f.Now, Until: w.Until}
	r.say(Event{Type: "app.frozen"}, "frozen by %s %s", w.By, r.s.Freeze)
	return nil
}

func (r *round) unfreeze(w Word) {
	if r.s.Frozen(r.f.Now) != nil {
		r.say(Event{Type: "app.unfrozen"}, "the freeze by %s is ended by %s", r.s.Freeze.By, w.By)
	}
	r.s.Freeze = nil
}

// thaw ends a freeze whose time is over.
func (r *round) thaw() {
	if r.s.Freeze != nil && r.s.Frozen(r.f.Now) == nil {
		r.say(Event{Type: "app.unfrozen"}, "the freeze by %s is over: %s", r.s.Freeze.By, r.s.Freeze.Reason)
		r.s.Freeze = nil
	}
}

// frozen refuses an operation that was just begun while the app is frozen; nil: it may go on.
func (r *round) frozen(op *Operation) error {
	f := r.s.Frozen(r.f.Now)
	if f == nil || !op.Kind.Exclusive() {
		return nil
	}
	if rel := r.s.release(op.Release); op.Kind == KindRollback && rel != nil && !rel.CompletedAt.IsZero() {
		return nil
	}
	return fault.New(fault.Busy, "%s %s: frozen by %s since %s, %s", op.Kind, r.s.Key, f.By, f.At.Format(freezeTime), f).
		WithHint("release unfreeze ends it; rollback, scale and replace are possible meanwhile")
}
