package orchestrator

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator/canary"
	"github.com/bootandshoot/release/orchestrator/hook"
	"github.com/bootandshoot/release/orchestrator/metrics"
	"github.com/bootandshoot/release/router"
)

// users send so many requests a second, spread as the router's table says, until stop is called or the test ends. Of a
// release's requests so many in a thousand fail, and all others are answered in a bucket of latency.
type users struct {
	perSecond int
	failing   map[string]int // by release, or by release and role as in "r2 api", of 1,000
	silent    string         // a role that nobody asks
	bucket    map[string]int // by release
}

func (r *rig) come(u users) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		sent, failed := map[string]int{}, map[string]int{}
		for ctx.Err() == nil {
			r.serve(u, sent, failed)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	return func() { cancel(); <-done }
}

// serve counts what came in a tenth of a second. Parts of requests are carried over in sent, parts of failures in failed.
func (r *rig) serve(u users, sent, failed map[string]int) {
	table, err := r.router.Applied(context.Background())
	if err != nil {
		return
	}
	for _, route := range table.Routes {
		for _, fl := range route.Fleets {
			role := roleIn(fl.ID)
			if fl.Weight == 0 || len(fl.Nodes) == 0 || u.silent == role {
				continue
			}
			sent[fl.ID] += u.perSecond * fl.Weight // in 1/1000
			n := sent[fl.ID] / 1000
			sent[fl.ID] %= 1000
			failed[fl.ID] += n * max(u.failing[fl.Release], u.failing[fl.Release+" "+role])
			bad := failed[fl.ID] / 1000
			failed[fl.ID] %= 1000
			r.router.Count(fl.ID, fl.Nodes[0].Name, func(t *router.NodeTraffic) {
				t.Requests += uint64(n)
				t.Status5x += uint64(bad)
				if t.Latency.Counts == nil {
					t.Latency.Counts = make([]uint64, len(router.LatencyBounds())+1)
				}
				t.Latency.Counts[4+u.bucket[fl.Release]] += uint64(n)
			})
		}
	}
}

// watched is a cutover of steps that are compared.
func watched(c *config.App) {
	c.Cutover.Steps = []config.Step{{Percent: 10, Hold: config.Duration(time.Minute)}, {Percent: 50, Hold: config.Duration(time.Minute)}, {Percent: 100}}
	c.Cutover.Verdict = &config.Verdict{FalseAlarms: 1, Missed: 5, WorseFrom: config.WorseFrom{Errors: 0.1, Latency: 1.5},
		GoodWithin: config.GoodWithin{Errors: 1, Slow: 10}, Wait: config.Duration(5 * time.Minute)}
}

// A step that nothing is known of says for how long it waits, by which key, what would help, and then for whom it waits.
func TestStepWithoutTrafficSaysWhatItWaitsFor(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, watched)
		seen := r.state().EventSeq
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, watched)})
		s := r.until("the wait for a verdict", func(s *State) bool {
			return s.exclusive() != nil && strings.HasPrefix(s.exclusive().Waits, "a verdict")
		})
		if want := "a verdict on r2 at 10 %, for 5 m at most (cutover.verdict.wait)"; s.exclusive().Waits != want {
			t.Errorf("it waits for %q, want %q", s.exclusive().Waits, want)
		}
		events, err := r.o.Events(context.Background(), shop, seen, 100)
		if err != nil {
			t.Fatal(err)
		}
		note := slices.IndexFunc(events, func(e Event) bool { return e.Type == "up.note" })
		if note < 0 || !strings.Contains(events[note].Message, "cutover.verdict.enough") || !strings.Contains(events[note].Message, "verdict: off") {
			t.Errorf("the journal does not name what helps: %+v", events)
		}
		s = r.until("a person to be waited for", func(s *State) bool { return s.exclusive() != nil && s.exclusive().Held != "" })
		if s.exclusive().Waits != forPerson {
			t.Errorf("it waits for %q", s.exclusive().Waits)
		}
		if err := r.steer("resume"); err != nil {
			t.Fatal(err)
		}
		r.until("50 %", func(*State) bool { return r.weights()["r2"] == 50 })
		if err := r.steer("abort"); err != nil {
			t.Fatal(err)
		}
		r.wait(op)
	})
}

