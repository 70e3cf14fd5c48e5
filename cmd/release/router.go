package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/alb"
	"github.com/bootandshoot/release/router/embedded"
	"github.com/bootandshoot/release/router/haproxy"
)

// routerResult is the result of the router verbs.
type routerResult struct {
	api.Head
	Running bool             `json:"running"`
	PID     int              `json:"pid"`
	Version string           `json:"version"`
	Dir     string           `json:"dir"`
	Router  *embedded.Status `json:"router,omitempty"`
	HAProxy []haproxy.Status `json:"haproxy,omitempty"` // where they are the routers
	ALB     *alb.Status      `json:"alb,omitempty"`     // where it is the router
	DryRun  bool             `json:"dry_run,omitempty"`
}

func (c *cli) routerVerb() *cobra.Command {
	cmd := c.routerRun("router [run]")
	cmd.Short, cmd.Args = "The router: run it, look at it, upgrade it, stop it", onlyVerbs
	cmd.Long = `The router is a process of its own, so that traffic never depends on the agent. The agent adopts the one that
runs, or starts one.`
	cmd.AddCommand(c.routerRun("run"), c.routerStatus(), c.routerUpgrade(), c.routerStop(), c.routerForget())
	return cmd
}

func (c *cli) routerRun(use string) *cobra.Command {
	var cfg embedded.Config
	var follow bool
	var settings string
	cmd := &cobra.Command{
		Use: use, Short: "Run the router in the foreground", Args: noArgs(), Example: "  release router run\n  release router run --consul",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.Dir == "" {
				dir, err := c.routerPath()
				if err != nil {
					return err
				}
				cfg.Dir = dir
			}
			if err := os.Remove(filepath.Join(cfg.Dir, stoppedFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("run router: %w", err)
			}
			if settings != "" && !follow {
				return usage(fault.New(fault.Invalid, "run router: --settings says how Consul is reached, and --consul is not given").
					WithHint("release router run --consul --settings %s", settings))
			}
			cfg.Version, cfg.Log = programVersion(), slog.New(slog.NewJSONHandler(c.out.stderr, nil))
			if follow {
				cfg.Args = absoluteArgs(settings)
				if err := c.joinConsul(&cfg, settings); err != nil {
					return fmt.Errorf("run router: %w", err)
				}
			}
			return embedded.Run(cmd.Context(), cfg)
		},
	}
	cmd.Flags().StringVar(&cfg.Dir, "dir", "", "the router's `folder` (default: router in the state folder)")
	cmd.Flags().BoolVar(&follow, "consul", false, "follow the routing table in Consul, as one edge of many; no agent is needed on this machine")
	cmd.Flags().StringVar(&settings, "settings", "", "the machine's `file` agent.yaml, whose store.consul says how Consul is reached (default: the user's, else the system's; else CONSUL_HTTP_ADDR and so on)")
	_ = cmd.MarkFlagFilename("settings", "yaml", "yml")
	cmd.Flags().StringVar(&cfg.MetricsListen, "metrics", "", "`address` of Prometheus metrics, host:port (default: none)")
	cmd.Flags().StringVar(&cfg.AccessLog, "access-log", "", "`file` of the access log, JSON lines (default: none)")
	cmd.Flags().Float64Var(&cfg.AccessLogSample, "access-log-sample", 1, "`share` of requests that get a line, 0.01 to 1; failed ones all do")
	cmd.Flags().StringVar(&cfg.OTLP, "otlp", "", "`address` that spans are exported to by OTLP over HTTP, http://host:port (default: none)")
	cmd.Flags().Float64Var(&cfg.TraceSample, "trace-sample", 0, "`share` of requests without a trace that get one, 0 to 1")
	return cmd
}

// routerPath is the router's folder.
func (c *cli) routerPath() (string, error) {
	dir, err := c.stateDir()
	return filepath.Join(dir, routerDir), err
}

