package orchestrator

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// Stats are how well an app is delivered: the four measures of the State of DevOps reports (DORA, dora.dev), taken from
// what is recorded here.
type Stats struct {
	Key   Key
	Since time.Time // what began earlier does not count
	Until time.Time

	Deployments int     // releases that got all the traffic, each once
	PerDay      float64 // of them, over the days from Since, or from the first operation if that is later

	// LeadTime is from when a release's image was baked (from its launch where that is not recorded) to all of the traffic.
	LeadTime Span

	Changes int // releases that got any traffic
	Failed  int // of them: aborted with traffic, or rolled back later
	Stopped int // releases that failed their gate: no user saw them

	// Recovery is from a failed release's first traffic to the moment it had none any more.
	Recovery Span
}

// FailureRate is the share of changes that failed, from 0 to 1; 0 without any.
func (s Stats) FailureRate() float64 {
	if s.Changes == 0 {
		return 0
	}
	return float64(s.Failed) / float64(s.Changes)
}

// Span is the spread of some lengths of time; all zero without any.
type Span struct {
	Count       int
	Median, Max time.Duration
}

func spanOf(list []time.Duration) Span {
	if len(list) == 0 {
		return Span{}
	}
	slices.Sort(list)
	return Span{Count: len(list), Median: list[len(list)/2], Max: list[len(list)-1]}
}

// Stats are those of an app since a time.
func (o *Orchestrator) Stats(ctx context.Context, key Key, since time.Time) (Stats, error) {
	releases, err := o.Releases(ctx, key)
	if err != nil {
		return Stats{}, err
	}
	ops, err := o.History(ctx, key)
	if err != nil {
		return Stats{}, err
	}
	slices.Reverse(ops)
	s := statsOf(releases, ops, since, o.opts.Now())
	s.Key = key
	return s, nil
}

// life is what became of one release.
type life struct {
	baked, first, whole, bad, gone time.Time // bad: since when it is known to have failed; gone: when it had no traffic any more
	stopped                        bool
}

// statsOf computes the measures from releases and ended operations, the oldest first.
func statsOf(releases []Release, ops []Operation, since, now time.Time) Stats {
	s := Stats{Since: since, Until: now}
	lives := map[string]*life{}
	for _, rel := range releases {
		lives[rel.ID] = &life{baked: cmp.Or(rel.BakedAt, rel.At)}
	}
	begin := now
	for _, op := range ops {
		if op.At.Before(since) {
			continue
		}
		if op.At.Before(begin) {
			begin = op.At
		}
		if l := lives[op.Release]; l != nil {
			l.take(op)
		}
		if l := lives[op.From]; l != nil && op.Kind == KindRollback && op.Failure == nil && op.Percent == 100 && op.From != op.Release && !l.first.IsZero() {
			l.bad, l.gone = op.At, op.Ended
		}
	}
	var leads, recoveries []time.Duration
	for _, rel := range releases {
		l := lives[rel.ID]
		if !l.whole.IsZero() {
			s.Deployments++
			leads = append(leads, l.whole.Sub(l.baked))
		}
		switch {
		case !l.first.IsZero():
			s.Changes++
		case l.stopped:
			s.Stopped++
		}
		if !l.first.IsZero() && !l.bad.IsZero() {
			s.Failed++
			recoveries = append(recoveries, l.gone.Sub(l.first))
		}
	}
	if days := now.Sub(begin).Hours() / 24; s.Deployments > 0 && days > 0 {
		s.PerDay = float64(s.Deployments) / max(days, 1)
	}
	s.LeadTime, s.Recovery = spanOf(leads), spanOf(recoveries)
	return s
}

// take adds an operation that moved to the release. A rollback to it is no change: it was one before; and a contract moves nobody.
func (l *life) take(op Operation) {
	if op.Kind == KindRollback || op.Kind == KindContract || !op.Kind.Exclusive() {
		return
	}
	if first := op.first(); !first.IsZero() && l.first.IsZero() {
		l.first = first
	}
	switch {
	case op.Failure != nil && !op.first().IsZero():
		l.bad, l.gone = op.Ended, op.Ended
	case op.Failure != nil:
		l.stopped = true
	case op.Percent == 100 && op.Kind != KindLaunch && l.whole.IsZero():
		l.whole = op.Ended
		l.bad, l.gone = time.Time{}, time.Time{} // an earlier try was aborted; this one went through
	}
}

// first is when the operation gave its release traffic first; zero when it never did.
func (op *Operation) first() time.Time {
	if op.FirstAt.IsZero() && op.Percent > 0 && op.Kind != KindLaunch {
		return op.At // recorded by a version that did not note it
	}
	return op.FirstAt
}