func TestVerdictOfACutover(t *testing.T) {
	for name, c := range map[string]struct {
		users  users
		change func(*config.App)
		ends   map[string]int // weights
		says   string         // in the failure, or why it is held
		most   time.Duration
		kept   []canary.Outcome
	}{
		"as good":    {users{perSecond: 200}, nil, map[string]int{"r2": 100}, "", 2*time.Minute + 10*time.Second, []canary.Outcome{canary.Good, canary.Good}},
		"both fail":  {users{perSecond: 2000, failing: map[string]int{"r1": 100, "r2": 100}}, nil, map[string]int{"r2": 100}, "", 5 * time.Minute, []canary.Outcome{canary.Good, canary.Good}},
		"errors":     {users{perSecond: 200, failing: map[string]int{"r1": 1, "r2": 20}}, nil, map[string]int{"r1": 100}, "worse than r1, beyond chance: ", time.Minute, []canary.Outcome{canary.Worse}},
		"slow":       {users{perSecond: 200, bucket: map[string]int{"r2": 4}}, nil, map[string]int{"r1": 100}, "beyond chance: its p50 is", time.Minute, []canary.Outcome{canary.Worse}},
		"few":        {users{perSecond: 5}, nil, map[string]int{"r1": 90, "r2": 10}, "too few requests: it had ", 7 * time.Minute, []canary.Outcome{canary.Open}},
		"none":       {users{}, nil, map[string]int{"r1": 90, "r2": 10}, "the old release had no requests", 7 * time.Minute, []canary.Outcome{canary.Open}},
		"few, later": {users{perSecond: 30}, nil, map[string]int{"r2": 100}, "", 6 * time.Minute, []canary.Outcome{canary.Good, canary.Good}},
		"few are enough": {users{perSecond: 10}, func(c *config.App) { c.Cutover.Verdict.Enough = 50 }, map[string]int{"r2": 100}, "",
			3 * time.Minute, []canary.Outcome{canary.Good, canary.Good}},
		"not compared": {users{perSecond: 200, failing: map[string]int{"r2": 20}}, func(c *config.App) { c.Cutover.Verdict.Off = true },
			map[string]int{"r2": 100}, "", 3 * time.Minute, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inRig(t, func(t *testing.T, r *rig) {
				conf := func(a *config.App) {
					watched(a)
					if c.change != nil {
						c.change(a)
					}
				}
				r.up(1, 1, conf)
				defer r.come(c.users)()
				op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, conf)})
				began := time.Now()
				r.until("its end, or a hold", func(s *State) bool {
					now, err := r.o.Operation(context.Background(), shop, op.ID)
					if err != nil {
						t.Fatal(err)
					}
					op = now
					return !op.Ended.IsZero() || op.Paused
				})
				if took := time.Since(began); took > c.most {
					t.Errorf("it took %s", took)
				}
				wantWeights(r, c.ends)
				said := op.Held
				if op.Failure != nil {
					said = op.Failure.Message
				}
				if c.says == "" && said != "" || !strings.Contains(said, c.says) {
					t.Errorf("it says %q, want %q", said, c.says)
				}
				var kept []canary.Outcome
				for _, v := range op.Verdicts {
					kept = append(kept, v.Outcome)
				}
				if len(kept) != len(c.kept) {
					t.Fatalf("verdicts %v, want %v", kept, c.kept)
				}
				for i := range kept {
					if kept[i] != c.kept[i] {
						t.Errorf("verdicts %v, want %v", kept, c.kept)
					}
				}
			})
		})
	}
}

// A step that is held for too few requests goes on when a person says so, and the next step is judged again.
func TestResumeWithoutAVerdict(t *testing.T) {
	t.Parallel()
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, watched)
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, watched)})
		r.until("the hold", func(s *State) bool { return s.exclusive() != nil && s.exclusive().Paused })
		if err := r.steer("resume"); err != nil {
			t.Fatal(err)
		}
		s := r.until("the hold of the next step", func(s *State) bool { return s.exclusive().Paused && s.exclusive().Percent == 50 })
		if why := s.exclusive().Held; !strings.Contains(why, "nothing to compare with") {
			t.Errorf("held: %q", why)
		}
		stop := r.come(users{perSecond: 200, failing: map[string]int{"r2": 50}}) // what is held is still watched
		defer stop()
		op = r.wait(op)
		wantWeights(r, map[string]int{"r1": 100})
		if op.Failure == nil || op.Failure.Code != fault.RolledBack {
			t.Errorf("failure %+v", op.Failure)
		}
	})
}

// evidence is that of the operation under way.
func evidence(s *State) canary.Evidence { return s.exclusive().Evidence[s.exclusive().Fleet] }

// An agent that takes over goes on with the evidence of the one before, and does not count its requests twice.
func TestEvidenceSurvivesTheAgent(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, watched)
		defer r.come(users{perSecond: 200})()
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, watched)})
		r.until("10 %", func(*State) bool { return r.weights()["r2"] == 10 })
		time.Sleep(30 * time.Second)
		before := evidence(r.state()).Step.New.Requests
		r.stop()
		r.start()
		r.until("the next agent's first reading", func(s *State) bool { return s.exclusive() != nil && evidence(s).Open.New.Requests > 0 })
		after := evidence(r.state()).Step.New.Requests
		if after > before+20 || after+200 < before {
			t.Errorf("%d requests were judged, by the next agent %d", before, after)
		}
		if op = r.wait(op); op.Failure != nil {
			t.Errorf("failure: %+v", op.Failure)
		}
	})
}

