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
)

func (r *rig) plan(req Request) Plan {
	r.t.Helper()
	p, err := r.tryPlan(req)
	if err != nil {
		r.t.Fatalf("plan %s: %v", req.Kind, err)
	}
	return p
}

func (r *rig) tryPlan(req Request) (Plan, error) {
	req.Key, req.By = shop, "ann"
	return r.o.Plan(context.Background(), req)
}

// story is what the journal has since an entry, as a plan tells it.
func (r *rig) story(since uint64) (list []Moment) {
	r.t.Helper()
	events, err := r.o.Events(context.Background(), shop, since, 100_000)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range events {
		if foretold(e.Type) {
			list = append(list, Moment{After: e.At.Sub(events[0].At), Type: e.Type, Message: e.Message})
		}
	}
	return list
}

// What a plan says is what the journal says when it is run, and when.
func TestPlanIsWhatHappens(t *testing.T) {
	steps := func(c *config.App) {
		approvals(c)
		c.Cutover.Steps[1].Hold = config.Duration(3 * time.Minute)
		c.Cutover.KeepPrevious = config.Duration(10 * time.Minute)
	}
	for name, c := range map[string]struct {
		before func(r *rig)
		req    Request
		holds  time.Duration
		nodes  PlannedNodes
	}{
		"first up": {func(*rig) {}, Request{Kind: KindUp, Image: image(1), Config: shopConfig(3)}, 0, PlannedNodes{0, 3, 3}},
		"up with steps": {func(r *rig) { r.up(1, 2); r.up(2, 2) },
			Request{Kind: KindUp, Image: image(3), Config: shopConfig(4, steps)}, 4 * time.Minute, PlannedNodes{4, 8, 4}},
		"launch": {func(r *rig) { r.up(1, 1) }, Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(2)}, 0, PlannedNodes{1, 3, 3}},
		"cutover": {func(r *rig) {
			r.up(1, 1, steps)
			r.done(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(1, steps)})
		}, Request{Kind: KindCutover}, 4 * time.Minute, PlannedNodes{2, 2, 1}},
		"up with hooks": {func(r *rig) { r.up(1, 1) }, Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, allHooks)}, time.Minute, PlannedNodes{1, 2, 1}},
		"up of several roles": {func(r *rig) { r.up(1, 2, withRoles()) },
			Request{Kind: KindUp, Image: image(2), Config: shopConfig(2, withRoles(), steps)}, 4 * time.Minute, PlannedNodes{6, 12, 6}},
		"up with expand": {func(r *rig) { r.up(1, 1, onSchema(5, 7)) },
			Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, onSchema(6, 7, expand(7, exits("0"), exits("0"))))}, 0, PlannedNodes{1, 2, 1}},
		"contract": {func(r *rig) { r.up(1, 1, onSchema(5, 7, expand(6, exits("0")), contract(7, 0, exits("0")))) },
			Request{Kind: KindContract}, 0, PlannedNodes{1, 1, 1}},
		"handover of a volume": {func(r *rig) { r.up(1, 1, oneWriter) },
			Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, oneWriter)}, 0, PlannedNodes{1, 1, 1}},
		"changed accessory": {func(r *rig) { r.up(1, 1, withRoles(database("1"))) },
			Request{Kind: KindUp, Image: image(1), Config: shopConfig(1, withRoles(database("2")))}, 0, PlannedNodes{4, 7, 4}},
		"rollback to a warm fleet": {func(r *rig) { r.up(1, 1); r.up(2, 1) }, Request{Kind: KindRollback}, 0, PlannedNodes{2, 2, 1}},
		"scale":                    {func(r *rig) { r.up(1, 2) }, Request{Kind: KindScale, Size: 5}, 0, PlannedNodes{2, 5, 5}},
		"destroy":                  {func(r *rig) { r.up(1, 2) }, Request{Kind: KindDestroy}, 0, PlannedNodes{2, 2, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inRig(t, func(t *testing.T, r *rig) {
				c.before(r)
				p := r.plan(c.req)
				if took := p.Holds.Truncate(time.Second); took != c.holds || p.Waits != "" {
					t.Errorf("it holds for %s, want %s; waits for %q", took, c.holds, p.Waits)
				}
				if p.Nodes != c.nodes {
					t.Errorf("nodes %+v, want %+v", p.Nodes, c.nodes)
				}
				before := r.state().EventSeq
				op := r.submit(c.req)
				r.until("the end", func(s *State) bool {
					if x := s.exclusive(); x != nil && x.Gate != "" {
						if err := r.approve("bob"); err != nil {
							t.Fatal(err)
						}
					}
					return len(s.Operations) == 0
				})
				if op = r.wait(op); op.Failure != nil {
					t.Fatal(op.Failure.Message)
				}
				r.until("all to be shot", func(s *State) bool { return s.nodes() == c.nodes.Then })
				r.same(p.Moments, r.story(before))
			})
		})
	}
}

