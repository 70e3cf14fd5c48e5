package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/consul"
	"github.com/bootandshoot/release/router/consul/certstore"
	"github.com/bootandshoot/release/router/embedded"
)

// consulRouter says where in which Consul the routing is: where the store is, by the settings; else by Consul's own variables.
func consulRouter(settings *config.Agent, log *slog.Logger) (consul.Options, error) {
	opts := consul.Options{Log: log}
	c := settings.Store.Consul
	if c == nil {
		return opts, nil
	}
	var err error
	if opts.Settings, err = consulSettings(c); err != nil {
		return opts, fmt.Errorf("route through Consul: %w", err)
	}
	opts.Prefix = c.Prefix
	return opts, nil
}

// openRouter is what users' requests go through: edges that follow Consul, HAProxys that run already, a
// load balancer of AWS, or a router of the agent's own.
func (a *agent) openRouter(ctx context.Context) (router.Backend, error) {
	switch a.settings.Router.Backend {
	case config.RouterEmbedded:
		return startRouter(ctx, filepath.Join(a.dir, routerDir), a.settings, a.log)
	case config.RouterHAProxy:
		return startHAProxy(ctx, a.dir, a.settings, a.log)
	case config.RouterALB:
		return &lateALB{agent: a}, nil
	}
	opts, err := consulRouter(a.settings, a.log)
	if err != nil {
		return nil, err
	}
	return consul.New(opts)
}

// sharedRouter is the routing layer in Consul, nil where the agent has a router of its own.
func (a *agent) sharedRouter() *consul.Backend {
	b, _ := a.router.(*consul.Backend)
	return b
}

// projected is the routing layer in Consul that keeps Consul's catalog and config entries as its table says, until ctx ends.
func (a *agent) projected(ctx context.Context) (router.Backend, error) {
	opts, err := consulRouter(a.settings, a.log)
	if err != nil {
		return nil, err
	}
	p, err := consul.NewProjector(consul.ProjectorOptions{Options: opts, Installation: a.installation})
	if err != nil {
		return nil, err
	}
	b := a.sharedRouter().Projecting(p)
	go p.Run(ctx)
	return b, nil
}

// joinConsul makes a router an edge: it follows the table in Consul and shares certificates there.
func (c *cli) joinConsul(cfg *embedded.Config, settingsPath string) error {
	settings, err := c.settings(settingsPath)
	if err != nil {
		return err
	}
	opts, err := consulRouter(settings, cfg.Log)
	if err != nil {
		return err
	}
	if cfg.CertStorage, err = certstore.New(opts.Settings, prefixOf(opts)); err != nil {
		return err
	}
	cfg.Companion, err = consul.NewEdge(consul.EdgeOptions{Options: opts, Dir: cfg.Dir, Program: cfg.Version})
	return err
}

func prefixOf(opts consul.Options) string {
	if opts.Prefix == "" {
		return consul.DefaultPrefix
	}
	return opts.Prefix
}

// absoluteArgs are this process's arguments with a path in them made absolute: a successor starts in another folder.
func absoluteArgs(path string) []string {
	abs, err := filepath.Abs(path)
	if path == "" || err != nil {
		return nil
	}
	args := append([]string{}, os.Args[1:]...)
	for i, arg := range args {
		if arg == path || strings.HasSuffix(arg, "="+path) {
			args[i] = strings.TrimSuffix(arg, path) + abs
		}
	}
	return args
}
