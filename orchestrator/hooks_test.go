package orchestrator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator/hook"
)

// fakeHooks stands for processes, which virtual time does not know.
type fakeHooks struct {
	mu   sync.Mutex
	ran  []string                                                                        // "point command"
	last map[string]hook.Command                                                         // by point
	do   func(ctx context.Context, c hook.Command, line func(string)) (hook.Exit, error) // nil: they succeed
}

func (f *fakeHooks) run(ctx context.Context, c hook.Command, line func(string)) (hook.Exit, error) {
	f.mu.Lock()
	point := c.Env["RELEASE_HOOK_POINT"]
	f.ran = append(f.ran, strings.TrimSpace(point+" "+c.Env["RELEASE_HOOK_PERCENT"]+" "+c.Args[0]))
	if f.last == nil {
		f.last = map[string]hook.Command{}
	}
	f.last[point] = c
	do := f.do
	f.mu.Unlock()
	if do != nil {
		return do(ctx, c, line)
	}
	return hook.Exit{}, nil
}

func (f *fakeHooks) calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ran)
}

// lastAt is the newest command of a point.
func (f *fakeHooks) lastAt(point string) hook.Command {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last[point]
}

func (f *fakeHooks) answer(do func(ctx context.Context, c hook.Command, line func(string)) (hook.Exit, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.do = do
}

func aHook(cmd string, change ...func(*config.Hook)) []config.Hook {
	h := config.Hook{Cmd: config.Command{cmd}, Timeout: config.Duration(time.Minute)}
	for _, c := range change {
		c(&h)
	}
	return []config.Hook{h}
}

func mayFail(h *config.Hook) { h.AllowFailure = true }

func allHooks(c *config.App) {
	c.Hooks = config.Hooks{
		BeforeLaunch: aHook("bl"), AfterLaunch: aHook("al"), BeforeCutover: aHook("bc"), AfterCutover: aHook("ac"),
		BeforeStep: aHook("bs"), AfterStep: append(aHook("as"), aHook("as2")...), BeforeShoot: aHook("bshoot"), AfterShoot: aHook("ashoot"),
		OnAbort: aHook("abort"),
	}
	c.Cutover.Steps = []config.Step{{Percent: 10, Hold: config.Duration(time.Minute)}, {Percent: 100}}
	c.Cutover.KeepPrevious = config.Duration(time.Minute)
}

func TestHooksRunInOrder(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		r.up(2, 2, allHooks)
		want := []string{"before_launch 0 bl", "after_launch 0 al", "before_cutover 0 bc", "before_step 10 bs", "after_step 10 as", "after_step 10 as2",
			"before_step 100 bs", "after_step 100 as", "after_step 100 as2", "after_cutover 100 ac"}
		if got := r.hooks.calls(); !slices.Equal(got, want) {
			t.Errorf("ran %q\nwant %q", got, want)
		}
		env := r.hooks.lastAt("after_cutover").Env
		hosts := strings.Split(env["RELEASE_HOOK_HOSTS"], ",")
		for name, value := range map[string]string{
			"VERSION": "r2", "IMAGE": image(2), "PERFORMER": "ann", "ENV": "production", "APP": "shop", "RELEASE": "r2", "FROM": "r1",
			"PERCENT": "100", "OPERATION": "op-2",
		} {
			if got := env["RELEASE_HOOK_"+name]; got != value {
				t.Errorf("RELEASE_HOOK_%s is %q, want %q", name, got, value)
			}
		}
		if len(hosts) != 2 || !strings.HasPrefix(hosts[0], "10.0.") {
			t.Errorf("hosts are %q", hosts)
		}
		// The first release has no hooks: nobody is asked when it is shot. The second's are run when it is.
		r.up(3, 1)
		r.until("r2 to be shot", func(s *State) bool { return s.fleetOf("r2") == nil && len(r.running("r2")) == 0 && len(s.Fleets) == 1 })
		if got := r.hooks.calls()[len(want):]; !slices.Equal(got, []string{"before_shoot 0 bshoot", "after_shoot 0 ashoot"}) {
			t.Errorf("shot with %q", got)
		}
	})
}