// same compares a plan with what happened. Boots and drains take some seconds that the plan does not know of, and what happens to
// several fleets at once has no order.
func (r *rig) same(plan, happened []Moment) {
	r.t.Helper()
	inOrder(plan)
	inOrder(happened)
	if len(plan) == 0 || len(plan) != len(happened) {
		r.t.Errorf("the plan has %d lines, the journal %d", len(plan), len(happened))
	}
	for i := range max(len(plan), len(happened)) {
		var p, h Moment
		if i < len(plan) {
			p = plan[i]
		}
		if i < len(happened) {
			h = happened[i]
		}
		if p.Message != h.Message || p.Type != h.Type || (h.After-p.After).Abs() > 15*time.Second {
			r.t.Errorf("planned  %8s %s %s\nhappened %8s %s %s", p.After, p.Type, p.Message, h.After, h.Type, h.Message)
		}
	}
}

// inOrder sorts what is of one kind and stands together by its text.
func inOrder(list []Moment) {
	for len(list) > 0 {
		n := slices.IndexFunc(list, func(m Moment) bool { return m.Type != list[0].Type })
		if n < 0 {
			n = len(list)
		}
		slices.SortFunc(list[:n], func(a, b Moment) int { return strings.Compare(a.Message, b.Message) })
		list = list[n:]
	}
}

func TestPlanChangesNothing(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		r.done(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(2)})
		look := func() string { b, _ := json.Marshal(r.state().Fleets); return string(b) }
		before, seq := look(), r.state().EventSeq
		for _, req := range []Request{
			{Kind: KindUp, Image: image(3), Config: shopConfig(2)}, {Kind: KindCutover}, {Kind: KindScale, Size: 9},
			{Kind: KindReplace, Nodes: r.running("r1")[:1]}, {Kind: KindDestroy},
		} {
			req.DryRun = true
			if p := r.plan(req); len(p.Moments) == 0 {
				t.Errorf("%s does nothing", req.Kind)
			}
		}
		if after := look(); after != before || r.state().EventSeq != seq {
			t.Errorf("before\n%s\nafter\n%s", before, after)
		}
		if _, err := r.tryPlan(Request{Kind: KindRollback, DryRun: true}); !fault.Is(err, fault.NotFound) {
			t.Errorf("a rollback to nothing: %v", err)
		}
	})
}

func TestPlanOfWhatIsLaunchedIsItsCutover(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		up := Request{Kind: KindUp, Image: image(2), Config: shopConfig(2)}
		r.done(Request{Kind: KindLaunch, Image: up.Image, Config: up.Config})
		p := r.plan(up)
		if p.Kind != KindCutover || p.Release != "r2" || p.From != "r1" {
			t.Errorf("planned %s of %s from %s", p.Kind, p.Release, p.From)
		}
		r.freeze(time.Time{})
		if p = r.plan(up); p.Frozen == nil || p.Kind != KindCutover {
			t.Errorf("planned while frozen: %+v", p)
		}
		up.DryRun = true
		if _, err := r.tryPlan(up); !fault.Is(err, fault.Busy) {
			t.Errorf("a dry run while frozen: %v", err)
		}
	})
}

