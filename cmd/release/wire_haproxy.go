package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/router/haproxy"
)

// haproxyDir is the folder of HAProxys' folders in the state folder.
const haproxyDir = "haproxy"

// openHAProxy is the HAProxys of the settings: without any, the one that Debian's package runs.
func openHAProxy(stateDir string, settings *config.Agent, log *slog.Logger) (*haproxy.Backend, error) {
	edges := settings.Router.HAProxy.Edges
	if len(edges) == 0 {
		edges = []config.HAProxyEdge{{Name: "haproxy", Socket: "/run/haproxy-master.sock"}}
	}
	cfg := haproxy.Config{Log: log}
	for _, e := range edges {
		if e.Folder == "" {
			e.Folder = filepath.Join(stateDir, haproxyDir, e.Name)
		}
		cfg.Edges = append(cfg.Edges, haproxy.Edge{Name: e.Name, Socket: e.Socket, Folder: e.Folder})
	}
	return haproxy.New(cfg)
}

// startHAProxy does not start one: that is the user's service manager's part. What is in the way is said at once, and by doctor
// again.
func startHAProxy(ctx context.Context, stateDir string, settings *config.Agent, log *slog.Logger) (*haproxy.Backend, error) {
	b, err := openHAProxy(stateDir, settings, log)
	if err == nil {
		err = b.Prepare()
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, haproxyPatience)
	defer cancel()
	for _, s := range b.Status(ctx) {
		if s.Problem != "" {
			log.Error("haproxy does not obey", "edge", s.Edge, "error", s.Problem, "hint", s.Hint)
		}
	}
	return b, nil
}

// haproxyPatience bounds a look at HAProxy.
const haproxyPatience = 5 * time.Second

// haproxyChecks are doctor's, one for each HAProxy.
func haproxyChecks(ctx context.Context, stateDir string, settings *config.Agent) []api.Check {
	b, err := openHAProxy(stateDir, settings, slog.New(slog.DiscardHandler))
	if err != nil {
		return []api.Check{fails("haproxy", err)}
	}
	ctx, cancel := context.WithTimeout(ctx, haproxyPatience)
	defer cancel()
	var checks []api.Check
	for _, s := range b.Status(ctx) {
		name := "haproxy"
		if s.Edge != name {
			name += " " + s.Edge
		}
		if s.Problem != "" {
			checks = append(checks, api.Check{Name: name, State: "fail", Message: s.Problem, Hint: s.Hint})
			continue
		}
		checks = append(checks, ok(name, "%s", haproxyLine(s)))
	}
	return checks
}

// haproxyStatus is router status where HAProxys are the routers.
func (c *cli) haproxyStatus(ctx context.Context, settings *config.Agent) error {
	dir, err := c.stateDir()
	if err != nil {
		return err
	}
	b, err := openHAProxy(dir, settings, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, haproxyPatience)
	defer cancel()
	r := routerResult{Head: api.NewHead(nil), Running: true, Dir: filepath.Join(dir, haproxyDir), HAProxy: b.Status(ctx)}
	for _, s := range r.HAProxy {
		r.Running = r.Running && s.PID != 0
	}
	if first := r.HAProxy[0]; len(r.HAProxy) == 1 {
		r.PID, r.Version = first.PID, first.Version
	}
	return c.out.result(r, func(w io.Writer) {
		for _, s := range r.HAProxy {
			if s.Problem != "" {
				fmt.Fprintf(w, "haproxy %s: %s\n  %s\n", s.Edge, s.Problem, s.Hint)
				continue
			}
			fmt.Fprintf(w, "haproxy %s: %s\n", s.Edge, haproxyLine(s))
			for _, l := range s.Listen {
				fmt.Fprintln(w, "  "+l)
			}
		}
	})
}

// haproxyLine says what a HAProxy does.
func haproxyLine(s haproxy.Status) string {
	table := "no table yet"
	if s.Table != nil {
		table = "table " + s.Table.String()
	}
	line := fmt.Sprintf("%s runs, pid %d, %s, %d requests in flight", s.Version, s.PID, table, s.InFlight)
	if s.Finish > 0 {
		line += fmt.Sprintf("; %d workers finish theirs after a reload", s.Finish)
	}
	return line
}
