package canary

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

func testRule() Rule {
	return Rule{FalseAlarms: 0.01, Missed: 0.05, WorseErrors: 0.001, WorseLatency: 1.5, GoodErrors: 0.01, GoodSlow: 0.1}
}

// binomial is the chance of x of n at p.
func binomial(n, x uint64, p float64) float64 {
	if p == 0 || p == 1 {
		return map[bool]float64{true: 1}[float64(x) == p*float64(n)]
	}
	return math.Exp(logChoose(float64(n), float64(x)) + logLikelihood(x, n, p))
}

// The bet on "worse" wins nothing on average against odds of 1, whatever block it is on and whatever else is so; against lower odds it loses.
func TestWorseIsAFairBet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n1, n0 := rapid.Uint64Range(0, 60).Draw(t, "n1"), rapid.Uint64Range(0, 60).Draw(t, "n0")
		k := rapid.Uint64Range(0, n1+n0).Draw(t, "k")
		o := rapid.Float64Range(1.01, 50).Draw(t, "odds")
		mean := 0.0
		for x := uint64(0); x <= k; x++ {
			if x > n1 || k-x > n0 {
				continue
			}
			chance := math.Exp(logChoose(float64(n1), float64(x)) + logChoose(float64(n0), float64(k-x)) - logChoose(float64(n1+n0), float64(k)))
			mean += chance * math.Exp(table{x, n1, k - x, n0}.worse()(o))
		}
		if math.Abs(mean-1) > 1e-9 {
			t.Errorf("the mean of the bet is %v, want 1", mean)
		}
	})
}

// The bet on "as good" wins nothing on average, whatever pair of shares is that far apart, and however far off its prediction is.
func TestAsGoodIsAFairBet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n1, n0 := rapid.Uint64Range(1, 25).Draw(t, "n1"), rapid.Uint64Range(1, 25).Draw(t, "n0")
		d := rapid.Float64Range(0.001, 0.5).Draw(t, "difference")
		a0 := rapid.Float64Range(0.0001, 0.98).Draw(t, "predicted of the old")
		a1 := rapid.Float64Range(0.0001, 0.98).Draw(t, "predicted of the new")
		q0 := rapid.Float64Range(0, 1-d).Draw(t, "old")
		q1 := rapid.Float64Range(q0+d, 1).Draw(t, "new")
		mean := 0.0
		for x1 := uint64(0); x1 <= n1; x1++ {
			for x0 := uint64(0); x0 <= n0; x0++ {
				mean += binomial(n1, x1, q1) * binomial(n0, x0, q0) * math.Exp(table{x1, n1, x0, n0}.asGood(a1, a0, d))
			}
		}
		if mean > 1+1e-6 {
			t.Errorf("the mean of the bet is %v, want at most 1", mean)
		}
	})
}

// Large blocks are summed as exactly as small ones, in few steps.
func TestWorseOfLargeBlocks(t *testing.T) {
	even := table{5000, 500_000, 5000, 500_000}
	if w := even.worse()(3); w > -100 {
		t.Errorf("as many of both: %v", w)
	}
	if w := (table{6000, 500_000, 4000, 500_000}).worse()(1.5); w < 150 || w > 250 { // 10,000 KL(0.6, 0.5) = 201
		t.Errorf("half as many more: %v", w)
	}
	if w := (table{5, 10, 0, 10_000_000}).worse()(25); math.Abs(w-5*math.Log(25)) > 0.01 {
		t.Errorf("five of ten beside millions: %v", w)
	}
}

// Comparisons that share the false alarms need so much more evidence each.
func TestAmongOthers(t *testing.T) {
	e := Evidence{}.Begin(1)
	for range 20 {
		e = e.Take(testRule(), e.Taken.plus(Pair{New: traffic(20, 2, 4), Old: traffic(180, 9, 4)}))
	}
	alone, rule := e.Judge(testRule()), testRule()
	rule.Among = 4
	shared := e.Judge(rule)
	if alone.PWorse > 0.2 || alone.PWorse == 0 || math.Abs(shared.PWorse-4*alone.PWorse) > 1e-9 {
		t.Errorf("alone p is %v, among four %v", alone.PWorse, shared.PWorse)
	}
	if alone.PNotGood != shared.PNotGood {
		t.Errorf("that it is as good is shown in each by itself: %v, %v", alone.PNotGood, shared.PNotGood)
	}
}

