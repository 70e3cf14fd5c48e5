package orchestrator

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/orchestrator/hook"
	"github.com/bootandshoot/release/orchestrator/metrics"
)

// What cutovers ask in the simulation, and what they may do with the answers; and nodes that come to differ from their image.

// questioning is a cutover in steps that are held, asked about, approved, and not to be undone, each now and then.
func questioning(m move) func(*config.App) {
	d := func(d time.Duration) config.Duration { return config.Duration(d) }
	limit := 1.0
	return func(c *config.App) {
		c.Cutover.Steps = []config.Step{{Percent: 10, Hold: d(3 * time.Second)}, {Percent: 50, Hold: d(2 * time.Second), OneWay: m.m%2 == 0}, {Percent: 100}}
		if m.n%4 == 3 {
			c.Cutover.Steps[0].Approve = "ops"
		}
		c.Cutover.Verdict = &config.Verdict{Off: true}
		query := config.Metric{Query: "errors of $RELEASE", Above: &limit, Every: d(time.Second), Timeout: d(time.Second)}
		if m.m%3 == 0 {
			query.For = d(2 * time.Second)
		}
		judge := config.Judge{Cmd: config.Command{"judge"}, Every: d(time.Second), Timeout: d(time.Second)}
		c.Cutover.AbortOn = &config.AbortOn{MinRequests: 100, Prometheus: []config.Metric{query}, Command: []config.Judge{judge}}
	}
}

// heldToImage holds nodes to their image.
func heldToImage(m move) func(*config.App) {
	return func(c *config.App) {
		c.Fleet.Drift = config.Drift{Policy: config.DriftReplace, Every: config.Duration(2 * time.Second)}
		if m.m%4 == 3 {
			c.Fleet.Drift.Policy = config.DriftReport
		}
	}
}

// The questions, by their places in abort_on.
const (
	questionMetric  = "prometheus[0]"
	questionCommand = "command[0]"
)

// given is an answer that somebody gave.
type given struct {
	at      time.Time
	outcome CheckOutcome
}

// answer says what a question about a release is answered now, and keeps it.
func (p *process) answer(question, release string) CheckOutcome {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	outcome, now := CheckGood, time.Now()
	switch {
	case now.Before(w.silent[question]):
		outcome = CheckUnknown
	case now.Before(w.bad[question]):
		outcome = CheckBad
	}
	if p == w.leading {
		key := release + " " + question
		w.answers[key] = append(w.answers[key], given{now, outcome})
	}
	return outcome
}

// metric answers a query.
func (p *process) metric(ctx context.Context, q metrics.Query) (samples []metrics.Sample, err error) {
	err = p.pass(ctx, callAsk, "a query", errors.New("the server does not answer"), func() error {
		switch p.answer(questionMetric, q.Expr[strings.LastIndex(q.Expr, " ")+1:]) {
		case CheckUnknown:
			return errors.New("connection refused")
		case CheckBad:
			samples = []metrics.Sample{{Value: 2}}
		default:
			samples = []metrics.Sample{{Value: 0}}
		}
		return nil
	})
	return samples, err
}

// judge runs a command of abort_on.
func (p *process) judge(ctx context.Context, c hook.Command) (exit hook.Exit, err error) {
	err = p.pass(ctx, callAsk, "a command", errors.New("it hangs"), func() error {
		switch p.answer(questionCommand, c.Env["RELEASE_HOOK_RELEASE"]) {
		case CheckUnknown:
			exit.Code = 75
		case CheckBad:
			exit.Code = 1
		}
		return nil
	})
	return exit, err
}

// checkAnswers: a step is left and an operation aborted only for what was answered. The lock is held, here and in what follows.
func (w *simWorld) checkAnswers(before, next *journalled, ended []*Operation) {
	for _, op := range next.Operations {
		if op.Phase == PhaseAborting {
			continue // its clock begins anew
		}
		for _, c := range op.Checks {
			if (c.Outcome == CheckGood || c.Outcome == CheckBad) && !w.wasGiven(op, c) {
				w.violate(invEvidence, "%s has %q on record for %s, which nobody answered", op.ID, c.Outcome, c.Name)
			}
		}
	}
	was := before.exclusive()
	if was == nil || was.Phase != PhaseHold || len(was.Checks) == 0 || was.Accepted || w.vouched[was.ID] {
		return // once it may be left it may wait for an approval, whatever is not answered then
	}
	left := slices.ContainsFunc(next.Operations, func(op *journalledOp) bool {
		return op.ID == was.ID && op.Phase != PhaseAborting && (op.Accepted || len(op.Steps) < len(was.Steps))
	}) || slices.ContainsFunc(ended, func(op *Operation) bool { return op.ID == was.ID && op.Failure == nil })
	if !left {
		return
	}
	for _, c := range was.Checks {
		if last := w.lastGiven(was.Release, c.Name, was.ShiftedAt); last != CheckGood {
			w.violate(invEvidence, "%s leaves its step at %d %%, and %s was answered %q", was.ID, was.Percent, c.Name, last)
		}
	}
}

