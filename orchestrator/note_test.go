package orchestrator

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

// fleetsOf is a state in which r1 serves and r2 is being cut over to, each with a node.
func fleetsOf(cfg *config.App) (s *State, old, fresh *Fleet) {
	s = &State{Schema: schema, Key: shop, Config: *cfg}
	for _, id := range []string{"r1", "r2"} {
		s.Releases = append(s.Releases, &Release{ID: id, Config: *cfg})
		s.Fleets = append(s.Fleets, &Fleet{
			ID: fleet.FleetID{App: shop.App, Env: shop.Env, Role: Role, Release: id, Incarnation: 1}, State: FleetServing, Weight: 50, Prepared: true,
			Nodes: []*Node{{Name: "shop-production-" + id + "-aaaaa", State: NodeHealthy, Booted: true, WasServed: true}},
		})
	}
	return s, s.Fleets[0], s.Fleets[1]
}

// A node that was stopped by us is not said to have been ended by our own signal: it keeps the reason for which it leaves.
func TestReasonOfAShotNode(t *testing.T) {
	now := time.Unix(1000, 0)
	gone := NodeFact{Presence: fleet.Gone, Exit: &fleet.Exit{Code: 137, Signal: "KILL"}}
	for name, c := range map[string]struct {
		set          func(fl *Fleet, n *Node)
		want, events string
	}{
		"replaced":     {func(_ *Fleet, n *Node) { n.State, n.Reason = NodeDraining, "replaced: asked for" }, "replaced: asked for", ""},
		"fleet shot":   {func(fl *Fleet, _ *Node) { fl.State = FleetShooting }, "no longer needed", ""},
		"ended itself": {func(*Fleet, *Node) {}, "ended by signal KILL", "is gone: ended by signal KILL"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, fl := fleetsOf(shopConfig(1))
			n := fl.Nodes[0]
			c.set(fl, n)
			r := &round{s: s, f: Facts{Now: now, Nodes: map[string]NodeFact{n.Name: gone}}}
			r.observeNode(fl, n)
			if n.State != NodeDead || n.Reason != c.want {
				t.Errorf("%s: %q", n.State, n.Reason)
			}
			if c.events == "" && (len(r.events) > 0 || r.wantsTail(fl, n)) {
				t.Errorf("events %+v, and its last lines are asked for", r.events)
			}
			if c.events != "" && !strings.Contains(r.events[0].Message, c.events) {
				t.Errorf("events %+v", r.events)
			}
		})
	}
}

// A step that was watched and had too few requests to be judged says so, and one that was not watched says nothing.
func TestTellsWhatWasNotJudged(t *testing.T) {
	d := func(d time.Duration) config.Duration { return config.Duration(d) }
	for name, c := range map[string]struct {
		kind       Kind
		hold       time.Duration
		rule       *config.AbortOn
		fresh, old uint64
		want       string
	}{
		"enough":         {KindCutover, time.Minute, &config.AbortOn{ErrorRate: 100, MinRequests: 20}, 20, 0, ""},
		"too few":        {KindCutover, time.Minute, &config.AbortOn{ErrorRate: 100, MinRequests: 20}, 19, 500, "did not judge r2 at 50 %: it had 19 requests in the step, 20 are needed"},
		"none":           {KindUp, time.Minute, &config.AbortOn{ErrorRate: 100}, 0, 0, "it had 0 requests in the step, 1 are needed"},
		"old too few":    {KindCutover, time.Minute, &config.AbortOn{P99OverOld: 1.5, MinRequests: 20}, 20, 19, "did not compare the p99 of r2 at 50 %: the old release had 19 requests"},
		"old is no need": {KindCutover, time.Minute, &config.AbortOn{ErrorRate: 100, MinRequests: 20}, 20, 0, ""},
		"not watched":    {KindCutover, 0, &config.AbortOn{ErrorRate: 100, MinRequests: 20}, 0, 0, ""},
		"no rule":        {KindCutover, time.Minute, nil, 0, 0, ""},
		"rollback":       {KindRollback, time.Minute, &config.AbortOn{ErrorRate: 100, MinRequests: 20}, 0, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := shopConfig(1)
			cfg.Cutover.AbortOn = c.rule
			s, old, fl := fleetsOf(cfg)
			op := &Operation{ID: "op-1", Kind: c.kind, Release: "r2", Fleet: fl.ID.String(), Phase: PhaseHold, Percent: 50,
				Steps: []Step{{Percent: 50, Hold: d(c.hold).Std()}, {Percent: 100}}, Before: map[string]int{old.ID.String(): 100}}
			s.Operations = []*Operation{op}
			r := &round{s: s, f: Facts{Now: time.Unix(1000, 0), Elapsed: time.Second, Traffic: map[string]Traffic{
				fl.ID.String(): {Requests: c.fresh}, old.ID.String(): {Requests: c.old}}}}
			r.stepHold(op)
			var said []string
			for _, e := range r.events {
				if strings.HasSuffix(e.Type, ".note") {
					said = append(said, e.Message)
				}
			}
			if text := strings.Join(said, "\n"); c.want == "" && text != "" || !strings.Contains(text, c.want) {
				t.Errorf("said %q, want %q", text, c.want)
			}
		})
	}
}

// What goes wrong again and again is logged once, and again when it changes or is over.
func TestTroubleIsLoggedOnce(t *testing.T) {
	var out bytes.Buffer
	seen := trouble{log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))}
	denied := fault.New(fault.Denied, "no rights")
	for _, err := range []error{nil, denied, denied, denied, errors.New("gone"), errors.New("gone"), nil, nil, errors.New("gone")} {
		seen.say("look", err)
	}
	want := "level=INFO msg=look error=\"no rights\"\nlevel=WARN msg=look error=gone\nlevel=INFO msg=\"look: works again\"\nlevel=WARN msg=look error=gone\n"
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
}
