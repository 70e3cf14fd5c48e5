package healthcheck

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestGate(t *testing.T) {
	p := Params{HealthyAfter: 2, UnhealthyAfter: 3, StartWithin: 10 * time.Second}
	tests := []struct {
		name    string
		initial Verdict
		results string // a result a second: + ok, - not
		want    string // the verdict after each: s, h, u, f
	}{
		{"healthy after two in a row", Starting, "+-++", "sssh"},
		{"failures while starting are no verdict", Starting, "------", "ssssss"},
		{"failed when the time is over", Starting, "----------", "sssssssssf"},
		{"failed is final", Starting, "----------+++", "sssssssssffff"},
		{"the success that completes at the deadline counts", Starting, "--------++", "sssssssssh"},
		{"a success that completes nothing at the deadline does not", Starting, "---------+", "sssssssssf"},
		{"unhealthy after three in a row", Healthy, "--+---", "hhhhhu"},
		{"healthy again after two", Unhealthy, "+-++", "uuuh"},
		{"an adopted healthy node is not starting", Healthy, "+-", "hh"},
		{"an old node that was unhealthy is not failed", Unhealthy, "----------------", "uuuuuuuuuuuuuuuu"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, got := Begin(t0, test.initial), ""
			for i, c := range test.results {
				s = Gate(p, s, Result{At: t0.Add(time.Duration(i+1) * time.Second), OK: c == '+'})
				got += string(s.Verdict[0])
			}
			if got != test.want {
				t.Errorf("%s gave %s, want %s", test.results, got, test.want)
			}
		})
	}
}

// history is a random run of results with the parameters they were judged by.
func history(t *rapid.T) (Params, Verdict, []Result) {
	p := Params{
		HealthyAfter: rapid.IntRange(1, 5).Draw(t, "healthy after"), UnhealthyAfter: rapid.IntRange(1, 5).Draw(t, "unhealthy after"),
		StartWithin: time.Duration(rapid.IntRange(1, 60).Draw(t, "start within")) * time.Second,
	}
	initial := rapid.SampledFrom([]Verdict{"", Starting, Healthy, Unhealthy, Failed}).Draw(t, "initial")
	at := t0
	var results []Result
	for _, ok := range rapid.SliceOfN(rapid.Bool(), 0, 60).Draw(t, "results") {
		at = at.Add(time.Duration(rapid.IntRange(1, 3000).Draw(t, "pause")) * time.Millisecond)
		results = append(results, Result{At: at, OK: ok})
	}
	return p, initial, results
}

func TestGateProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, initial, results := history(t)
		s := Begin(t0, initial)
		for i, r := range results {
			next := Gate(p, s, r)
			if again := Gate(p, s, r); again != next {
				t.Fatalf("the same question got two answers: %+v, %+v", next, again)
			}
			checkStep(t, p, s, next, results[:i+1])
			s = next
		}
	})
}

func checkStep(t *rapid.T, p Params, before, after State, results []Result) {
	r := results[len(results)-1]
	ok, bad := trailing(results)
	if after.Last != r || after.Streak != ok-bad {
		t.Fatalf("streak %d after %d successes and %d failures", after.Streak, ok, bad)
	}
	if after.Verdict == before.Verdict {
		if after.Since != before.Since {
			t.Fatal("Since moved without a change of verdict")
		}
		return
	}
	if after.Since != r.At {
		t.Fatal("Since is not the time of the change")
	}
	allowed := map[[2]Verdict]bool{
		{Starting, Healthy}: ok >= p.HealthyAfter, {Unhealthy, Healthy}: ok >= p.HealthyAfter,
		{Healthy, Unhealthy}: bad >= p.UnhealthyAfter,
		{Starting, Failed}:   r.At.Sub(t0) >= p.StartWithin && ok < p.HealthyAfter,
	}
	if !allowed[[2]Verdict{before.Verdict, after.Verdict}] {
		t.Fatalf("%s became %s after %d successes and %d failures", before.Verdict, after.Verdict, ok, bad)
	}
}

func trailing(results []Result) (ok, bad int) {
	for i := len(results) - 1; i >= 0 && results[i].OK == results[len(results)-1].OK; i-- {
		if results[i].OK {
			ok++
		} else {
			bad++
		}
	}
	return ok, bad
}

// Enough equal results bring every node that can change to the verdict they say.
func TestGateConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, initial, results := history(t)
		s := Begin(t0, initial)
		for _, r := range results {
			s = Gate(p, s, r)
		}
		final := s.Verdict == Failed
		ok := rapid.Bool().Draw(t, "then")
		for i := range 70 {
			s = Gate(p, s, Result{At: t0.Add(time.Hour + time.Duration(i)*time.Second), OK: ok})
		}
		switch {
		case final && s.Verdict != Failed:
			t.Fatalf("a failed node became %s", s.Verdict)
		case !final && ok && s.Verdict != Healthy && s.Verdict != Failed:
			t.Fatalf("only successes, and it is %s", s.Verdict)
		case !final && !ok && s.Verdict != Unhealthy && s.Verdict != Failed:
			t.Fatalf("only failures, and it is %s", s.Verdict)
		}
	})
}
