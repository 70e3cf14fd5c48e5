package healthcheck

import "time"

// Begin is the state of a node before its first probe by this process.
func Begin(started time.Time, initial Verdict) State {
	if initial == "" {
		initial = Starting
	}
	return State{Verdict: initial, Since: started}
}

// Gate turns a state and a new result into the next state. It is pure: time comes with the result. The verdict
// changes from starting to healthy or failed, and between healthy and unhealthy; failed is final.
func Gate(p Params, s State, r Result) State {
	p = p.WithDefaults()
	next := s
	next.Last = r
	next.Streak = streak(s.Streak, r.OK)
	next.Verdict = verdict(p, s, next.Streak, r.At)
	if next.Verdict != s.Verdict {
		next.Since = r.At
	}
	return next
}

func streak(old int, ok bool) int {
	switch {
	case ok && old > 0:
		return old + 1
	case ok:
		return 1
	case old < 0:
		return old - 1
	}
	return -1
}

func verdict(p Params, s State, streak int, at time.Time) Verdict {
	switch s.Verdict {
	case Healthy:
		if -streak >= p.UnhealthyAfter {
			return Unhealthy
		}
	case Unhealthy:
		if streak >= p.HealthyAfter {
			return Healthy
		}
	case Starting:
		if streak >= p.HealthyAfter {
			return Healthy
		}
		if at.Sub(s.Since) >= p.StartWithin {
			return Failed
		}
	}
	return s.Verdict
}