// What an earlier agent wrote is gone on with.
func TestEvidenceSurvivesItsRecord(t *testing.T) {
	e := Evidence{}.Begin(2)
	for range 50 {
		e = e.Take(testRule(), e.Taken.plus(Pair{New: traffic(20, 1, 4), Old: traffic(200, 2, 4)}))
	}
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var back Evidence
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(e.Begin(2).Judge(testRule()), back.Begin(2).Judge(testRule())) {
		t.Error("another verdict after reading it back")
	}
}

// traffic is so many requests, all in one bucket of latency.
func traffic(requests, errors uint64, bucket int) Traffic {
	t := Traffic{Requests: requests, Errors: errors, Latency: make([]uint64, 34)}
	t.Latency[bucket] = requests
	return t
}

func TestJudge(t *testing.T) {
	type reading = Pair
	same := func(n int, p Pair) (list []reading) {
		for range n {
			list = append(list, p)
		}
		return list
	}
	for name, c := range map[string]struct {
		change  func(*Rule)
		blocks  []reading
		outcome Outcome
		aspect  string
		reason  string
	}{
		"nothing": {nil, nil, Open, "", "the old release had no requests at the same time, so there is nothing to compare with"},
		"no old":  {nil, same(100, Pair{New: traffic(20, 20, 4)}), Open, "", "the old release had no requests at the same time, so there is nothing to compare with"},
		"twelve":  {nil, same(1, Pair{New: traffic(12, 0, 4), Old: traffic(100, 0, 4)}), Open, "", "too few requests: it had 12, at least 299 are needed"},
		"twelve, all fail": {nil, same(1, Pair{New: traffic(12, 12, 4), Old: traffic(100, 0, 4)}), Worse, "errors",
			"100.00 % of its 12 requests failed, of the old release's 100 at the same time 0.00 %"},
		"good":            {nil, same(50, Pair{New: traffic(20, 0, 4), Old: traffic(180, 0, 4)}), Good, "", "as good as the old release, within what is tolerated"},
		"both fail":       {nil, same(50, Pair{New: traffic(20, 10, 4), Old: traffic(180, 90, 4)}), Open, "", "1000 requests do not show that it is as good yet: 50.00 % failed, of the old release's 50.00 %"},
		"slow":            {nil, same(50, Pair{New: traffic(20, 0, 16), Old: traffic(180, 0, 12)}), Worse, "p50", "its p50 is 215 ms, the old release's at the same time 54 ms"},
		"slow by 2 ms":    {nil, same(50, Pair{New: traffic(20, 0, 3), Old: traffic(180, 0, 0)}), Open, "", "1000 requests do not show that it is as good yet: the p90 is 2.7 ms, the old release's 1 ms"},
		"enough":          {func(r *Rule) { r.Enough = 10 }, same(1, Pair{New: traffic(12, 0, 4), Old: traffic(100, 0, 4)}), Good, "", "nothing against it in 12 requests, which are enough"},
		"enough, but bad": {func(r *Rule) { r.Enough = 10 }, same(2, Pair{New: traffic(12, 12, 4), Old: traffic(100, 0, 4)}), Worse, "errors", "100.00 % of its 24 requests failed, of the old release's 200 at the same time 0.00 %"},
		"no harm": {func(r *Rule) { r.WorseErrors = 0.02 }, same(400, Pair{New: traffic(200, 1, 4), Old: traffic(1800, 2, 4)}), Good, "",
			"as good as the old release, within what is tolerated"},
	} {
		t.Run(name, func(t *testing.T) {
			r := testRule()
			if c.change != nil {
				c.change(&r)
			}
			e := Evidence{}.Begin(1)
			for _, b := range c.blocks {
				e = e.Take(r, e.Taken.plus(b))
			}
			v := e.Judge(r)
			if v.Outcome != c.outcome || v.Aspect != c.aspect || v.Reason != c.reason {
				t.Errorf("%s, %s: %s", v.Outcome, v.Aspect, v.Reason)
			}
			if (v.Outcome == Worse) != (v.PWorse <= r.FalseAlarms) && name != "no harm" && name != "slow by 2 ms" {
				t.Errorf("%s with p %v", v.Outcome, v.PWorse)
			}
		})
	}
}
