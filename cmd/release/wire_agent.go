package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/console"
	"github.com/bootandshoot/release/fleet/tails"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/unixsock"
	"github.com/bootandshoot/release/orchestrator/hook"
	"github.com/bootandshoot/release/router"
)

// agent is the parts of one agent process, wired together.
type agent struct {
	settings     *config.Agent
	dir          string // state folder
	name         string // among the agents of an installation
	log          *slog.Logger
	images       *images.Store
	registry     *registry
	router       router.Backend
	socket       net.Listener
	lead         *leadership
	lock         *os.File // of the state folder, where the store does not lock it
	installation string   // once the store is open
	fleets       *drivers // the same
	reserve      *reserve
	hooks        *hook.Runner
	tails        *tails.Archive // the last output of nodes that were removed
	lost         bool           // the store is new, the installation is not
}

// newAgent opens everything an agent works with. What a failure leaves open ends with the process.
func (c *cli) newAgent(ctx context.Context, settings *config.Agent, log *slog.Logger) (*agent, error) {
	dir, err := c.stateDir()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.New(fault.Denied, "make the state folder: %w", err).WithHint("RELEASE_STATE_DIR names another one")
	}
	a := &agent{settings: settings, dir: dir, log: log, reserve: newReserve(dir, log),
		tails: tails.New(tails.Options{Dir: filepath.Join(dir, "tails"), Nodes: settings.Logs.Previous})}
	a.reserve.begin()
	a.lead = newLeadership(a)
	if a.lead.shared {
		a.lock, err = lockState(ctx, dir)
	} else {
		_, err = a.lead.open(ctx)
	}
	if err != nil {
		return nil, err
	}
	if a.name, err = agentName(dir); err != nil {
		return nil, err
	}
	imagesDir, err := c.imagesDir(settings)
	if err != nil {
		return nil, err
	}
	if a.images, err = images.Open(imagesDir); err != nil {
		return nil, err
	}
	if a.hooks, err = a.openHooks(); err != nil {
		return nil, err
	}
	if a.registry, err = openRegistry(ctx, dir, log); err != nil {
		return nil, err
	}
	// The router and the API are there before the store is asked for: users are served while Consul is away.
	if a.router, err = a.openRouter(ctx); err != nil {
		return nil, err
	}
	path, _, err := c.socket()
	if err != nil {
		return nil, err
	}
	if a.socket, err = unixsock.Listen(ctx, path); err != nil {
		return nil, fmt.Errorf("start agent: %w", err)
	}
	return a, nil
}

// run works until ctx ends. Router and nodes go on.
func (a *agent) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	wire := console.New(console.Options{
		Orchestrator: leading{a.lead}, Images: uploads{a.images}, Stop: stop, Log: a.log,
		Agent: api.Agent{
			Version: programVersion(), PID: os.Getpid(), Since: time.Now(), StateDir: a.dir, ImagesDir: a.images.Dir(),
		},
		Standing: a.lead.standing, Leads: a.lead.leads, Forget: a.lead.forget, ForgetHost: a.lead.forgetHost,
		Hosts: a.lead.hosts, DrainHost: a.lead.drainHost,
		UserOf: userOf,
	})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.lead.run(ctx) })
	group.Go(func() error { return a.registry.serve(ctx, a.images) })
	group.Go(func() error { a.reserve.run(ctx); return nil })
	group.Go(func() error { return wire.Serve(ctx, a.socket) })
	a.log.Info("agent runs", "version", programVersion(), "pid", os.Getpid(), "socket", a.socket.Addr(), "state", a.dir,
		"images", a.images.Dir(), "registry", a.registry.Address, "name", a.name)
	err := group.Wait()
	a.log.Info("agent ends", "error", err)
	return err
}
