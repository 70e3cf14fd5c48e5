package console

import (
	"fmt"
	"slices"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/orchestrator"
)

// next is the command that a person would type now.
func next(s api.Status, state orchestrator.State) string {
	switch {
	case s.Operation != nil && s.Operation.Gate != "":
		return "release approve   (or: release abort)"
	case s.Operation != nil && s.Operation.Paused && s.Operation.OneWay != "":
		return "release resume   (or: release abort --force)"
	case s.Operation != nil && s.Operation.Paused:
		return "release resume   (or: release abort)"
	case s.Operation != nil:
		return "release events --follow   (or: release abort)"
	case s.Freeze != nil:
		return "release unfreeze"
	case len(s.Fleets) == 0:
		return "release up"
	case held(s):
		return "release logs   (what the nodes say; release resume tries new ones at once)"
	}
	serving, candidate := newest(s, "serving"), newest(s, "ready")
	switch {
	case candidate != "":
		return fmt.Sprintf("release cutover %s", candidate)
	case split(s):
		return fmt.Sprintf("release cutover %s   (or: release rollback)", serving)
	}
	if back := wayBack(s, state); back != "" {
		return "release up   (or back: release rollback --to " + back + ")"
	}
	return "release up"
}

// wayBack is the newest release that is warm and was left for a newer one: not since it was bad.
func wayBack(s api.Status, state orchestrator.State) string {
	best := ""
	for _, rel := range state.Releases {
		warm := func(fl api.Fleet) bool { return fl.Release == rel.ID && fl.State == "warm" }
		if rel.State == orchestrator.ReleaseCompleted && slices.ContainsFunc(s.Fleets, warm) {
			best = rel.ID // they are listed the oldest first
		}
	}
	return best
}

// newest is the newest release with a fleet in the state.
func newest(s api.Status, state string) string {
	best := ""
	for _, fl := range s.Fleets {
		if fl.State == state && (best == "" || compareReleases(fl.Release, best) > 0) {
			best = fl.Release
		}
	}
	return best
}

// split says whether several releases share the traffic.
func split(s api.Status) bool {
	for _, r := range s.Routes {
		sharing := 0
		for _, w := range r.Weights {
			if w.Percent > 0 {
				sharing++
			}
		}
		if sharing > 1 {
			return true
		}
	}
	return false
}

// held says whether replacing is held in a fleet that has traffic.
func held(s api.Status) bool {
	return slices.ContainsFunc(s.Fleets, func(fl api.Fleet) bool { return fl.Storm != nil && fl.Percent > 0 })
}
