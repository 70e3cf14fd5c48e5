package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator/canary"
	"github.com/bootandshoot/release/orchestrator/hook"
	"github.com/bootandshoot/release/orchestrator/metrics"
)

// fakeMetrics stands for a server, which virtual time does not know.
type fakeMetrics struct {
	mu    sync.Mutex
	asked []metrics.Query
	do    func(asked int) ([]metrics.Sample, error) // nil: 0
}

func (f *fakeMetrics) ask(_ context.Context, q metrics.Query) ([]metrics.Sample, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, q)
	if f.do == nil {
		return []metrics.Sample{{Value: 0}}, nil
	}
	return f.do(len(f.asked))
}

func (f *fakeMetrics) answer(do func(asked int) ([]metrics.Sample, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.do = do
}

func (f *fakeMetrics) queries() []metrics.Query {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

func (f *fakeMetrics) count() int { return len(f.queries()) }

func values(list ...float64) ([]metrics.Sample, error) {
	var samples []metrics.Sample
	for _, v := range list {
		samples = append(samples, metrics.Sample{Labels: "{n}", Value: v})
	}
	return samples, nil
}

// asking is a cutover of two held steps that are not compared, and a query that must stay at 1 or below.
func asking(change ...func(*config.AbortOn)) func(*config.App) {
	limit := 1.0
	d := func(d time.Duration) config.Duration { return config.Duration(d) }
	return func(c *config.App) {
		c.Cutover.Steps = []config.Step{{Percent: 10, Hold: d(time.Minute)}, {Percent: 50, Hold: d(time.Minute)}, {Percent: 100}}
		c.Cutover.Verdict = &config.Verdict{Off: true}
		c.Cutover.AbortOn = &config.AbortOn{MinRequests: 100, Prometheus: []config.Metric{{Query: `errors{release="$RELEASE"}[${SECONDS}s]`, Above: &limit, Every: d(10 * time.Second), Timeout: d(5 * time.Second)}}}
		for _, f := range change {
			f(c.Cutover.AbortOn)
		}
	}
}

// asked brings a release up whose cutover asks, until it ended or is held, and says how long that took.
func (r *rig) asked(conf func(*config.App)) (Operation, time.Duration) {
	r.t.Helper()
	r.up(1, 1)
	op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, conf)})
	began := time.Now()
	r.until("its end, or a hold", func(*State) bool {
		now, err := r.o.Operation(context.Background(), shop, op.ID)
		if err != nil {
			r.t.Fatal(err)
		}
		op = now
		return !op.Ended.IsZero() || op.Paused
	})
	return op, time.Since(began)
}

