package main

import (
	"context"
	"crypto/rand"
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
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/unixsock"
	"github.com/bootandshoot/release/orchestrator"
	"github.com/bootandshoot/release/store/embedded"
)

// storeFile is the agent's store in the state folder.
const storeFile = "store.db"

// agent is the parts of one agent process, wired together.
type agent struct {
	settings     *config.Agent
	dir          string // state folder
	log          *slog.Logger
	store        *embedded.Store
	images       *images.Store
	installation string
	registry     *registry
	router       *keptRouter
	mind         *orchestrator.Orchestrator
	socket       net.Listener
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
	a := &agent{settings: settings, dir: dir, log: log}
	if a.store, err = embedded.Open(filepath.Join(dir, storeFile)); err != nil {
		return nil, err
	}
	if a.installation, err = orchestrator.Installation(ctx, a.store, rand.Reader); err != nil {
		return nil, err
	}
	imagesDir, err := c.imagesDir(settings)
	if err != nil {
		return nil, err
	}
	if a.images, err = images.Open(imagesDir); err != nil {
		return nil, err
	}
	if a.registry, err = openRegistry(ctx, dir, log); err != nil {
		return nil, err
	}
	if a.router, err = startRouter(ctx, filepath.Join(dir, routerDir), settings, log); err != nil {
		return nil, err
	}
	path, _, err := c.socket()
	if err != nil {
		return nil, err
	}
	if a.socket, err = unixsock.Listen(ctx, path); err != nil {
		return nil, fmt.Errorf("start agent: %w", err)
	}
	a.mind, err = orchestrator.New(orchestrator.Options{
		Installation: a.installation, Store: a.store, Drivers: a.drivers(), Router: a.router, Images: a.images,
		Slots: settings.Ports.Size(), Boots: settings.Limits.Boots, Holder: fmt.Sprintf("agent %d", os.Getpid()), Log: log,
		Verify: func(d images.Digest, require config.Require) error { return verifySigned(a.images, d, require) },
	})
	return a, err
}

// run works until ctx ends. Router and nodes go on.
func (a *agent) run(ctx context.Context) error {
	defer a.store.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	wire := console.New(console.Options{
		Orchestrator: a.mind, Images: uploads{a.images}, Stop: stop, Log: a.log,
		Agent: api.Agent{
			Version: programVersion(), PID: os.Getpid(), Since: time.Now(), Installation: a.installation,
			StateDir: a.dir, ImagesDir: a.images.Dir(),
		},
	})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.mind.Run(ctx) })
	group.Go(func() error { return a.registry.serve(ctx, a.images) })
	group.Go(func() error { return wire.Serve(ctx, a.socket) })
	a.log.Info("agent runs", "version", programVersion(), "pid", os.Getpid(), "socket", a.socket.Addr(), "state", a.dir,
		"images", a.images.Dir(), "registry", a.registry.Address, "installation", a.installation)
	err := group.Wait()
	a.log.Info("agent ends", "error", err)
	return err
}
