package orchestrator

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootandshoot/release/internal/fault"
)

// TestStats: what the measures are of lives as people tell them. Times are minutes.
func TestStats(t *testing.T) {
	epoch := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(minute int) time.Time { return epoch.Add(time.Duration(minute) * time.Minute) }
	minutes := func(n int) time.Duration { return time.Duration(n) * time.Minute }
	rel := func(id string, baked int) Release { return Release{ID: id, At: at(baked + 1), BakedAt: at(baked)} }
	up := func(id, from string, begin, first, end int) Operation {
		op := Operation{Kind: KindUp, Release: id, From: from, At: at(begin), Ended: at(end), Percent: 100}
		if first > 0 {
			op.FirstAt = at(first)
		}
		return op
	}
	failed := func(op Operation) Operation {
		op.Failure = &Failure{Code: fault.RolledBack}
		if op.FirstAt.IsZero() {
			op.Percent = 0
		}
		return op
	}
	back := func(to, from string, begin, end int) Operation {
		return Operation{Kind: KindRollback, Release: to, From: from, At: at(begin), Ended: at(end), Percent: 100, FirstAt: at(begin)}
	}
	for name, c := range map[string]struct {
		releases []Release
		ops      []Operation
		since    time.Time
		want     Stats
	}{
		"nothing": {},
		"one that went well": {
			releases: []Release{rel("r1", 0)}, ops: []Operation{up("r1", "", 10, 11, 12)},
			want: Stats{Deployments: 1, PerDay: 1, Changes: 1, LeadTime: Span{1, minutes(12), minutes(12)}},
		},
		"a gate that was not passed reaches nobody": {
			releases: []Release{rel("r1", 0), rel("r2", 20)}, ops: []Operation{up("r1", "", 10, 11, 12), failed(up("r2", "r1", 30, 0, 33))},
			want: Stats{Deployments: 1, PerDay: 1, Changes: 1, Stopped: 1, LeadTime: Span{1, minutes(12), minutes(12)}},
		},
		"aborted with traffic": {
			releases: []Release{rel("r1", 0), rel("r2", 20)}, ops: []Operation{up("r1", "", 10, 11, 12), failed(up("r2", "r1", 30, 31, 36))},
			want: Stats{Deployments: 1, PerDay: 1, Changes: 2, Failed: 1, LeadTime: Span{1, minutes(12), minutes(12)}, Recovery: Span{1, minutes(5), minutes(5)}},
		},
		"rolled back later": {
			releases: []Release{rel("r1", 0), rel("r2", 20)}, ops: []Operation{up("r1", "", 10, 11, 12), up("r2", "r1", 30, 31, 36), back("r1", "r2", 90, 91)},
			want: Stats{Deployments: 2, PerDay: 2, Changes: 2, Failed: 1, LeadTime: Span{2, minutes(16), minutes(16)}, Recovery: Span{1, minutes(60), minutes(60)}},
		},
		"aborted once, then it went well": {
			releases: []Release{rel("r1", 0)},
			ops:      []Operation{failed(up("r1", "", 10, 11, 12)), {Kind: KindCutover, Release: "r1", At: at(20), FirstAt: at(21), Ended: at(22), Percent: 100}},
			want:     Stats{Deployments: 1, PerDay: 1, Changes: 1, LeadTime: Span{1, minutes(22), minutes(22)}},
		},
		"scaling and replacing are no changes": {
			releases: []Release{rel("r1", 0)},
			ops:      []Operation{up("r1", "", 10, 11, 12), {Kind: KindReplace, Release: "r1", At: at(20), Ended: at(21)}, {Kind: KindScale, At: at(30), Ended: at(31)}},
			want:     Stats{Deployments: 1, PerDay: 1, Changes: 1, LeadTime: Span{1, minutes(12), minutes(12)}},
		},
		"what was before does not count": {
			releases: []Release{rel("r1", 0), rel("r2", 20)}, ops: []Operation{up("r1", "", 10, 11, 12), up("r2", "r1", 30, 31, 36)}, since: at(25),
			want: Stats{Deployments: 1, PerDay: 1, Changes: 1, LeadTime: Span{1, minutes(16), minutes(16)}},
		},
		"a release whose bake is not recorded": {
			releases: []Release{{ID: "r1", At: at(5)}}, ops: []Operation{up("r1", "", 5, 6, 7)},
			want: Stats{Deployments: 1, PerDay: 1, Changes: 1, LeadTime: Span{1, minutes(2), minutes(2)}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			now := at(600)
			got := statsOf(c.releases, c.ops, c.since, now)
			c.want.Since, c.want.Until = c.since, now
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestDeploymentsADay: the days count from the first operation, so that a new app is not measured over a time before it.
func TestDeploymentsADay(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	var releases []Release
	var ops []Operation
	for i := range 20 {
		begin := now.Add(-time.Duration(20-i) * 12 * time.Hour)
		id := "r" + string(rune('a'+i))
		releases = append(releases, Release{ID: id, At: begin})
		ops = append(ops, Operation{Kind: KindUp, Release: id, At: begin, FirstAt: begin, Ended: begin.Add(time.Minute), Percent: 100})
	}
	if got := statsOf(releases, ops, now.Add(-365*24*time.Hour), now).PerDay; got != 2 {
		t.Errorf("%v a day, want 2", got)
	}
	if got := statsOf(releases, ops, now.Add(-5*24*time.Hour), now); got.Deployments != 10 || got.PerDay != 2 {
		t.Errorf("in 5 days %d, %v a day; want 10 and 2", got.Deployments, got.PerDay)
	}
}
