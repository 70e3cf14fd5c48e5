package orchestrator

import (
	"fmt"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// What a release requires of its image is checked three times: when the operation is asked for, before the first node
// boots, and before each step that gives it more traffic. The first refuses and changes nothing; the others abort.

// trusted says that the image may be used at this point of an operation. While the check is under way it is false, and a
// check that failed aborts.
func (r *round) trusted(op *Operation, fl *Fleet, point string) bool {
	if len(r.s.configOf(fl).Require.SignedBy) == 0 {
		return true
	}
	a := Action{Kind: ActVerify, Fleet: fl.ID, Point: op.ID + "/" + point}
	res := r.f.Results[a.Key()]
	switch {
	case res.Done:
		return true
	case res.Err != nil:
		r.abort(op, &Failure{Code: fault.RolledBack, Message: fmt.Sprintf("%s of %s: %v", op.Kind, op.Release, res.Err),
			Hint: hintOf(res.Err)})
	default:
		r.act(a)
		r.wait(op, "the signature of %s to be checked", op.Release)
	}
	return false
}

// verify asks whether an image is what a release requires.
func (o *Orchestrator) verify(image string, require config.Require) error {
	if len(require.SignedBy) == 0 {
		return nil
	}
	if o.opts.Verify == nil {
		return fault.New(fault.Unsupported, "this agent cannot check signatures")
	}
	return o.opts.Verify(images.Digest(image), require)
}

// distrusted is a refused request: what is asked for does not fit the configuration.
func distrusted(req Request, err error) error {
	refused := fault.New(fault.Invalid, "%s %s: %w", req.Kind, req.Key, err)
	if hint := hintOf(err); hint != "" {
		return refused.WithHint("%s", hint)
	}
	return refused
}

// askTrust checks the release that an operation moves to, if it moves to another one. What cannot be told yet is left to
// begin, which says it better.
func (o *Orchestrator) askTrust(req Request, target func(*round, Request) *Release) error {
	s := o.published(req.Key)
	if s == nil {
		return nil
	}
	rel := target(&round{s: s}, req)
	if rel == nil {
		return nil
	}
	for _, role := range rel.Config.RoleNames() {
		if err := o.verify(rel.imageOf(role), rel.Config.Require); err != nil {
			return distrusted(req, err)
		}
	}
	return nil
}

// published is the present state of an app, nil for none.
func (o *Orchestrator) published(key Key) *State {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if a := o.apps[key]; a != nil {
		return a.state
	}
	return nil
}

func (r *round) cutsOverTo(req Request) *Release {
	rel, fl, err := r.candidate(req.Release)
	if err != nil || fl.Weight == 100 {
		return nil
	}
	return rel
}

// rollsBackTo is the release that would be booted again. A rollback that steers what is under way, or that goes to a warm
// fleet, is never refused.
func (r *round) rollsBackTo(req Request) *Release {
	if r.s.exclusive() != nil {
		return nil
	}
	rel, err := r.previous(req.Release)
	if err != nil || len(r.s.lacking(rel)) == 0 {
		return nil
	}
	return rel
}