func (c *cli) routerClient() (*embedded.Client, error) {
	dir, err := c.routerPath()
	return embedded.NewClient(dir), err
}

// routerAnswers bounds how long a router may take to say how it is.
const routerAnswers = 30 * time.Second

// askRouter asks how the router is. One that takes the connection and says nothing is there.
func askRouter(ctx context.Context, client *embedded.Client, within time.Duration) (embedded.Status, error) {
	var s embedded.Status
	hangs, err := answered(ctx, within, func(ctx context.Context) (err error) {
		s, err = client.Status(ctx)
		return err
	})
	if hangs {
		err = fault.New(fault.Unavailable, "the router in %s takes connections, but did not answer within %s", client.Dir(), span(within)).
			WithHint("ss -lxp shows its process: kill it; the agent starts another, which serves the table that was last")
	}
	return s, err
}

func (c *cli) routerStatus() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the router: version, table, listeners, requests in flight", Example: "  release router status --json",
		Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := c.settings("")
			if err != nil {
				return err
			}
			switch settings.Router.Backend {
			case config.RouterHAProxy:
				return c.haproxyStatus(cmd.Context(), settings)
			case config.RouterALB:
				return c.albStatus(cmd.Context(), settings)
			}
			client, err := c.routerClient()
			if err != nil {
				return err
			}
			s, err := askRouter(cmd.Context(), client, routerAnswers)
			if err != nil && !errors.Is(err, router.ErrUnavailable) {
				return err
			}
			return c.routerResult(client.Dir(), s, err == nil)
		},
	}
}

func (c *cli) routerResult(dir string, s embedded.Status, running bool) error {
	r := routerResult{Head: api.NewHead(nil), Running: running, Dir: dir}
	if running {
		r.PID, r.Version, r.Router = s.PID, s.Version, &s
	}
	return c.out.result(r, func(w io.Writer) {
		if !running {
			fmt.Fprintf(w, "no router runs in %s\n  → %s\n", dir, routerHint)
			return
		}
		fmt.Fprintf(w, "router %s runs: pid %d, since %s, %s, %s in flight\n", s.Version, s.PID,
			s.Started.Local().Format(time.DateTime), human.Count(s.Connections, "connection"), human.Count(s.InFlight, "request"))
		for _, l := range s.Listeners {
			fmt.Fprintln(w, "  "+l.Listen, orOK(cmp.Or(l.Error, l.Warning)))
		}
		if s.Predecessor != nil {
			fmt.Fprintf(w, "  pid %d finishes %s after the upgrade\n", s.Predecessor.PID, human.Count(s.Predecessor.Connections, "connection"))
		}
	})
}

func orOK(err string) string {
	if err == "" {
		return "ok"
	}
	return err
}

func (c *cli) routerUpgrade() *cobra.Command {
	var exe string
	var dry bool
	cmd := &cobra.Command{
		Use: "upgrade", Short: "Hand the router's sockets to a process of this program, without losing a request",
		Example: "  release router upgrade\n  release router upgrade --exe /usr/local/bin/release", Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.routerClient()
			if err != nil {
				return err
			}
			if exe == "" {
				if exe, err = os.Executable(); err != nil {
					return fmt.Errorf("upgrade router: %w", err)
				}
			}
			if exe, err = filepath.Abs(exe); err != nil {
				return fmt.Errorf("upgrade router: %w", err)
			}
			if dry {
				return c.tryUpgrade(cmd.Context(), client, exe)
			}
			s, err := client.Upgrade(cmd.Context(), exe)
			if err != nil {
				return noRouter(client.Dir(), err)
			}
			return c.routerResult(client.Dir(), s, true)
		},
	}
	dryRunFlag(cmd, &dry)
	cmd.Flags().StringVar(&exe, "exe", "", "the new program's `file` (default: this one)")
	return cmd
}