func TestPlanTellsHowLongItUsuallyTakes(t *testing.T) {
	op := func(kind Kind, took time.Duration, f *Failure) Operation {
		at := time.Unix(1000, 0)
		return Operation{Kind: kind, At: at, Ended: at.Add(took), Failure: f}
	}
	past := []Operation{op(KindUp, time.Hour, &Failure{}), op(KindUp, 3*time.Minute, nil), op(KindScale, time.Second, nil), op(KindUp, time.Minute, nil),
		op(KindUp, 9*time.Minute, nil), op(KindUp, 2*time.Minute, nil), op(KindUp, 4*time.Minute, nil), op(KindUp, time.Hour, nil)}
	if took, n := usual(past, KindUp); took != 3*time.Minute || n != 5 {
		t.Errorf("%s of %d", took, n)
	}
	if took, n := usual(past, KindCutover); took != 0 || n != 0 {
		t.Errorf("%s of %d", took, n)
	}
}

func TestPlanIsRefusedWhenTheWorldHasMoved(t *testing.T) {
	other := func(c *config.App) { c.Cutover.KeepPrevious = config.Duration(time.Hour) }
	for name, c := range map[string]struct {
		move func(r *rig, req *Request)
		says string
	}{
		"another release serves": {func(r *rig, _ *Request) { r.up(9, 2) }, "r1 served 100 % and does not any more; r2 serves 100 %"},
		"it was rolled back":     {func(r *rig, _ *Request) { r.up(9, 2); r.done(Request{Kind: KindRollback}) }, "r2 was launched already"},
		"another was launched":   {func(r *rig, _ *Request) { r.done(Request{Kind: KindLaunch, Image: image(9), Config: shopConfig(2)}) }, "r2 was launched"},
		"it was scaled":          {func(r *rig, _ *Request) { r.done(Request{Kind: KindScale, Size: 3}) }, "r1 has a size of 3, it was 2"},
		"another image":          {func(_ *rig, req *Request) { req.Image = image(8) }, "the image is another one"},
		"another configuration":  {func(_ *rig, req *Request) { req.Config = shopConfig(2, other) }, "cutover is configured differently"},
		"frozen":                 {func(r *rig, _ *Request) { r.freeze(time.Time{}) }, "frozen by bob"},
		"nothing":                {func(*rig, *Request) {}, ""},
		"it was launched": {func(r *rig, req *Request) {
			r.done(Request{Kind: KindLaunch, Image: req.Image, Config: req.Config})
			req.Kind, req.Release = KindCutover, "r2"
		}, ""},
		"another configuration was launched": {func(r *rig, req *Request) {
			r.done(Request{Kind: KindLaunch, Image: req.Image, Config: shopConfig(2, other)})
			req.Kind, req.Release = KindCutover, "r2"
		}, "cutover is configured differently"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inRig(t, func(t *testing.T, r *rig) {
				r.up(1, 2)
				req := Request{Kind: KindUp, Image: image(7), Config: shopConfig(2)}
				basis := r.plan(req).Basis
				text, err := json.Marshal(basis) // it travels through a file
				if err == nil {
					req.Plan = &Basis{}
					err = json.Unmarshal(text, req.Plan)
				}
				if err != nil {
					t.Fatal(err)
				}
				c.move(r, &req)
				_, err = r.try(req)
				if c.says == "" {
					if err != nil {
						t.Errorf("refused: %v", err)
					}
					return
				}
				if err == nil || !strings.Contains(err.Error(), c.says) || !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.Busy) {
					t.Errorf("%v, want %q", err, c.says)
				}
			})
		})
	}
}
