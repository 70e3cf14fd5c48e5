package orchestrator

import "fmt"

// next decides: from a state and the facts of the moment to the new state, the actions that should be under way, the journal
// entries that say why, and what the history gets. It is pure; the state given is not changed. The caller commits before it
// acts, and calls again until the state stays the same.
func next(s *State, f Facts) (*State, []Action, []Event, records) {
	r := &round{s: s.clone(), f: f}
	r.thaw()
	r.observeNodes()
	r.freeVolumes()
	r.operate()
	r.contractAlone()
	r.schedule()
	r.runTasks()
	r.keepSize()
	r.keepQuarantine()
	r.removeNodes()
	r.keepFleets()
	return r.s, r.actions, r.events, r.records
}

// records are what a round adds to the history.
type records struct {
	ended []*Operation // settled in this round
	late  []lateCost   // what draining cost, for operations that ended before
	tasks []*Task      // that ended in this round
	// dropped are releases that the state lets go of.
	dropped []*Release
}

// round is one call of next.
type round struct {
	s       *State
	f       Facts
	actions []Action
	events  []Event
	records records
}

func (r *round) act(a Action) { r.actions = append(r.actions, a) }

// say adds a journal entry.
func (r *round) say(e Event, format string, args ...any) {
	e.At, e.App, e.Env = r.f.Now, r.s.Key.App, r.s.Key.Env
	e.Message = fmt.Sprintf(format, args...)
	if e.Operation == "" && e.Task == "" {
		if op := r.s.exclusive(); op != nil {
			e.Operation = op.ID
		}
	}
	r.s.EventSeq++
	e.Seq = r.s.EventSeq
	r.events = append(r.events, e)
}

func (r *round) sayFleet(what string, fl *Fleet, format string, args ...any) {
	r.say(Event{Type: "fleet." + what, Fleet: fl.ID.String(), Release: fl.ID.Release}, format, args...)
}

func (r *round) sayNode(what string, fl *Fleet, n *Node, format string, args ...any) {
	r.say(Event{Type: "node." + what, Fleet: fl.ID.String(), Release: fl.ID.Release, Node: n.Name}, format, args...)
}

func (r *round) setNode(n *Node, state NodeState, reason string) {
	n.State, n.Reason, n.Since, n.Gone = state, reason, r.f.Now, false
}

func (r *round) setFleet(fl *Fleet, state FleetState, format string, args ...any) {
	fl.State, fl.Since = state, r.f.Now
	r.sayFleet(string(state), fl, format, args...)
}

func orText(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