// What goes wrong after a one-way step is held at its split, and a person decides.
func TestNoWayBackAfterAOneWayStep(t *testing.T) {
	oneWay := func(c *config.App) {
		watched(c)
		c.Cutover.Steps[1].OneWay = true
		c.Hooks.OnAbort = []config.Hook{{Cmd: []string{"./page"}, Timeout: config.Duration(time.Minute)}}
	}
	stuck := func(t *testing.T, r *rig) Operation {
		r.up(1, 1, oneWay)
		stop := r.come(users{perSecond: 200})
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, oneWay)})
		r.until("50 %", func(*State) bool { return r.weights()["r2"] == 50 })
		stop()
		stop = r.come(users{perSecond: 200, failing: map[string]int{"r2": 100}})
		s := r.until("the hold", func(s *State) bool { return s.exclusive() != nil && s.exclusive().Paused })
		stop()
		if f := s.exclusive().Failure; f == nil || f.Code != fault.NeedsPerson || !strings.Contains(f.Message, "held at 50 %, since the step of 50 % is one-way") {
			t.Fatalf("failure %+v", f)
		}
		time.Sleep(10 * time.Minute)
		wantWeights(r, map[string]int{"r1": 50, "r2": 50})
		if calls := r.hooks.calls(); len(calls) != 1 {
			t.Fatalf("hooks that ran: %q, want the page, once", calls)
		}
		var told struct {
			Code    fault.Code
			Percent int
			Verdict Verdict
		}
		if err := json.Unmarshal([]byte(r.hooks.lastAt("on_abort").Env["RELEASE_HOOK_VERDICT"]), &told); err != nil {
			t.Fatal(err)
		}
		if told.Code != fault.NeedsPerson || told.Percent != 50 || told.Verdict.Outcome != canary.Worse || told.Verdict.New.Requests == 0 {
			t.Errorf("the page was told %+v", told)
		}
		if err := r.steer("abort"); !fault.Is(err, fault.NeedsPerson) {
			t.Fatalf("abort: %v", err)
		}
		if _, err := r.try(Request{Kind: KindRollback}); !fault.Is(err, fault.NeedsPerson) {
			t.Fatalf("rollback: %v", err)
		}
		return op
	}
	t.Run("resume", func(t *testing.T) {
		t.Parallel()
		inRig(t, func(t *testing.T, r *rig) {
			op := stuck(t, r)
			if err := r.steer("resume"); err != nil {
				t.Fatal(err)
			}
			if op = r.wait(op); op.Failure != nil {
				t.Errorf("failure %+v", op.Failure)
			}
			wantWeights(r, map[string]int{"r2": 100})
		})
	})
	t.Run("abort --force", func(t *testing.T) {
		t.Parallel()
		inRig(t, func(t *testing.T, r *rig) {
			op := stuck(t, r)
			word := Word{Verb: "abort", By: "ann", Force: true, DryRun: true}
			would, err := r.o.Steer(context.Background(), shop, word)
			if err != nil || r.state().exclusive().Phase == PhaseAborting {
				t.Fatalf("a dry run did it, or %v", err)
			}
			word.DryRun = false
			done, err := r.o.Steer(context.Background(), shop, word)
			if err != nil || len(done) == 0 || !slices.Equal(done, would) {
				t.Fatalf("said %q, would be %q: %v", done, would, err)
			}
			says := "up of r2: aborted by ann, by force: the step of 50 % is one-way; r1 may not work with what r2 has done since"
			if op = r.wait(op); op.Failure == nil || op.Failure.Code != fault.RolledBack || op.Failure.Message != says || op.AbortedBy != "ann" {
				t.Errorf("failure %+v", op.Failure)
			}
			if !slices.Contains(done, says) {
				t.Errorf("the journal says %q", done)
			}
			wantWeights(r, map[string]int{"r1": 100})
		})
	})
	t.Run("rollback --force", func(t *testing.T) {
		t.Parallel()
		inRig(t, func(t *testing.T, r *rig) {
			op := stuck(t, r)
			if back := r.submit(Request{Kind: KindRollback, Force: true}); back.ID != op.ID {
				t.Errorf("rollback began %s", back.ID)
			}
			if op = r.wait(op); op.Failure == nil || op.Failure.Code != fault.RolledBack {
				t.Errorf("failure %+v", op.Failure)
			}
			wantWeights(r, map[string]int{"r1": 100})
		})
	})
}