func TestQueryOfACutover(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*config.AbortOn)
		answer func(asked int) ([]metrics.Sample, error)
		ends   map[string]int // weights
		says   string         // in the failure, or why it is held
		least  time.Duration
		most   time.Duration
		kept   []canary.Outcome
	}{
		"good":         {nil, nil, users2, "", 2 * time.Minute, 125 * time.Second, []canary.Outcome{canary.Good, canary.Good}},
		"at the limit": {nil, always(1), users2, "", 2 * time.Minute, 125 * time.Second, []canary.Outcome{canary.Good, canary.Good}},
		"bad":          {nil, always(1.5), users1, "at 10 %: abort_on.prometheus[0]: 1.5, bad is above 1", 0, 5 * time.Second, []canary.Outcome{canary.Worse}},
		"one is bad":   {nil, always(0, 7, 1), users1, "7 of {n}, the worst of 3", 0, 5 * time.Second, []canary.Outcome{canary.Worse}},
		"without end":  {nil, always(math.Inf(1)), users1, "+Inf, bad is above 1", 0, 5 * time.Second, []canary.Outcome{canary.Worse}},
		"bad later": {nil, func(n int) ([]metrics.Sample, error) { return values(float64(n / 5)) }, users1, "at 50 %: ", time.Minute, 2 * time.Minute,
			[]canary.Outcome{canary.Good, canary.Worse}},
		"too low": {func(on *config.AbortOn) { on.Prometheus[0].Above, on.Prometheus[0].Below = nil, on.Prometheus[0].Above }, always(5, 0),
			users1, "0 of {n}, the worst of 2, bad is below 1", 0, 5 * time.Second, []canary.Outcome{canary.Worse}},
		"bad for too long": {tolerant, always(2), users1, "2, bad is above 1 for 30s", 30 * time.Second, 40 * time.Second, []canary.Outcome{canary.Worse}},
		"bad now and then": {tolerant, func(n int) ([]metrics.Sample, error) { return values(float64(2 * (n % 2))) }, users2, "", 2 * time.Minute, 3 * time.Minute,
			[]canary.Outcome{canary.Good, canary.Good}},
		"bad at the end": {func(on *config.AbortOn) { on.Prometheus[0].For = config.Duration(3 * time.Minute) }, always(2), users1, "for 3m", 3 * time.Minute, 200 * time.Second,
			[]canary.Outcome{canary.Worse}},
		"dead":    {nil, never(errors.New("connection refused")), users12, "abort_on.prometheus[0] has no answer: connection refused", 6 * time.Minute, 370 * time.Second, []canary.Outcome{canary.Open}},
		"no data": {nil, never(metrics.ErrNoData), users12, "has no answer: the query has no data", 6 * time.Minute, 370 * time.Second, []canary.Outcome{canary.Open}},
		"back in time": {nil, func(n int) ([]metrics.Sample, error) {
			if n < 20 {
				return nil, errors.New("connection refused")
			}
			return values(0)
		}, users2, "", 4 * time.Minute, 6 * time.Minute, []canary.Outcome{canary.Good, canary.Good}},
		"dead, then bad": {nil, func(n int) ([]metrics.Sample, error) {
			if n < 20 {
				return nil, errors.New("connection refused")
			}
			return values(2)
		}, users1, "2, bad is above 1", 3 * time.Minute, 4 * time.Minute, []canary.Outcome{canary.Worse}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inRig(t, func(t *testing.T, r *rig) {
				r.metrics.answer(c.answer)
				conf := asking()
				if c.change != nil {
					conf = asking(c.change)
				}
				op, took := r.asked(conf)
				wantWeights(r, c.ends)
				said := op.Held
				if op.Failure != nil {
					said = op.Failure.Message
				}
				if c.says == "" && said != "" || !strings.Contains(said, c.says) {
					t.Errorf("it says %q, want %q", said, c.says)
				}
				if took < c.least || took > c.most {
					t.Errorf("it took %s, want from %s to %s", took, c.least, c.most)
				}
				var kept []canary.Outcome
				for _, v := range op.Verdicts {
					kept = append(kept, v.Outcome)
					if len(v.Checks) != 1 || v.Checks[0].Text == "" {
						t.Errorf("the verdict lacks its answers: %+v", v)
					}
				}
				if !slices.Equal(kept, c.kept) {
					t.Errorf("verdicts %v, want %v", kept, c.kept)
				}
			})
		})
	}
}

// Where users are in the end.
var (
	users1  = map[string]int{"r1": 100}
	users2  = map[string]int{"r2": 100}
	users12 = map[string]int{"r1": 90, "r2": 10}
)

func tolerant(on *config.AbortOn) { on.Prometheus[0].For = config.Duration(30 * time.Second) }

func always(list ...float64) func(int) ([]metrics.Sample, error) {
	return func(int) ([]metrics.Sample, error) { return values(list...) }
}

func never(err error) func(int) ([]metrics.Sample, error) {
	return func(int) ([]metrics.Sample, error) { return nil, err }
}

