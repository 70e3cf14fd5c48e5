package orchestrator

import "github.com/bootandshoot/release/internal/fault"

// goesBack says whether users are being brought back, or everything is being ended: what must be possible on a full disk too.
func (s *State) goesBack() bool {
	for _, op := range s.Operations {
		if op.Ended.IsZero() && (op.Kind == KindRollback || op.Kind == KindDestroy || op.Phase == PhaseAborting) {
			return true
		}
	}
	return false
}

// madeRoom frees the space that the agent keeps in reserve, when a full disk is in the way back of an app: also when the change that
// could not be written is its end, so that only the state before it goes back. It says whether another try makes sense.
func (o *Orchestrator) madeRoom(before, s *State, err error) bool {
	if o.opts.MakeRoom == nil || !fault.Is(err, fault.NoSpace) || !before.goesBack() && !s.goesBack() || !o.opts.MakeRoom() {
		return false
	}
	o.log.Warn("the disk is full: the space kept in reserve is given up for the way back", "app", s.Key.App, "env", s.Key.Env, "error", err)
	return true
}