// A hook that fails ends the operation where it is, with users where they were, unless it may fail.
func TestFailingHookAborts(t *testing.T) {
	for _, point := range []config.Point{config.BeforeLaunch, config.AfterLaunch, config.BeforeCutover, config.BeforeStep, config.AfterStep, config.AfterCutover} {
		t.Run(string(point), func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				r.up(1, 1)
				r.hooks.answer(func(_ context.Context, c hook.Command, line func(string)) (hook.Exit, error) {
					if c.Env["RELEASE_HOOK_POINT"] == string(point) {
						line("the smoke test saw smoke")
						return hook.Exit{Code: 3}, nil
					}
					return hook.Exit{}, nil
				})
				op := r.wait(r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, allHooks)}))
				if op.Failure == nil || op.Failure.Code != fault.RolledBack || !strings.Contains(op.Failure.Message, "exit code 3") ||
					!strings.Contains(op.Failure.Message, string(point)) {
					t.Fatalf("failure is %+v", op.Failure)
				}
				wantWeights(r, map[string]int{"r1": 100})
				calls := r.hooks.calls()
				if last := calls[len(calls)-1]; !slices.Contains(calls, "on_abort 0 abort") || last == "after_cutover 100 ac" && point != config.AfterCutover {
					t.Errorf("ran %q", calls)
				}
				if why := r.hooks.lastAt("on_abort").Env["RELEASE_HOOK_REASON"]; why != op.Failure.Message {
					t.Errorf("on_abort was told %q", why)
				}
				if said := r.messages("hook.output"); !slices.Contains(said, "the smoke test saw smoke") {
					t.Errorf("said %q", said)
				}
			})
		})
	}
}

func TestHookThatMayFail(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.hooks.answer(func(context.Context, hook.Command, func(string)) (hook.Exit, error) { return hook.Exit{Code: 1}, nil })
		r.up(1, 1, func(c *config.App) { c.Hooks.BeforeCutover = append(aHook("one", mayFail), aHook("two", mayFail)...) })
		if got := r.hooks.calls(); len(got) != 2 {
			t.Errorf("ran %q", got)
		}
		if said := r.messages("hook.failed"); len(said) != 2 || !strings.Contains(said[0], "which it may") {
			t.Errorf("said %q", said)
		}
	})
}

// Nothing that fails keeps anybody from going back, and nothing that hangs.
func TestRollbackIsNotStoppedByHooks(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, allHooks)
		r.up(2, 1, allHooks)
		before := len(r.hooks.calls())
		r.hooks.answer(func(context.Context, hook.Command, func(string)) (hook.Exit, error) { return hook.Exit{Code: 1}, nil })
		op := r.done(Request{Kind: KindRollback})
		if op.Release != "r1" {
			t.Errorf("rolled back to %s", op.Release)
		}
		wantWeights(r, map[string]int{"r1": 100})
		want := []string{"after_step 100 as", "after_step 100 as2", "after_cutover 100 ac"}
		if got := r.hooks.calls()[before:]; len(got) == 0 || got[len(got)-1] != want[2] || slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "before_cutover") }) {
			t.Errorf("ran %q, want %q", got, want)
		}
		if v := r.hooks.lastAt("after_cutover").Env["RELEASE_HOOK_VERSION"]; v != "r1" {
			t.Errorf("the hooks were those of %s", v)
		}
	})
}

// While a hook runs nothing is decided anew, however often: a state that is never at rest is written for ever.
func TestWaitingForAHookChangesNothing(t *testing.T) {
	for _, point := range []config.Point{config.BeforeLaunch, config.AfterLaunch, config.BeforeCutover, config.BeforeStep, config.AfterStep, config.AfterCutover} {
		t.Run(string(point), func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				r.hooks.answer(func(ctx context.Context, c hook.Command, _ func(string)) (hook.Exit, error) {
					if c.Env["RELEASE_HOOK_POINT"] == string(point) {
						<-ctx.Done()
					}
					return hook.Exit{}, ctx.Err()
				})
				r.submit(Request{Kind: KindUp, Image: image(1), Config: shopConfig(1, allHooks)})
				s := r.until("the hook", func(s *State) bool {
					return len(r.hooks.calls()) > 0 && strings.HasPrefix(r.hooks.calls()[len(r.hooks.calls())-1], string(point))
				})
				err := r.o.call(context.Background(), func() {
					s = r.o.apps[shop].state
					f := r.o.facts(s, time.Now().Add(time.Millisecond))
					f.Elapsed = time.Millisecond
					after, actions, events, _ := next(s, f)
					before, _ := fingerprint(s)
					if now, _ := fingerprint(after); string(now) != string(before) || len(events) > 0 || len(actions) == 0 {
						t.Errorf("%d actions, events %v, and the state changes from\n%s\nto\n%s", len(actions), events, before, now)
					}
				})
				if err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// An abort ends a hook that hangs.
func TestAbortEndsHook(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		ended := make(chan struct{})
		r.hooks.answer(func(ctx context.Context, c hook.Command, _ func(string)) (hook.Exit, error) {
			if c.Env["RELEASE_HOOK_POINT"] == "before_cutover" {
				<-ctx.Done()
				close(ended)
				return hook.Exit{}, ctx.Err()
			}
			return hook.Exit{}, nil
		})
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, allHooks)})
		r.until("the hook", func(s *State) bool { return slices.Contains(r.hooks.calls(), "before_cutover 0 bc") })
		began := time.Now()
		if err := r.steer("abort"); err != nil {
			t.Fatal(err)
		}
		<-ended
		if r.wait(op); time.Since(began) > 5*time.Second {
			t.Errorf("the abort took %s", time.Since(began))
		}
		wantWeights(r, map[string]int{"r1": 100})
	})
}