// Each question is asked by its own clock, with the values of the moment, of the machine's server with what it is to be told.
func TestQueriesAreAskedAgainAndAgain(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.asked(asking())
		asked := r.metrics.queries()
		if n := len(asked); n < 12 || n > 16 { // two minutes, every ten seconds, and once more at the end of each step
			t.Errorf("asked %d times", n)
		}
		first, last := asked[0], asked[len(asked)-1]
		if first.Expr != `errors{release="r2"}[1s]` || last.Expr != `errors{release="r2"}[60s]` || first.Token != "secret of env:T" || first.URL != "http://metrics" {
			t.Errorf("asked %+v, in the end %+v", first, last)
		}
		answers := 0
		if err := r.o.call(t.Context(), func() {
			for key := range r.o.world.results {
				if strings.HasPrefix(key, string(ActAsk)) {
					answers++
				}
			}
		}); err != nil || answers > 2 {
			t.Errorf("%d answers are kept, %v", answers, err)
		}
		said := r.messages("check.good")
		if len(said) != 2 || said[0] != "abort_on.prometheus[0]: 0, bad is above 1" {
			t.Errorf("said %q: one line for each step", said)
		}
	})
	inRig(t, func(t *testing.T, r *rig) {
		r.metrics.answer(func(asked int) ([]metrics.Sample, error) {
			if asked < 6 {
				return nil, metrics.ErrNoData
			}
			return values(0)
		})
		r.asked(asking())
		if said := r.messages("check.unknown"); len(said) != 1 || !strings.HasSuffix(said[0], "has no answer: the query has no data") {
			t.Errorf("said %q: once, and not that it was not there at first", said)
		}
	})
	inRig(t, func(t *testing.T, r *rig) {
		r.asked(asking(func(on *config.AbortOn) { on.Prometheus[0].URL = "http://other" }))
		if q := r.metrics.queries()[0]; q.URL != "http://other" || q.Token != "" || len(q.Headers) != 0 {
			t.Errorf("another server was told what is the machine's: %+v", q)
		}
	})
}

// What is held for an answer goes on when a person says so, and is asked in the next step again; while it is held a bad answer aborts.
func TestHeldForAnAnswer(t *testing.T) {
	t.Parallel()
	inRig(t, func(t *testing.T, r *rig) {
		r.metrics.answer(never(errors.New("no luck")))
		op, _ := r.asked(asking())
		if !op.Paused {
			t.Fatalf("it is not held: %+v", op)
		}
		if err := r.steer("resume"); err != nil {
			t.Fatal(err)
		}
		s := r.until("the hold of the next step", func(s *State) bool { return s.exclusive().Paused && s.exclusive().Percent == 50 })
		if !strings.Contains(s.exclusive().Held, "no luck") {
			t.Errorf("held: %q", s.exclusive().Held)
		}
		r.metrics.answer(always(2))
		op = r.wait(op)
		wantWeights(r, users1)
		if op.Failure == nil || op.Failure.Code != fault.RolledBack || len(op.Verdicts) != 3 {
			t.Errorf("failure %+v, verdicts %+v", op.Failure, op.Verdicts)
		}
	})
}

// An agent that takes over asks anew, and an old answer does not pass a step.
func TestAnswersOfAnEarlierAgent(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, asking())})
		r.until("a good answer", func(s *State) bool {
			return s.exclusive() != nil && len(s.exclusive().Checks) == 1 && s.exclusive().Checks[0].Outcome == CheckGood
		})
		time.Sleep(58 * time.Second)
		r.stop()
		r.metrics.answer(always(2))
		time.Sleep(time.Hour)
		r.start()
		op = r.wait(op)
		wantWeights(r, users1)
		if op.Failure == nil || !strings.Contains(op.Failure.Message, "bad is above 1") {
			t.Errorf("failure %+v", op.Failure)
		}
	})
}

// judged is a cutover whose command judges it.
func judged(change ...func(*config.Judge)) func(*config.App) {
	return asking(func(on *config.AbortOn) {
		on.Prometheus = nil
		on.Command = []config.Judge{{Cmd: config.Command{"judge"}, Every: config.Duration(20 * time.Second), Timeout: config.Duration(5 * time.Second)}}
		for _, f := range change {
			f(&on.Command[0])
		}
	})
}

