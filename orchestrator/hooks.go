package orchestrator

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
)

// Hooks are commands of the release that an operation moves to, run on the agent's machine. Those of one point run one after the
// other; how far they are is in the state, so that a point that was passed is not run again. A hook that an agent's end cut
// off is run again by the next. On the way back nothing waits for them: a rollback runs those that come after, and none of an
// abort can stop it.

// HookRun is how far the hooks of an operation or a fleet are.
type HookRun struct {
	Point  string   `json:"point,omitempty"`  // under way: "before_launch", "before_step:10"
	Next   int      `json:"next,omitempty"`   // which of its hooks, from 0
	Epoch  uint64   `json:"epoch,omitempty"`  // of the agent that began that one; 0: none has
	Told   int      `json:"told,omitempty"`   // lines of its output that are in the journal
	Passed []string `json:"passed,omitempty"` // points
}

func (h HookRun) clone() HookRun {
	h.Passed = slices.Clone(h.Passed)
	return h
}

// again lets the hooks of a point run once more when it is reached again.
func (h *HookRun) again(point config.Point) {
	h.Passed = slices.DeleteFunc(h.Passed, func(name string) bool { return name == string(point) })
}

// HookSpec is one hook to run.
type HookSpec struct {
	config.Hook
	Release string
	Env     map[string]string
}

// hookPoint is a point at which hooks are due.
type hookPoint struct {
	run          *HookRun
	release      *Release
	point        config.Point
	percent      int
	fleet        *Fleet
	subject      string // the operation's or the fleet's id in full: its end is the hooks' end
	operation    string
	performer    string
	from         string
	reason       string
	verdict      string
	allowFailure bool // all of them: what fails is said, and the next one runs
}

// name is the point's in the state.
func (p hookPoint) name() string {
	if p.point == config.BeforeStep || p.point == config.AfterStep {
		return string(p.point) + ":" + strconv.Itoa(p.percent)
	}
	return string(p.point)
}

// operationSubject is an operation's id in full.
func operationSubject(key Key, op *Operation) string { return key.String() + "/" + op.ID }

// passes runs the hooks of a point of an operation, and says whether it may go on. One that fails aborts the operation, unless it
// may fail.
func (r *round) passes(op *Operation, point config.Point, percent int) bool {
	rel := r.s.release(op.Release)
	back := op.Kind == KindRollback
	if rel == nil || back && point != config.AfterStep && point != config.AfterCutover && point != config.OnAbort {
		return true
	}
	p := hookPoint{
		run: &op.Hooks, release: rel, point: point, percent: percent, fleet: r.s.fleet(op.Fleet),
		subject: operationSubject(r.s.Key, op), operation: op.ID, performer: op.By, from: op.From,
		allowFailure: back || point == config.OnAbort,
	}
	if op.Failure != nil {
		p.reason, p.verdict = op.Failure.Message, hookVerdict(op)
	}
	waited := op.Hooks.Point == p.name()
	done, failed := r.runHooks(p)
	switch {
	case failed != "" && !p.allowFailure:
		r.abort(op, &Failure{Code: fault.RolledBack, Message: fmt.Sprintf("%s of %s: %s", op.Kind, op.Release, failed),
			Hint: "its output: release events; mend what it found, or the hook; allow_failure lets an operation go on"})
		return false
	case !done:
		r.wait(op, "the hook %s: %s", p.name(), rel.Config.Hooks.At(point)[op.Hooks.Next])
	case waited:
		op.Waits = "" // what is waited for next counts from now
	}
	return done
}

// hookVerdict is why an operation failed, as JSON: {"code", "message", "percent", "one_way", "verdict"}, where verdict is the last
// comparison of the releases, if there was one.
func hookVerdict(op *Operation) string {
	v := struct {
		Code    fault.Code `json:"code"`
		Message string     `json:"message"`
		Percent int        `json:"percent"`
		OneWay  string     `json:"one_way,omitempty"`
		Verdict *Verdict   `json:"verdict,omitempty"`
	}{Code: op.Failure.Code, Message: op.Failure.Message, Percent: op.Percent, OneWay: op.OneWay}
	if n := len(op.Verdicts); n > 0 {
		v.Verdict = &op.Verdicts[n-1]
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "" // it has nothing that JSON has not
	}
	return string(b)
}