// An agent that ends in the middle of a hook leaves it to the next, which runs it again; those before it are not.
func TestHookIsRunAgainByTheNextAgent(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		r.hooks.answer(func(ctx context.Context, c hook.Command, line func(string)) (hook.Exit, error) {
			if c.Env["RELEASE_HOOK_POINT"] == "before_cutover" {
				line("half way")
				<-ctx.Done()
				return hook.Exit{}, ctx.Err()
			}
			return hook.Exit{}, nil
		})
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, allHooks)})
		r.until("the hook's output", func(s *State) bool { return len(r.messages("hook.output")) == 1 })
		r.stop()
		r.hooks.answer(nil)
		r.start()
		if op = r.wait(op); op.Failure != nil {
			t.Fatalf("failed: %+v", op.Failure)
		}
		count := map[string]int{}
		for _, c := range r.hooks.calls() {
			count[c]++
		}
		if count["before_launch 0 bl"] != 1 || count["before_cutover 0 bc"] != 2 || count["after_cutover 100 ac"] != 1 {
			t.Errorf("ran %v", count)
		}
		if said := r.messages("hook.again"); len(said) != 1 {
			t.Errorf("said %q", said)
		}
	})
}

// The files of a hook are those of its release, whatever a later one brought.
func TestHookFilesAreKeptWithTheRelease(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		put := func(content string) []HookFile {
			sum := sha256.Sum256([]byte(content))
			f := HookFile{Path: "smoke.sh", Digest: hex.EncodeToString(sum[:]), Executable: true}
			missing, err := r.o.MissingFiles(context.Background(), []string{f.Digest})
			if err != nil || len(missing) != 1 {
				t.Fatalf("missing %v, %v", missing, err)
			}
			if err := r.o.PutFile(context.Background(), f.Digest, strings.NewReader(content)); err != nil {
				t.Fatal(err)
			}
			return []HookFile{f}
		}
		hooked := func(c *config.App) { c.Hooks.AfterCutover = aHook("./smoke.sh") }
		r.done(Request{Kind: KindUp, Image: image(1), Config: shopConfig(1, hooked), Files: put("one")})
		two := put("two")
		if op := r.done(Request{Kind: KindUp, Image: image(1), Config: shopConfig(1, hooked), Files: two}); op.Release != "r2" {
			t.Errorf("up with another file for a hook made %q", op.Release)
		}
		r.done(Request{Kind: KindRollback})
		if got := string(r.hooks.lastAt("after_cutover").Files[0].Content); got != "one" {
			t.Errorf("the rollback ran the hook with %q", got)
		}
		unused := put("three")
		r.stop()
		r.start()
		missing, err := r.o.MissingFiles(context.Background(), []string{two[0].Digest, unused[0].Digest})
		if err != nil || !slices.Equal(missing, []string{unused[0].Digest}) {
			t.Errorf("after a restart %v are missing, %v", missing, err)
		}
		_, err = r.try(Request{Kind: KindUp, Image: image(3), Config: shopConfig(1, hooked), Files: unused})
		if !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "smoke.sh") {
			t.Errorf("up without the file: %v", err)
		}
		if err := r.o.PutFile(context.Background(), two[0].Digest, strings.NewReader("other")); !fault.Is(err, fault.Invalid) {
			t.Errorf("a file that is another one: %v", err)
		}
	})
}

func TestHookOutputIsBoundedAndMasked(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.hooks.answer(func(_ context.Context, c hook.Command, line func(string)) (hook.Exit, error) {
			for i := range 1000 {
				line(c.Mask(fmt.Sprintf("%d %s %s", i, c.Env["TOKEN"], "secret of file:/db")))
			}
			return hook.Exit{}, errors.New("it did not end within 1m")
		})
		op := r.wait(r.submit(Request{Kind: KindUp, Image: image(1), Config: shopConfig(1, func(c *config.App) {
			c.Fleet.Secrets = map[string]string{"DB": "file:/db"}
			c.Hooks.BeforeLaunch = aHook("x", func(h *config.Hook) { h.Secrets = map[string]string{"TOKEN": "env:T"} })
		})}))
		if op.Failure == nil || !strings.Contains(op.Failure.Message, "did not end within 1m") {
			t.Errorf("failure is %+v", op.Failure)
		}
		said := r.messages("hook.output")
		if len(said) != hookLines || said[0] != "0 *** ***" || said[hookLines-1] != "… more is not kept" {
			t.Errorf("%d lines, from %q to %q", len(said), said[0], said[len(said)-1])
		}
	})
}