func TestCommandOfACutover(t *testing.T) {
	exits := func(code int) func(context.Context, hook.Command, func(string)) (hook.Exit, error) {
		return func(_ context.Context, c hook.Command, line func(string)) (hook.Exit, error) {
			line("looking")
			line(c.Mask("it looks bad to " + c.Env["TOKEN"]))
			return hook.Exit{Code: code}, nil
		}
	}
	for name, c := range map[string]struct {
		change func(*config.Judge)
		run    func(context.Context, hook.Command, func(string)) (hook.Exit, error)
		ends   map[string]int
		says   string
	}{
		"good":        {nil, exits(0), users2, ""},
		"bad":         {nil, exits(1), users1, "at 10 %: abort_on.command[0]: it ended with exit code 1: it looks bad to ***"},
		"may be bad":  {func(j *config.Judge) { j.AllowFailure = true }, exits(1), users2, ""},
		"cannot tell": {nil, exits(75), users12, "abort_on.command[0] has no answer: it ended with exit code 75"},
		"not there":   {nil, exits(127), users12, "has no answer: it ended with exit code 127"},
		"killed": {nil, func(context.Context, hook.Command, func(string)) (hook.Exit, error) {
			return hook.Exit{Code: 137, Signal: "KILL"}, nil
		}, users12, "has no answer: it ended by signal KILL"},
		"hangs": {nil, func(context.Context, hook.Command, func(string)) (hook.Exit, error) {
			return hook.Exit{Code: 143, Signal: "TERM"}, errors.New("it did not end within 5s")
		}, users12, "has no answer: it did not end within 5s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inRig(t, func(t *testing.T, r *rig) {
				r.hooks.answer(c.run)
				op, _ := r.asked(judged(func(j *config.Judge) {
					j.Secrets = map[string]string{"TOKEN": "env:T"}
					if c.change != nil {
						c.change(j)
					}
				}))
				wantWeights(r, c.ends)
				said := op.Held
				if op.Failure != nil {
					said = op.Failure.Message
				}
				if c.says == "" && said != "" || !strings.Contains(said, c.says) {
					t.Errorf("it says %q, want %q", said, c.says)
				}
				if env := r.hooks.lastAt("abort_on").Env; env["RELEASE_HOOK_VERSION"] != "r2" || env["RELEASE_HOOK_FROM"] != "r1" || env["RELEASE_HOOK_PERCENT"] == "0" {
					t.Errorf("the command was told %v", env)
				}
				if lines := r.messages("check.output"); len(lines) > 4 || slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "secret of") }) {
					t.Errorf("its output: %q", lines)
				}
			})
		})
	}
}

// A command that judges ends with its operation.
func TestCommandEndsWithTheWayBack(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		ended := make(chan struct{})
		r.hooks.answer(func(ctx context.Context, _ hook.Command, _ func(string)) (hook.Exit, error) {
			<-ctx.Done()
			close(ended)
			return hook.Exit{}, ctx.Err()
		})
		r.up(1, 1)
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, judged(func(j *config.Judge) { j.Timeout = config.Duration(time.Hour) }))})
		r.until("10 %", func(*State) bool { return r.weights()["r2"] == 10 && len(r.hooks.calls()) == 1 })
		if err := r.steer("abort"); err != nil {
			t.Fatal(err)
		}
		r.wait(op)
		<-ended
	})
}

