package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/alb"
)

// lateALB is the load balancer of the settings, opened when it is asked first: what release has there carries the installation's id,
// which is known once the store is open.
type lateALB struct {
	agent *agent

	mu      sync.Mutex
	backend *alb.Backend
}

var (
	_ router.Backend    = (*lateALB)(nil)
	_ router.Prechecker = (*lateALB)(nil)
	_ router.Abandoner  = (*lateALB)(nil)
)

func (l *lateALB) open(ctx context.Context) (*alb.Backend, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.backend != nil {
		return l.backend, nil
	}
	b, err := openALB(ctx, l.agent.installation, l.agent.settings, l.agent.log)
	if err == nil {
		l.backend = b
	}
	return b, err
}

// openALB is the load balancer of the settings, as one installation sees it.
func openALB(ctx context.Context, installation string, settings *config.Agent, log *slog.Logger) (*alb.Backend, error) {
	s := settings.Router.ALB
	cfg, err := awsapi.Load(ctx, awsapi.Options{Region: s.Region, Endpoint: settings.EC2.Endpoint})
	if err != nil {
		return nil, err
	}
	return alb.New(cfg, alb.Options{Installation: installation, Balancer: s.Name, Priority: s.Priority, Drain: s.Drain.Std(),
		CheckPath: s.CheckPath, HealthyWithin: s.HealthyWithin.Std(), Log: log})
}

// Apply is that of the load balancer.
func (l *lateALB) Apply(ctx context.Context, t router.Table) error {
	b, err := l.open(ctx)
	if err != nil {
		return err
	}
	return b.Apply(ctx, t)
}

// Applied is that of the load balancer.
func (l *lateALB) Applied(ctx context.Context) (router.Table, error) {
	b, err := l.open(ctx)
	if err != nil {
		return router.Table{}, err
	}
	return b.Applied(ctx)
}

// Observe is that of the load balancer.
func (l *lateALB) Observe(ctx context.Context) (router.Observation, error) {
	b, err := l.open(ctx)
	if err != nil {
		return router.Observation{}, err
	}
	return b.Observe(ctx)
}

// Precheck is that of the load balancer.
func (l *lateALB) Precheck(ctx context.Context, r router.Route) error {
	b, err := l.open(ctx)
	if err != nil {
		return err
	}
	return b.Precheck(ctx, r)
}

// Abandon is that of the load balancer.
func (l *lateALB) Abandon(ctx context.Context, routes []string) error {
	b, err := l.open(ctx)
	if err != nil {
		return err
	}
	return b.Abandon(ctx, routes)
}

// albPatience bounds a look at the load balancer.
const albPatience = 15 * time.Second

// lookALB is what the load balancer of the settings does for this installation.
func lookALB(ctx context.Context, stateDir string, settings *config.Agent) (alb.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, albPatience)
	defer cancel()
	installation, err := installationBefore(stateDir)
	if err != nil {
		return alb.Status{}, err
	}
	if installation == "" {
		installation = "none" // no agent ran here yet: nothing there is ours
	}
	b, err := openALB(ctx, installation, settings, slog.New(slog.DiscardHandler))
	if err != nil {
		return alb.Status{}, err
	}
	return b.Status(ctx)
}

// albCheck is doctor's.
func albCheck(ctx context.Context, stateDir string, settings *config.Agent) api.Check {
	s, err := lookALB(ctx, stateDir, settings)
	switch {
	case err != nil:
		return fails("load balancer", err)
	case len(s.Listeners) == 0:
		return api.Check{Name: "load balancer", State: "fail", Message: s.Name + " has no listener",
			Hint: "make one on each port that routes listen on, whose default action is a fixed response: aws elbv2 create-listener"}
	}
	return ok("load balancer", "%s", albLine(s))
}

// albStatus is router status where a load balancer is the router.
func (c *cli) albStatus(ctx context.Context, settings *config.Agent) error {
	dir, err := c.stateDir()
	if err != nil {
		return err
	}
	s, err := lookALB(ctx, dir, settings)
	if err != nil {
		return err
	}
	return c.out.result(routerResult{Head: api.NewHead(nil), Running: true, Dir: dir, ALB: &s}, func(w io.Writer) {
		fmt.Fprintln(w, "load balancer "+albLine(s))
		for _, g := range s.Groups {
			fmt.Fprintf(w, "  %s  %s  %d healthy of %d targets\n", g.Name, g.Fleet, g.Healthy, g.Targets)
		}
	})
}

// albLine says what a load balancer does.
func albLine(s alb.Status) string {
	table := "no table yet"
	if s.Table != nil {
		table = "table " + s.Table.String()
	}
	return fmt.Sprintf("%s at %s, ports %v, %s, %d rules and %d target groups of ours", s.Name, s.DNS, s.Listeners, table, s.Rules, len(s.Groups))
}
