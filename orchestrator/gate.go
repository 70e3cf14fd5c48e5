package orchestrator

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
)

// maxLaunchFailures is how many nodes of a fleet may fail before its launch is given up.
const maxLaunchFailures = 3

func (r *round) stepPrepare(op *Operation) {
	lacking := false
	for _, fl := range r.s.fleetsOf(op) {
		if fl.Prepared || op.Phase != PhasePrepare {
			continue
		}
		lacking = true
		if r.trusted(op, fl, "boot") && r.passes(op, config.BeforeLaunch, 0) {
			r.prepare(op, fl)
		}
	}
	if lacking {
		return
	}
	if m, due := r.s.expandOf(op); due && !r.s.bringsAccessory(op) {
		r.beginMigration(op, m)
		return
	}
	r.toBoot(op)
}

// prepare brings a fleet's image to where it boots.
func (r *round) prepare(op *Operation, fl *Fleet) {
	a := Action{Kind: ActPrepare, Fleet: fl.ID}
	res := r.f.Results[a.Key()]
	switch {
	case res.Done:
		fl.Prepared = true
		r.sayFleet("prepared", fl, "the image of %s is in place", r.s.nameOf(fl))
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
func (r *round) toBoot(op *Operation) {
	nodes := 0
	for _, fl := range r.s.bootable(op) {
		if fl.State == FleetLaunching {
			nodes += r.s.size(fl)
		}
	}
	r.phase(op, PhaseBoot, "booting %s of %s", human.Count(nodes, "node"), op.Release)
}

// stepBoot waits for all fleets to be healthy, each for its time after those that it needs.
func (r *round) stepBoot(op *Operation) {
	var late *Fleet
	within := time.Duration(0)
	m, due := r.s.expandOf(op)
	for _, fl := range r.s.bootable(op) {
		if fl.State != FleetLaunching && fl.State != FleetReady {
			continue
		}
		within += r.bootsWithin(fl)
		switch {
		case r.gaveUp(fl):
			if r.tailsComplete(fl) {
				r.abort(op, r.launchFailure(op, fl))
			}
			return
		case fl.healthy() < r.s.size(fl):
			late = fl
		case fl.State == FleetLaunching:
			r.ready(fl)
		}
	}
	switch {
	case late != nil:
		size := r.s.size(late)
		if r.wait(op, "%d of %d nodes of %s to be healthy", size-late.healthy(), size, r.s.nameOf(late)) > within {
			late.Reason = orText(late.Reason, "its nodes could not be booted within "+human.Span(within))
			r.abort(op, r.launchFailure(op, late))
		}
	case due && !r.confirmed():
		r.awaitRouter(op, 0) // commands reach the accessories by their routes
	case due:
		r.beginMigration(op, m)
	case !r.passes(op, config.AfterLaunch, 0):
	case op.Kind == KindLaunch:
		r.stepPreview(op)
	default:
		r.phase(op, PhaseShift, "shifting traffic to %s", op.Release)
	}
}

// bootsWithin bounds how long a fleet may take from its first boot to being healthy.
func (r *round) bootsWithin(fl *Fleet) time.Duration {
	return 2*r.s.configOf(fl).Health.StartWithin.Std() + bootWithin
}

// ready says that a fleet is healthy. An accessory is in use from then on.
func (r *round) ready(fl *Fleet) {
	size := r.s.size(fl)
	fl.Reason = ""
	if r.s.awaitsVolume(fl) {
		r.setFleet(fl, FleetReady, "%s is ready; its node boots in the cutover, when its volume is handed over", r.s.nameOf(fl))
		return
	}
	if fl.Accessory {
		fl.Weight, fl.HadWeight = 100, true
		r.setFleet(fl, FleetServing, "%s is in use: %d of %d nodes are healthy", r.s.nameOf(fl), size, size)
		return
	}
	r.setFleet(fl, FleetReady, "%s is ready: %d of %d nodes are healthy", r.s.nameOf(fl), size, size)
}

// stepPreview ends a launch once every edge knows the fleet, so that its preview answers.
func (r *round) stepPreview(op *Operation) {
	if !r.confirmed() {
		r.awaitRouter(op, 0)
		return
	}
	r.finish(op, "%s is launched and ready for cutover", op.Release)
}

// bootWithin is the part of bootsWithin beside twice start_within.
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
		Message: fmt.Sprintf("launch %s: the fleet never became healthy: %s; image %s", r.s.nameOf(fl), fl.Reason, images.Digest(fl.Image).Short()),
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
