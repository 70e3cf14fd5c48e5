package orchestrator

import (
	"time"

	"github.com/bootandshoot/release/internal/human"
)

// Sessions: with a sticky cookie, clients that have been on a fleet may stay on it for drain.sessions after it lost
// traffic to another one.

// holdsSessions is for how long the fleet's clients may stay; 0 when nothing could tell who they are.
func (r *round) holdsSessions(fl *Fleet) time.Duration {
	if s := r.s.Config.ForRole(fl.ID.Role).Route.Sticky; s == nil || s.Cookie == "" {
		return 0
	}
	return r.s.configOf(fl).Cutover.Drain.Sessions.Std()
}

// loses lets a fleet that lost weight keep its clients. The time counts anew at each step, since each sends clients away.
func (r *round) loses(fl *Fleet) {
	d := r.holdsSessions(fl)
	if d == 0 {
		return
	}
	fl.SessionsBy = r.f.Now.Add(d)
	r.sayFleet("sessions", fl, "clients of %s stay on it for %s", fl.ID.Release, human.Span(d))
}

// endSessions lets the clients of a fleet go to where the weights send them, when the time is over or nothing tells them
// from others any more.
func (r *round) endSessions(fl *Fleet) {
	if fl.SessionsBy.IsZero() || r.f.Now.Before(fl.SessionsBy) && r.holdsSessions(fl) > 0 {
		return
	}
	fl.SessionsBy = time.Time{}
	r.sayFleet("sessions", fl, "the sessions on %s are over", fl.ID.Release)
	if fl.State == FleetDraining {
		r.drainFrom(fl, r.f.Now)
	}
}