// A share that is asked for by itself passes the steps below it. One of them that is one-way is passed with it, and stays so for the
// next cutover.
func TestShareThatIsAskedForPassesOneWaySteps(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		r.done(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(1, func(c *config.App) {
			c.Cutover.Steps = []config.Step{{Percent: 50, OneWay: true}, {Percent: 100}}
			c.Hooks.AfterCutover = aHook("check")
		})})
		r.done(Request{Kind: KindCutover, Percent: 60})
		r.hooks.answer(func(context.Context, hook.Command, func(string)) (hook.Exit, error) { return hook.Exit{Code: 1}, nil })
		r.submit(Request{Kind: KindCutover})
		s := r.until("the hold", func(s *State) bool { return s.exclusive() == nil || s.exclusive().Paused })
		if op := s.exclusive(); op == nil || op.Failure == nil || op.Failure.Code != fault.NeedsPerson || !strings.Contains(op.Failure.Message, "since the step of 50 % is one-way") {
			t.Errorf("it is not held: %+v", op)
		}
		wantWeights(r, map[string]int{"r2": 100})
	})
}

// Of several roles each that is routed is compared, and the worst of them decides.
func TestVerdictOfRoles(t *testing.T) {
	for name, c := range map[string]struct {
		users  users
		change func(*rig, *config.App)
		ends   map[string]int // weights
		says   string         // in the failure, or why it is held
		kept   []string       // roles and outcomes
	}{
		"as good":    {users{perSecond: 200}, nil, map[string]int{"r2": 100}, "", []string{"web good", "api good", "web good", "api good"}},
		"the inner":  {users{perSecond: 200, failing: map[string]int{"r1": 1, "r2 api": 20}}, nil, map[string]int{"r1": 100}, "cut over to r2 api at 10 %: worse than r1, beyond chance: ", []string{"api worse"}},
		"the outer":  {users{perSecond: 200, failing: map[string]int{"r1": 1, "r2 web": 20}}, nil, map[string]int{"r1": 100}, "cut over to r2 web at 10 %: worse than r1", []string{"web worse"}},
		"nobody":     {users{perSecond: 200, silent: "api"}, nil, map[string]int{"r1": 90, "r2": 10}, "api: the old release had no requests", []string{"api open"}},
		"left alone": {users{perSecond: 200, silent: "api"}, withoutVerdict, map[string]int{"r2": 100}, "", []string{"web good", "web good"}},
		"a volume":   {users{perSecond: 200}, func(_ *rig, c *config.App) { ownVolume("api")(c.Roles) }, map[string]int{"r2": 100}, "", []string{"web good", "web good"}},
		"a question": {users{perSecond: 200}, answered(always(2)), map[string]int{"r1": 100}, "abort_on.prometheus[0]: 2", []string{" worse"}},
		"no answer":  {users{perSecond: 200}, answered(never(metrics.ErrNoData)), map[string]int{"r1": 90, "r2": 10}, "has no answer", []string{" open"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inRig(t, func(t *testing.T, r *rig) {
				conf := func(a *config.App) {
					watched(a)
					withRoles()(a)
					if c.change != nil {
						c.change(r, a)
					}
				}
				r.up(1, 1, conf)
				defer r.come(c.users)()
				op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, conf)})
				r.until("its end, or a hold", func(s *State) bool {
					now, err := r.o.Operation(context.Background(), shop, op.ID)
					if err != nil {
						t.Fatal(err)
					}
					op = now
					return !op.Ended.IsZero() || op.Paused
				})
				wantWeights(r, c.ends)
				said := op.Held
				if op.Failure != nil {
					said = op.Failure.Message
				}
				if c.says == "" && said != "" || !strings.Contains(said, c.says) {
					t.Errorf("it says %q, want %q", said, c.says)
				}
				var kept []string
				for _, v := range op.Verdicts {
					kept = append(kept, v.Role+" "+string(v.Outcome))
				}
				if !slices.Equal(kept, c.kept) {
					t.Errorf("verdicts %q, want %q", kept, c.kept)
				}
			})
		})
	}
}

// answered has a question asked besides, of which no role is worse or better.
func answered(do func(int) ([]metrics.Sample, error)) func(*rig, *config.App) {
	return func(r *rig, c *config.App) {
		r.metrics.answer(do)
		compared := c.Cutover
		asking()(c)
		rule := *compared.Verdict
		rule.Wait = config.Duration(30 * time.Second)
		c.Cutover.Steps, c.Cutover.Verdict = compared.Steps, &rule
	}
}

func withoutVerdict(_ *rig, c *config.App) {
	changed("api", func(r *config.Role) { r.Verdict = config.VerdictOff })(c.Roles)
}
