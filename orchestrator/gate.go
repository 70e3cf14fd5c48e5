package orchestrator

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
)

// maxLaunchFailures is how many nodes of a fleet may fail before its launch is given up.
const maxLaunchFailures = 3

func (r *round) stepPrepare(op *Operation) {
	fl := r.s.fleet(op.Fleet)
	if fl.Prepared {
		if m, due := r.s.expandOf(op); due {
			r.beginMigration(op, m)
			return
		}
		r.toBoot(op, fl)
		return
	}
	if !r.trusted(op, fl, "boot") || !r.passes(op, config.BeforeLaunch, 0) {
		return
	}
	a := Action{Kind: ActPrepare, Fleet: fl.ID}
	res := r.f.Results[a.Key()]
	switch {
	case res.Done:
		fl.Prepared = true
		r.sayFleet("prepared", fl, "the image of %s is in place", op.Release)
	case res.Final:
		r.abort(op, &Failure{Code: fault.RolledBack, Message: fmt.Sprintf("prepare image of %s: %v", op.Release, res.Err),
			Hint: hintOf(res.Err)})
	case res.Tries >= prepareTries && !errors.Is(res.Err, fleet.ErrUnavailable):
		r.abort(op, &Failure{Code: fault.RolledBack, Hint: hintOf(res.Err),
			Message: fmt.Sprintf("prepare image of %s: tried %d times: %v", op.Release, res.Tries, res.Err)})
	default:
		r.act(a)
		why := ""
		if res.Err != nil {
			why = fmt.Sprintf(", which failed and is tried again: %v", res.Err)
		}
		if r.wait(op, "the image of %s%s%s", op.Release, orText(r.progress(op, a), " to be in place"), why) > prepareWithin {
			r.abort(op, &Failure{Code: fault.RolledBack,
				Message: fmt.Sprintf("prepare image of %s: not done within %s: %v", op.Release, human.Span(prepareWithin), res.Err)})
		}
	}
}

// toBoot goes on to the nodes, once all that must be there before them is.
func (r *round) toBoot(op *Operation, fl *Fleet) {
	r.phase(op, PhaseBoot, "booting %s of %s", human.Count(r.s.size(fl), "node"), op.Release)
}

func (r *round) stepBoot(op *Operation) {
	fl := r.s.fleet(op.Fleet)
	size := r.s.size(fl)
	switch {
	case r.gaveUp(fl):
		if !r.tailsComplete(fl) {
			return
		}
		r.abort(op, r.launchFailure(op, fl))
	case fl.healthy() >= size:
		if fl.State != FleetReady {
			fl.Reason = ""
			r.setFleet(fl, FleetReady, "%s is ready: %d of %d nodes are healthy", fl.ID.Release, size, size)
		}
		if !r.passes(op, config.AfterLaunch, 0) {
			return
		}
		if op.Kind == KindLaunch {
			r.stepPreview(op)
			return
		}
		r.phase(op, PhaseShift, "shifting traffic to %s", op.Release)
	default:
		health := r.s.configOf(fl).Health
		within := 2*health.StartWithin.Std() + bootWithin
		if r.wait(op, "%d of %d nodes of %s to be healthy", size-fl.healthy(), size, op.Release) > within {
			fl.Reason = orText(fl.Reason, "its nodes could not be booted within "+human.Span(within))
			r.abort(op, r.launchFailure(op, fl))
		}
	}
}

// stepPreview ends a launch once every edge knows the fleet, so that its preview answers.
func (r *round) stepPreview(op *Operation) {
	if !r.confirmed() {
		r.awaitRouter(op, 0)
		return
	}
	r.finish(op, "%s is launched and ready for cutover", op.Release)
}

// bootWithin bounds, beside twice start_within, how long a fleet may take from its first boot to being healthy.
const bootWithin = time.Minute

// gaveUp says whether a launching fleet has failed its gate: a node did not become healthy within start_within, or too
// many ended.
func (r *round) gaveUp(fl *Fleet) bool {
	if fl.Failures >= maxLaunchFailures {
		return true
	}
	return slices.ContainsFunc(fl.Nodes, func(n *Node) bool { return n.State == NodeUnhealthy && !n.WasServed })
}

// tailsComplete asks for the last lines of the nodes that failed, and says whether they were read.
func (r *round) tailsComplete(fl *Fleet) bool {
	complete := true
	for _, n := range fl.Nodes {
		if n.State == NodeDead || n.State == NodeUnhealthy && !n.WasServed {
			complete = !r.wantsTail(fl, n) && complete
		}
	}
	return complete
}

func (r *round) launchFailure(op *Operation, fl *Fleet) *Failure {
	return &Failure{
		Code:    fault.RolledBack,
		Message: fmt.Sprintf("launch %s: the fleet never became healthy: %s", op.Release, fl.Reason),
		Hint:    orText(fl.Hint, "look at the last lines of the nodes, mend the release, and launch again; --keep-failed keeps the nodes to look at"),
		Logs:    slices.Clone(fl.Tails),
	}
}

const (
	// prepareWithin bounds the transfer of an image to its hosts.
	prepareWithin = 15 * time.Minute
	// prepareTries is how often it may fail though the driver is there: about 15 s.
	prepareTries = 8
)
