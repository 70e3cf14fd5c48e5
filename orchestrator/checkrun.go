package orchestrator

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/bootandshoot/release/internal/failpoint"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator/metrics"
)

const (
	// checkLines is how many lines of a command that judges are kept: of more, the last.
	checkLines = 20
	// askSlack is how long beside its timeout a query may take.
	askSlack = time.Second
)

// startAsk asks one of abort_on's questions aside. It runs in the loop.
func (o *Orchestrator) startAsk(ctx context.Context, s *State, a Action) {
	w, key := &o.world, a.Key()
	within := askSlack
	var rel *Release
	if a.Hook != nil {
		within, rel = a.Hook.Timeout.Std()+hookSlack, s.release(a.Hook.Release)
	} else {
		within += a.Metric.Timeout.Std()
	}
	agent := ctx
	ctx, end := context.WithTimeout(ctx, within)
	w.running[key] = true
	w.hooks[key] = hookUnderWay{app: a.App, subject: a.Subject, end: end}
	go func() {
		defer end()
		failpoint.Begins(string(a.Kind))
		res := o.question(ctx, rel, a)
		failpoint.Ends(string(a.Kind))
		if agent.Err() != nil {
			return // the next agent asks again
		}
		o.post(func() {
			delete(w.hooks, key)
			delete(w.running, key)
			delete(w.results, a.Over)
			res.At = o.opts.Now()
			w.results[key] = res
			o.touch(a.App)
		})
	}()
}

// question asks, and says what the answer was.
func (o *Orchestrator) question(ctx context.Context, rel *Release, a Action) Result {
	switch {
	case a.Metric != nil:
		samples, err := o.measure(ctx, a.Metric)
		return Result{Done: err == nil, Err: err, Samples: samples}
	case rel == nil:
		return Result{Err: errors.New("its release is gone")}
	}
	c, err := o.hookCommand(ctx, rel, a.Hook)
	if err != nil {
		return Result{Err: err}
	}
	var lines []string
	exit, err := o.opts.Hooks(ctx, c, func(line string) {
		lines = append(lines, line)
		lines = lines[max(0, len(lines)-checkLines):]
	})
	return Result{Done: err == nil, Err: err, Exit: &exit, Lines: lines}
}

// measure asks the server that a query names, or the machine's. Who asks is told only to the server that it is meant for, and not
// repeated when that has it in what it says.
func (o *Orchestrator) measure(ctx context.Context, m *Metric) ([]metrics.Sample, error) {
	q := metrics.Query{URL: m.URL, Expr: m.Expr, Timeout: m.Timeout.Std()}
	token, headers := m.Token, m.Headers
	if q.URL == "" {
		q.URL, token, headers = o.opts.Prometheus.URL, o.opts.Prometheus.Token, o.opts.Prometheus.Headers
	}
	if q.URL == "" {
		return nil, errors.New("no server is named: url, or prometheus.url in agent.yaml")
	}
	var err error
	if q.Headers, err = o.secrets(headers); err != nil {
		return nil, err
	}
	if token != "" {
		if q.Token, err = o.opts.Secret(token); err != nil {
			return nil, err
		}
	}
	if o.opts.Mask != nil {
		values := map[string]string{"a token": q.Token}
		maps.Copy(values, q.Headers)
		maps.DeleteFunc(values, func(_, value string) bool { return value == "" })
		q.Mask = o.opts.Mask(values)
	}
	return o.opts.Metrics(ctx, q)
}

// askQuestions says why what a launch's abort_on asks could never be answered here.
func (o *Orchestrator) askQuestions(req Request) error {
	for _, q := range questionsOf(req.Config.Cutover.AbortOn) {
		switch {
		case q.metric != nil && q.metric.URL == "" && o.opts.Prometheus.URL == "":
			return fault.New(fault.Invalid, "%s %s: cutover.abort_on.%s names no server, and this agent knows none", req.Kind, req.Key, q.name).
				WithHint("add url: http://host:9090 to it, or prometheus: {url: …} to agent.yaml")
		case q.judge != nil && o.opts.Hooks == nil:
			return fault.New(fault.Unsupported, "%s %s: cutover.abort_on.%s: this agent runs no commands of apps", req.Kind, req.Key, q.name)
		}
	}
	return nil
}
