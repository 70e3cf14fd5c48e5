package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/embedded"
)

const (
	// routerDir is the router's own folder in the state folder.
	routerDir = "router"
	// stoppedFile in it says that a person stopped the router: the agent leaves it so until the agent starts anew.
	stoppedFile = "stopped"
	// respawn is the shortest time between two starts of a router that ends by itself.
	respawn = time.Second
)

// keptRouter is the embedded router, started again when it is gone.
type keptRouter struct {
	*embedded.Client
	start func(context.Context) error
	log   *slog.Logger

	mu   sync.Mutex
	last time.Time // of the last start
}

var (
	_ router.Backend    = (*keptRouter)(nil)
	_ router.Prechecker = (*keptRouter)(nil) // by its client
)

// startRouter adopts the router that runs in dir or starts one. One of another program file than this is handed over to this.
func startRouter(ctx context.Context, dir string, settings *config.Agent, log *slog.Logger) (*keptRouter, error) {
	if err := os.Remove(filepath.Join(dir, stoppedFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	args := routerArgs(dir, settings)
	k := &keptRouter{Client: embedded.NewClient(dir), log: log}
	k.start = func(ctx context.Context) error {
		_, err := embedded.Ensure(ctx, dir, selfPath(), args)
		return err
	}
	if err := k.start(ctx); err != nil {
		return k, err
	}
	k.renew(ctx)
	return k, nil
}

// renew hands the router over to this program when another file runs as it: the program was replaced before the agent started. A
// router that does not hand over goes on as it is.
func (k *keptRouter) renew(ctx context.Context) {
	exe := selfPath()
	own, err := os.Stat(exe)
	if err != nil || strings.HasPrefix(exe, "/proc/") { // replaced once more by now
		return
	}
	s, err := k.Status(ctx)
	if err != nil {
		return
	}
	if !runsOther(s, fmt.Sprintf("/proc/%d/exe", s.PID), own) {
		return
	}
	next, err := k.Upgrade(ctx, exe)
	if err != nil {
		k.log.Warn("the router goes on with another program than the agent", "pid", s.PID, "version", s.Version, "error", err)
		return
	}
	k.log.Info("the router was handed over to the agent's program", "from", s.PID, "to", next.PID, "version", next.Version)
}

// runsOther says whether the router runs another program than own. Its file tells; where that is hidden, as with file capabilities or
// hidepid, its version does.
func runsOther(s embedded.Status, exe string, own os.FileInfo) bool {
	runs, err := os.Stat(exe)
	if err != nil {
		return s.Version != programVersion()
	}
	return !os.SameFile(own, runs)
}

// routerArgs is the command line of the router process.
func routerArgs(dir string, settings *config.Agent) []string {
	args := []string{"router", "run", "--dir", dir}
	if settings.Router.Metrics != "" {
		args = append(args, "--metrics", settings.Router.Metrics)
	}
	if settings.Router.AccessLog != "" {
		args = append(args, "--access-log", settings.Router.AccessLog)
	}
	if share := settings.Router.LogSample.Share(); share < 1 {
		args = append(args, "--access-log-sample", strconv.FormatFloat(share, 'f', -1, 64))
	}
	if trace := settings.Router.Trace; trace.OTLP != "" {
		args = append(args, "--otlp", trace.OTLP, "--trace-sample", strconv.FormatFloat(trace.Sample.Share(), 'f', -1, 64))
	}
	return args
}

// Apply is that of the client, with one more try after the router was started again.
func (k *keptRouter) Apply(ctx context.Context, t router.Table) error {
	err := k.Client.Apply(ctx, t)
	if k.revive(ctx, err) {
		err = k.Client.Apply(ctx, t)
	}
	return err
}

// Applied is that of the client, with one more try after the router was started again.
func (k *keptRouter) Applied(ctx context.Context) (router.Table, error) {
	t, err := k.Client.Applied(ctx)
	if k.revive(ctx, err) {
		t, err = k.Client.Applied(ctx)
	}
	return t, err
}

// Observe is that of the client, with one more try after the router was started again.
func (k *keptRouter) Observe(ctx context.Context) (router.Observation, error) {
	o, err := k.Client.Observe(ctx)
	if k.revive(ctx, err) {
		o, err = k.Client.Observe(ctx)
	}
	return o, err
}

// revive starts a router that does not answer, unless a person stopped it. The start has its own time: whoever ends it
// early ends the process that was just started, and a busy machine would never get one.
func (k *keptRouter) revive(ctx context.Context, err error) bool {
	if !errors.Is(err, router.ErrUnavailable) || ctx.Err() != nil {
		return false
	}
	if _, err := os.Stat(filepath.Join(k.Dir(), stoppedFile)); err == nil {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.last) < respawn {
		return false
	}
	k.last = time.Now()
	k.log.Warn("the router does not answer: starting it", "error", err)
	if err := k.start(context.WithoutCancel(ctx)); err != nil {
		k.log.Error("start router", "error", err)
		return false
	}
	return true
}