// fleetHooks runs the hooks of a fleet that is shot, and says whether they have ended. None keeps it alive.
func (r *round) fleetHooks(fl *Fleet, point config.Point) bool {
	rel := r.s.release(fl.ID.Release)
	if rel == nil {
		return true
	}
	p := hookPoint{run: &fl.Hooks, release: rel, point: point, fleet: fl, subject: fl.ID.String(), performer: "release", allowFailure: true}
	if fl.Retired != nil {
		p.operation = fmt.Sprintf("op-%d", fl.Retired.Operation)
	}
	if op := r.s.exclusive(); op != nil {
		p.operation, p.performer = orText(p.operation, op.ID), op.By
	}
	done, _ := r.runHooks(p)
	return done
}

// runHooks says whether all hooks of a point have run, or, if one failed that must not, how.
func (r *round) runHooks(p hookPoint) (done bool, failed string) {
	run, name := p.run, p.name()
	hooks := p.release.Config.Hooks.At(p.point)
	if len(hooks) == 0 || slices.Contains(run.Passed, name) {
		return true, ""
	}
	if run.Point != name {
		*run = HookRun{Point: name, Passed: run.Passed}
	}
	for run.Next < len(hooks) {
		h := hooks[run.Next]
		a := Action{Kind: ActHook, Subject: p.subject, Point: name + "#" + strconv.Itoa(run.Next), App: r.s.Key,
			Hook: &HookSpec{Hook: h, Release: p.release.ID, Env: r.hookEnv(p)}}
		r.tellHook(p, h, a.Key())
		res := r.f.Results[a.Key()]
		if !res.Done && res.Err == nil {
			r.act(a)
			return false, ""
		}
		run.Next, run.Epoch, run.Told = run.Next+1, 0, 0
		switch {
		case res.Err == nil:
			r.sayHook(p, "done", "hook %s: %s is done, after %s", name, h, human.Span(res.Took))
		case h.AllowFailure:
			r.sayHook(p, "failed", "hook %s: %s failed, which it may: %v", name, h, res.Err)
		default:
			r.sayHook(p, "failed", "hook %s: %s failed: %v", name, h, res.Err)
			failed = orText(failed, fmt.Sprintf("the hook %s failed: %s: %v", name, h, res.Err))
			if !p.allowFailure {
				return false, failed
			}
		}
	}
	run.Point, run.Next, run.Passed = "", 0, append(run.Passed, name)
	return true, failed
}

// tellHook says that a hook begins, or begins again, and what it has printed since.
func (r *round) tellHook(p hookPoint, h config.Hook, key string) {
	run := p.run
	switch {
	case run.Epoch == 0:
		r.sayHook(p, "begin", "hook %s: %s", p.name(), h)
	case run.Epoch != r.f.Epoch:
		r.sayHook(p, "again", "hook %s: %s is run again: the agent that ran it ended", p.name(), h)
		run.Told = 0
	}
	run.Epoch = r.f.Epoch
	lines := r.f.Output[key]
	for _, line := range lines[min(run.Told, len(lines)):] {
		r.sayHook(p, "output", "%s", line)
	}
	run.Told = len(lines)
}

func (r *round) sayHook(p hookPoint, what, format string, args ...any) {
	e := Event{Type: "hook." + what, Operation: p.operation, Release: p.release.ID, Percent: p.percent}
	if p.fleet != nil {
		e.Fleet = p.fleet.ID.String()
	}
	r.say(e, format, args...)
}

// hookEnv is what a hook is told of its operation.
func (r *round) hookEnv(p hookPoint) map[string]string {
	var hosts []string
	image := p.release.Image
	if p.fleet != nil {
		image = p.fleet.Image
		for _, n := range p.fleet.Nodes {
			if n.Address != "" && n.State != NodeDead {
				hosts = append(hosts, n.Address)
			}
		}
	}
	return map[string]string{
		"RELEASE_HOOK_POINT":     string(p.point),
		"RELEASE_HOOK_APP":       r.s.Key.App,
		"RELEASE_HOOK_ENV":       r.s.Key.Env,
		"RELEASE_HOOK_VERSION":   p.release.ID,
		"RELEASE_HOOK_RELEASE":   p.release.ID,
		"RELEASE_HOOK_FROM":      p.from,
		"RELEASE_HOOK_IMAGE":     image,
		"RELEASE_HOOK_PERCENT":   strconv.Itoa(p.percent),
		"RELEASE_HOOK_HOSTS":     strings.Join(hosts, ","),
		"RELEASE_HOOK_OPERATION": p.operation,
		"RELEASE_HOOK_PERFORMER": p.performer,
		"RELEASE_HOOK_REASON":    p.reason,
		"RELEASE_HOOK_VERDICT":   p.verdict,
	}
}