// wasGiven says whether somebody gave the answer that is on record, in the present step.
func (w *simWorld) wasGiven(op *journalledOp, c Check) bool {
	return slices.ContainsFunc(w.answers[op.Release+" "+c.Name], func(g given) bool { return g.outcome == c.Outcome && !g.at.Before(op.ShiftedAt) })
}

// lastGiven is the newest answer since then, "" for none.
func (w *simWorld) lastGiven(release, question string, since time.Time) CheckOutcome {
	list := w.answers[release+" "+question]
	if n := len(list); n > 0 && !list[n-1].at.Before(since) {
		return list[n-1].outcome
	}
	return ""
}

// checkGates: past what cannot be undone only a person goes back, and past what is to be approved nobody goes without.
func (w *simWorld) checkGates(before, next *journalled) {
	op := next.exclusive()
	if op == nil || op.Kind != KindUp && op.Kind != KindCutover {
		return
	}
	was := before.exclusive()
	same := was != nil && was.ID == op.ID
	rel := next.release(op.Release)
	if rel == nil {
		return
	}
	cfg := w.configOf(rel)
	if op.Phase == PhaseAborting && same && was.Phase != PhaseAborting && op.AbortedBy == "" && was.oneWay(cfg) {
		w.violate(invOneWay, "%s goes back by itself from %d %%", op.ID, op.Percent)
	}
	if op.Phase == PhaseAborting || op.From == "" || same && was.Percent >= op.Percent {
		return
	}
	for _, st := range cfg.Cutover.Steps {
		approved := slices.ContainsFunc(rel.Approvals, func(a Approval) bool { return a.Group == st.Approve && a.Percent >= st.Percent })
		if st.Approve != "" && op.Percent > st.Percent && !approved {
			w.violate(invOneWay, "%s gets %d %%, and nobody approved that at %d %%", op.Release, op.Percent, st.Percent)
		}
	}
}

// oneWay says whether the operation has given its release a share from which there is no way back by itself.
func (op *journalledOp) oneWay(cfg *journalledConfig) bool {
	return op.From != "" && !op.FirstAt.IsZero() && slices.ContainsFunc(cfg.Cutover.Steps, func(st config.Step) bool { return st.OneWay && st.Percent <= op.Percent })
}

// differs makes nodes differ from their image, or be as it is again.
func (p *player) differs(m move, nodes []string) {
	for _, name := range nodes {
		change := fleet.Change{What: fleet.ChangedFile, How: fleet.WasChanged, Path: []string{"/etc/motd", "/srv/app"}[m.m%2]}
		if m.do == "restored" {
			p.driver.SetDrift(name)
		} else {
			p.driver.SetDrift(name, change)
			p.loses(name)
		}
		p.mu.Lock()
		p.drifted[name] = p.drifted[name] || m.do != "restored"
		p.drifts[name] = m.do != "restored"
		p.mu.Unlock()
	}
}

// onlyWhatDiffers: 1. Only a node that differed is replaced for it.
func (w *simWorld) onlyWhatDiffers(was, fl *Fleet, next *journalled) {
	for _, n := range fl.Nodes {
		old := next.node(was, n.Name)
		if n.Stray && (old == nil || !old.Stray) && !w.drifted[n.Name] {
			w.violate(inv1Drift, "%s is replaced for a difference that it does not have", n.Name)
		}
	}
}

// strays is a node that should be replaced, since it differs from its image, and is not; "" for none.
func (w *simWorld) strays(fl *Fleet) string {
	rel := w.state.release(fl.ID.Release)
	if rel == nil || fl.DriftHeld != "" || w.configOf(rel).drift(fl.ID.Role).Policy != config.DriftReplace {
		return ""
	}
	for _, n := range fl.Nodes {
		if n.live() && w.drifts[n.Name] {
			return n.Name
		}
	}
	return ""
}