// A question whose answer was still to come when a person said that it goes on is asked anew, and what the one before says then
// counts no more.
func TestLateAnswerAfterResume(t *testing.T) {
	t.Parallel()
	inRig(t, func(t *testing.T, r *rig) {
		late := make(chan struct{})
		var runs atomic.Int64
		r.hooks.answer(func(ctx context.Context, _ hook.Command, _ func(string)) (hook.Exit, error) {
			if runs.Add(1) > 1 {
				return hook.Exit{}, nil
			}
			select {
			case <-late:
			case <-ctx.Done():
			}
			return hook.Exit{Code: 1}, nil
		})
		r.metrics.answer(always(2))
		op, _ := r.asked(func(c *config.App) {
			asking()(c)
			c.Cutover.Steps[0].OneWay = true
			c.Cutover.AbortOn.Command = []config.Judge{{Cmd: config.Command{"judge"}, Every: config.Duration(time.Hour), Timeout: config.Duration(time.Hour)}}
		})
		if op.Failure == nil || op.Failure.Code != fault.NeedsPerson || runs.Load() != 1 {
			t.Fatalf("failure %+v, after %d runs", op.Failure, runs.Load())
		}
		r.metrics.answer(nil)
		if err := r.steer("resume"); err != nil {
			t.Fatal(err)
		}
		r.until("the second answer", func(s *State) bool {
			op := s.exclusive()
			return op != nil && len(op.Checks) == 2 && op.Checks[1].Outcome == CheckGood
		})
		close(late)
		if op = r.wait(op); op.Failure != nil || runs.Load() < 2 {
			t.Errorf("failure %+v, after %d runs", op.Failure, runs.Load())
		}
		wantWeights(r, users2)
	})
}

// The page of a step that cannot be undone is told what was asked, and resume asks anew.
func TestAnswersPastAOneWayStep(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.metrics.answer(always(2))
		op, _ := r.asked(func(c *config.App) {
			asking()(c)
			c.Cutover.Steps[0].OneWay = true
			c.Hooks.OnAbort = aHook("./page")
		})
		if op.Failure == nil || op.Failure.Code != fault.NeedsPerson {
			t.Fatalf("failure %+v", op.Failure)
		}
		r.until("the page", func(*State) bool { return len(r.hooks.calls()) == 1 })
		var told struct{ Verdict Verdict }
		if err := json.Unmarshal([]byte(r.hooks.lastAt("on_abort").Env["RELEASE_HOOK_VERDICT"]), &told); err != nil {
			t.Fatal(err)
		}
		if v := told.Verdict; v.Aspect != "prometheus[0]" || len(v.Checks) != 1 || *v.Checks[0].Value != 2 {
			t.Errorf("the page was told %+v", v)
		}
		before := r.metrics.count()
		time.Sleep(time.Minute)
		if r.metrics.count() != before {
			t.Error("it is asked on, though nothing comes of it")
		}
		r.metrics.answer(nil)
		if err := r.steer("resume"); err != nil {
			t.Fatal(err)
		}
		if op = r.wait(op); op.Failure != nil {
			t.Errorf("failure %+v", op.Failure)
		}
	})
}

// A launch that asks what nobody could answer is refused before anything boots; a rollback asks nothing; a plan says what is asked.
func TestWhatIsAskedBeforehand(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, asking())
		if n := r.metrics.count(); n != 0 {
			t.Errorf("the first release of all was asked about %d times", n)
		}
		p, err := r.o.Plan(context.Background(), Request{Kind: KindUp, Key: shop, Image: image(2), Config: shopConfig(1, asking()), By: "ann"})
		if err != nil || p.Waits != "" || len(p.Asks) != 1 || !strings.HasPrefix(p.Asks[0], "abort_on.prometheus[0] every 10 s: errors{") || p.Holds.Truncate(time.Second) != 2*time.Minute {
			t.Errorf("the plan: %v, %+v", err, p)
		}
		r.up(2, 1, asking())
		before := r.metrics.count()
		r.done(Request{Kind: KindRollback})
		if r.metrics.count() != before {
			t.Error("a rollback was asked about")
		}
		r.o.opts.Prometheus = config.AgentPrometheus{}
		_, err = r.try(Request{Kind: KindUp, Image: image(3), Config: shopConfig(1, asking())})
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "abort_on.prometheus[0] names no server") {
			t.Errorf("no server: %v", err)
		}
	})
}