// tryUpgrade says what would be handed to whom.
func (c *cli) tryUpgrade(ctx context.Context, client *embedded.Client, exe string) error {
	s, err := askRouter(ctx, client, routerAnswers)
	if err != nil {
		return noRouter(client.Dir(), err)
	}
	if info, err := os.Stat(exe); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
		return fault.New(fault.Invalid, "upgrade router: %s is no program", exe)
	}
	r := routerResult{Head: api.NewHead(nil), Running: true, PID: s.PID, Version: s.Version, Dir: client.Dir(), Router: &s, DryRun: true}
	return c.out.result(r, c.tried("router %s, pid %d, would hand %s and %s to a process of %s", s.Version, s.PID,
		human.Count(len(s.Listeners), "listener"), human.Count(s.Connections, "connection"), exe))
}

// routerHint is how to get a router where none runs.
const routerHint = "release router run, or release agent stop: the agent that the next verb starts starts one"

func noRouter(dir string, err error) error {
	if errors.Is(err, router.ErrUnavailable) {
		e := fault.New(fault.Unavailable, "no router runs in %s", dir).WithHint(routerHint)
		e.Cause = err
		return e
	}
	return err
}

func (c *cli) routerStop() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use: "stop", Short: "End the router: users get no answers any more until an agent starts",
		Long: `End the router: users get no answers any more until an agent starts. Requests have 30 seconds to finish, and long connections are
closed after that, so it may take three quarters of a minute.`,
		Example: "  release router stop", Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.routerClient()
			if err != nil {
				return err
			}
			s, err := askRouter(cmd.Context(), client, routerAnswers)
			if errors.Is(err, router.ErrUnavailable) {
				return c.routerResult(client.Dir(), s, false)
			}
			if err != nil {
				return err
			}
			if dry {
				r := routerResult{Head: api.NewHead(nil), Running: true, PID: s.PID, Version: s.Version, Dir: client.Dir(), Router: &s, DryRun: true}
				return c.out.result(r, c.tried("router %d would end, with %s and %s in flight", s.PID,
					human.Count(s.Connections, "connection"), human.Count(s.InFlight, "request")))
			}
			if err := atomicfile.Write(filepath.Join(client.Dir(), stoppedFile), nil, 0o600); err != nil {
				return fmt.Errorf("stop router: %w", err)
			}
			if err := client.Stop(cmd.Context()); err != nil {
				return err
			}
			if err := awaitEnd(cmd.Context(), s.PID); err != nil {
				return fmt.Errorf("stop router: %w", err)
			}
			r := routerResult{Head: api.NewHead(nil), PID: s.PID, Version: s.Version, Dir: client.Dir()}
			return c.out.result(r, func(w io.Writer) { fmt.Fprintf(w, "router %d ended\n", s.PID) })
		},
	}
	dryRunFlag(cmd, &dry)
	return cmd
}

// forgetResult is the result of router forget.
type forgetResult struct {
	api.Head
	Edge   string `json:"edge"`
	DryRun bool   `json:"dry_run,omitempty"`
}

func (c *cli) routerForget() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use: "forget EDGE", Short: "Say that another router is gone for good",
		Long: `A router that does not answer may go on serving with the last table that it was given, so nothing that it may route to is
shot, and where agents share a store and users come to the router of one, no other moves its routes. When the machine is gone for good, this says so.`,
		Example: "  release router forget alpha-k3f9", Args: between(1, 1, "the edge"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			if err := client.ForgetEdge(cmd.Context(), api.Forget{Edge: args[0], DryRun: dry}); err != nil {
				return err
			}
			r := forgetResult{Head: api.NewHead(nil), Edge: args[0], DryRun: dry}
			if dry {
				return c.out.result(r, c.tried("the router %s would be forgotten: nothing would wait for it any more", args[0]))
			}
			return c.out.result(r, func(w io.Writer) {
				fmt.Fprintf(w, "the router %s is forgotten: nothing waits for it any more\n", args[0])
			})
		},
	}
	dryRunFlag(cmd, &dry)
	return cmd
}
