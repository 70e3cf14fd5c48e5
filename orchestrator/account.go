package orchestrator

import (
	"fmt"
	"time"

	"github.com/bootandshoot/release/internal/human"
)

// countWithin is how long an end waits for the edges to be read once more: what a switch cost is seen right after it.
const countWithin = time.Second

// counted says whether the edges were read since something was reached.
func (r *round) counted(reached time.Time) bool {
	return !r.f.Observed.Before(reached) || r.f.Now.Sub(reached) >= countWithin
}

// settle closes an operation's record. What an exclusive one cost is kept with its release too.
func (r *round) settle(op *Operation) {
	op.Ended, op.Waits, op.Gate = r.f.Now, "", ""
	op.Ledger = r.f.Ledger.since(op.LedgerFrom)
	op.LedgerFrom, op.Baseline, op.Evidence, op.Checks = Ledger{}, nil, nil, nil
	if rel := r.s.release(op.Release); rel != nil && op.Kind.Exclusive() {
		rel.Ledger = rel.Ledger.plus(op.Ledger)
	}
	if op.Auto {
		r.s.Repairs = append(r.s.Repairs, op.Number)
		r.s.Repairs = r.s.Repairs[max(0, len(r.s.Repairs)-keptRepairs):]
	}
}

// keptRepairs is how many automatic replacements of an app stay in its history: a fleet that keeps failing must not fill
// the store.
const keptRepairs = 200

// sayEnd tells the end of an operation with what it cost.
func (r *round) sayEnd(what string, op *Operation, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if op.Kind == KindReplace {
		text += "; " + op.Ledger.String()
	}
	ledger := op.Ledger
	r.say(Event{Type: string(op.Kind) + "." + what, Operation: op.ID, Release: op.Release, Fleet: op.Fleet,
		Percent: op.Percent, Ledger: &ledger}, "%s", text)
}

// lateCost is what draining a fleet cost after the operation that took its traffic had ended.
type lateCost struct {
	Operation int    `json:"operation"`
	Fleet     string `json:"fleet"`
	Ledger    Ledger `json:"ledger"`
}

// sayShot tells the end of a fleet. What its draining cost is charged to the operation that retired it: connections that
// were cut, and what broke. Requests that it served meanwhile, and its own answers, are no cost of the draining.
func (r *round) sayShot(fl *Fleet) {
	event := Event{Type: "fleet.shot", Fleet: fl.ID.String(), Release: fl.ID.Release}
	if fl.Retired == nil {
		r.say(event, "%s is shot", fl.ID)
		return
	}
	cost := r.f.Ledger.Fleets[fl.ID.String()].since(fl.Retired.From)
	cost.Requests, cost.Status5x = 0, 0
	if cost == (FleetLedger{}) {
		r.say(event, "%s is shot", fl.ID)
		return
	}
	l := Ledger{Cut: cost.Cut}.withFleet(fl.ID.String(), cost)
	if rel := r.s.release(fl.Retired.Release); rel != nil {
		rel.Ledger = rel.Ledger.plus(l)
	}
	r.records.late = append(r.records.late, lateCost{Operation: fl.Retired.Operation, Fleet: fl.ID.String(), Ledger: l})
	event.Ledger = &l
	broken := cost.Connect + cost.Reset + cost.Timeout
	r.say(event, "%s is shot; since it lost its traffic %s cut, %s broke", fl.ID, human.Were(cost.Cut, "long connection"), human.Count(broken, "request"))
}
