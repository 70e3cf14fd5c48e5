package canary

import (
	"math"
	"slices"
)

// Rule is how sure one has to be, and of what. All shares are from 0 to 1.
type Rule struct {
	FalseAlarms  float64 // at most this share of cutovers to releases that are not worse is found to be worse
	Among        int     // comparisons of one cutover that share FalseAlarms, each with an equal part; 0: one
	Missed       float64 // at most this share of steps of releases that are worse than tolerated is found to be good
	WorseErrors  float64 // a smaller difference of the error rates is no harm
	WorseLatency float64 // a smaller ratio of latencies is no harm
	GoodErrors   float64 // the tolerated difference of the error rates
	GoodSlow     float64 // the tolerated difference of the shares slower than the old release's 90th percentile
	Enough       int     // so many requests in a step are enough if nothing is against the release; 0: only proof is
}

// Pair is what the two releases did in the same time.
type Pair struct {
	New Traffic `json:"new"`
	Old Traffic `json:"old"`
}

func (p Pair) plus(q Pair) Pair { return Pair{New: p.New.Plus(q.New), Old: p.Old.Plus(q.Old)} }

// Evidence is what a cutover has shown so far. Its zero value is that of one that has not begun. Begin, Restart and
// Take make a new value; those before are not changed.
type Evidence struct {
	Parts int        `json:"parts"` // steps among which the capital is shared
	Part  int        `json:"part"`  // the step under way, from 1
	Taken Pair       `json:"taken"` // of the reading given last
	Open  Pair       `json:"open"`  // of the block that is not complete
	All   Pair       `json:"all"`   // in blocks of the whole cutover
	Step  Pair       `json:"step"`  // in blocks of this step
	Worse []Wealth   `json:"worse"` // by aspect
	Good  [2]float64 `json:"good"`  // logarithm of what the bets on "as good" have won in this step: goodErrors, goodSlow
}

// Wealth is what the bets on "worse" have won: the logarithm for each odds, and of their mean at its highest.
type Wealth struct {
	Bets []float64 `json:"bets"`
	Peak float64   `json:"peak"`
}

// aspect is one way to be worse.
type aspect struct {
	name     string
	quantile float64 // of the old release's latency that requests are slower than; 0: requests that fail
	part     float64 // of the false alarms
}

// aspects are those that are judged. Errors have most of the false alarms: they are rare, so that each has to count.
func aspects() []aspect {
	return []aspect{{"errors", 0, 0.7}, {"p50", 0.50, 0.1}, {"p90", 0.90, 0.1}, {"p99", 0.99, 0.1}}
}

// odds are the alternatives that the bets are on: from half as much again to nearly all that is bad.
func odds() []float64 { return []float64{1.6, 5, 20} }

// The bets on "as good".
const (
	goodErrors = iota
	goodSlow
)

const (
	// block is how many requests each release has at least in a block. Smaller ones could not compare anything, and what a
	// block lasts for is short enough for both releases to see the same world.
	block = 10
	// learn is how many requests of the old release are seen before its latencies are a measure.
	learn = 100
	// goodQuantile is the quantile of the old release's latency that GoodSlow is about.
	goodQuantile = 0.90
	// The shares that are expected of an old release without any data, and for how many requests that counts.
	priorErrors, priorSlow, priorWeight = 0.001, 0.1, 20
	// For how many requests it counts that a new release is like the old one.
	likeOld = 1000
)

// Begin starts the next step of a cutover that has so many steps to judge. What was seen since the last block is dropped:
// it was at another split.
func (e Evidence) Begin(steps int) Evidence {
	if e.Part == 0 {
		e.Parts = max(1, steps)
		e.Worse = make([]Wealth, len(aspects()))
	}
	e.Part++
	e.Open, e.Step, e.Good = Pair{}, Pair{}, [2]float64{}
	e.Worse = slices.Clone(e.Worse)
	for i, w := range e.Worse {
		e.Worse[i] = w.stake(e.Part, e.Parts)
	}
	return e.Restart()
}

// stake gives the bets that begin with this step their part of the capital.
func (w Wealth) stake(part, parts int) Wealth {
	stake := -math.Log(float64(parts))
	w.Bets = slices.Clone(w.Bets)
	switch {
	case part == 1:
		w.Bets = make([]float64, len(odds()))
		for i := range w.Bets {
			w.Bets[i] = stake
		}
		w.Peak = stake
	case part <= parts:
		for i, won := range w.Bets {
			w.Bets[i] = logAdd(won, stake)
		}
	}
	return w
}

// Restart says that readings count from 0 again: another agent reads them.
func (e Evidence) Restart() Evidence {
	e.Taken = Pair{}
	return e
}

// Take adds what a reading has beyond the one before. Readings count from when the step began.
func (e Evidence) Take(r Rule, now Pair) Evidence {
	e.Open = e.Open.plus(Pair{New: now.New.Since(e.Taken.New), Old: now.Old.Since(e.Taken.Old)})
	e.Taken = now
	if e.Open.New.Requests < block || e.Open.Old.Requests < block {
		return e
	}
	e.Worse = slices.Clone(e.Worse)
	for i, a := range aspects() {
		e.Worse[i] = e.Worse[i].play(e.count(e.Open, a.quantile))
	}
	e.Good[goodErrors] += e.asGood(0, priorErrors, r.GoodErrors)
	e.Good[goodSlow] += e.asGood(goodQuantile, priorSlow, r.GoodSlow)
	e.All, e.Step, e.Open = e.All.plus(e.Open), e.Step.plus(e.Open), Pair{}
	return e
}

// count is how many requests failed, for the quantile 0, or were slower than a quantile of the old release in earlier blocks.
// It is empty as long as that is not known.
func (e Evidence) count(p Pair, quantile float64) table {
	if quantile == 0 {
		return table{bad1: p.New.Errors, all1: p.New.Requests, bad0: p.Old.Errors, all0: p.Old.Requests}.sane()
	}
	bucket, _ := e.All.Old.bucket(quantile)
	if _, seen := e.All.Old.slower(bucket); seen < learn {
		return table{}
	}
	var t table
	t.bad1, t.all1 = p.New.slower(bucket)
	t.bad0, t.all0 = p.Old.slower(bucket)
	return t
}

// asGood settles the bet on the open block with the shares that are to be expected from earlier ones. Those of the new release
// are taken for the old one's as long as there are few.
func (e Evidence) asGood(quantile, prior, tolerated float64) float64 {
	before := e.count(e.All, quantile)
	old := (float64(before.bad0) + prior*priorWeight) / (float64(before.all0) + priorWeight)
	fresh := (float64(before.bad1) + old*likeOld) / (float64(before.all1) + likeOld)
	return e.count(e.Open, quantile).asGood(fresh, old, tolerated)
}

// play settles the bets on a block.
func (w Wealth) play(t table) Wealth {
	w.Bets = slices.Clone(w.Bets)
	mean, bet := math.Inf(-1), t.worse()
	for i, o := range odds() {
		w.Bets[i] += bet(o)
		mean = logAdd(mean, w.Bets[i]-math.Log(float64(len(odds()))))
	}
	w.Peak = max(w.Peak, mean)
	return w
}

// logAdd is ln(e^a + e^b).
func logAdd(a, b float64) float64 {
	if a < b {
		a, b = b, a
	}
	if math.IsInf(b, -1) {
		return a
	}
	return a + math.Log1p(math.Exp(b-a))
}
