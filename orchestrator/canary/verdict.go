package canary

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/bootandshoot/release/internal/human"
)

// Outcome is what the evidence says.
type Outcome string

const (
	Worse Outcome = "worse" // beyond chance, and by more than is of no harm
	Good  Outcome = "good"  // shown to be as good within what is tolerated
	Open  Outcome = "open"  // neither is shown
)

// Verdict is an outcome with its numbers. Those of the releases are of the present step: what was judged, or as long as nothing is
// shown all that came.
type Verdict struct {
	Outcome Outcome `json:"outcome"`
	Aspect  string  `json:"aspect,omitempty"` // what is worse: errors, p50, p90, p99
	Reason  string  `json:"reason"`           // for people
	New     Numbers `json:"new"`
	Old     Numbers `json:"old"`
	// PWorse is always valid: the chance that evidence as strong against the new release ever comes together in a cutover
	// to one that is not worse, all aspects and all comparisons (Rule.Among) together. It is below Rule.FalseAlarms for Worse.
	PWorse float64 `json:"p_worse"`
	// PNotGood is the same for a release that is worse than tolerated, and evidence for it in this step.
	PNotGood float64 `json:"p_not_good"`
}

// Numbers are what one release's requests came to. Latencies are in seconds, 0 without any.
type Numbers struct {
	Requests uint64  `json:"requests"`
	Errors   uint64  `json:"errors"`
	P50      float64 `json:"p50"`
	P90      float64 `json:"p90"`
	P99      float64 `json:"p99"`
}

func numbersOf(t Traffic) Numbers {
	return Numbers{Requests: t.Requests, Errors: t.Errors, P50: t.between(0.5).Seconds(), P90: t.between(0.9).Seconds(), P99: t.between(0.99).Seconds()}
}

// String is for people.
func (n Numbers) String() string {
	if n.Requests == 0 {
		return "no requests"
	}
	text := fmt.Sprintf("%d of %s failed (%.2f %%)", n.Errors, human.Count(n.Requests, "request"), 100*float64(n.Errors)/float64(n.Requests))
	if n.P99 > 0 {
		text += fmt.Sprintf(", p50 %s, p99 %s", human.Span(seconds(n.P50)), human.Span(seconds(n.P99)))
	}
	return text
}

// Judge says what the evidence comes to.
func (e Evidence) Judge(r Rule) Verdict {
	v := Verdict{Outcome: Open, New: numbersOf(e.Step.New), Old: numbersOf(e.Step.Old), PWorse: 1, PNotGood: 1}
	for i, w := range e.Worse {
		a := aspects()[i]
		p := probability(w.Peak + math.Log(a.part/float64(max(1, r.Among))))
		v.PWorse = min(v.PWorse, p)
		if p > r.FalseAlarms || v.Outcome == Worse {
			continue
		}
		if why := e.harm(r, a); why != "" {
			v.Outcome, v.Aspect, v.Reason = Worse, a.name, why
		}
	}
	v.PNotGood = probability(e.shown())
	switch {
	case v.Outcome == Worse:
	case v.PNotGood <= r.Missed:
		v.Outcome, v.Reason = Good, "as good as the old release, within what is tolerated"
	case r.Enough > 0 && e.Step.New.Requests >= uint64(r.Enough):
		v.Outcome, v.Reason = Good, fmt.Sprintf("nothing against it in %s, which are enough", human.Count(e.Step.New.Requests, "request"))
	default:
		seen := e.Step.plus(e.Open)
		v.New, v.Old, v.Reason = numbersOf(seen.New), numbersOf(seen.Old), e.lacks(r)
	}
	return v
}

// shown is the least of what the bets on "as good" have won. Where no latencies are counted, errors are all there is.
func (e Evidence) shown() float64 {
	if _, timed := e.All.Old.slower(0); timed == 0 {
		return e.Good[goodErrors]
	}
	return min(e.Good[goodErrors], e.Good[goodSlow])
}

// probability is the chance that a bet ever wins so much, given the logarithm.
func probability(won float64) float64 { return min(1, math.Exp(-won)) }

// harm says by how much the new release is worse in this step, "" when it is too little to matter.
func (e Evidence) harm(r Rule, a aspect) string {
	fresh, old := e.Step.New, e.Step.Old
	if a.quantile == 0 {
		if fresh.rate()-old.rate() < r.WorseErrors {
			return ""
		}
		return fmt.Sprintf("%.2f %% of its %d requests failed, of the old release's %d at the same time %.2f %%",
			100*fresh.rate(), fresh.Requests, old.Requests, 100*old.rate())
	}
	p, q := fresh.between(a.quantile), old.between(a.quantile)
	if p-q < leastSlower || float64(p) < r.WorseLatency*float64(q) {
		return ""
	}
	return fmt.Sprintf("its %s is %s, the old release's at the same time %s", a.name, human.Span(p), human.Span(q))
}

// leastSlower is a difference of latencies that is no harm whatever the ratio: that of a node whose caches are cold.
const leastSlower = 5 * time.Millisecond

// lacks says why nothing is shown yet.
func (e Evidence) lacks(r Rule) string {
	seen := e.Step.plus(e.Open)
	least := uint64(math.Ceil(math.Log(r.Missed) / math.Log1p(-r.GoodErrors)))
	switch {
	case seen.Old.Requests == 0:
		return "the old release had no requests at the same time, so there is nothing to compare with"
	case seen.New.Requests < least:
		return fmt.Sprintf("too few requests: it had %d, at least %d are needed", seen.New.Requests, least)
	}
	return fmt.Sprintf("%s do not show that it is as good yet: %s", human.Count(seen.New.Requests, "request"), e.doubt(r))
}

// doubt names what is not shown.
func (e Evidence) doubt(r Rule) string {
	var doubts []string
	if probability(e.Good[goodErrors]) > r.Missed {
		doubts = append(doubts, fmt.Sprintf("%.2f %% failed, of the old release's %.2f %%", 100*e.Step.New.rate(), 100*e.Step.Old.rate()))
	}
	if probability(e.Good[goodSlow]) > r.Missed {
		p90 := func(t Traffic) string { return human.Span(t.between(goodQuantile)) }
		doubts = append(doubts, fmt.Sprintf("the p90 is %s, the old release's %s", p90(e.Step.New), p90(e.Step.Old)))
	}
	return strings.Join(doubts, "; ")
}
