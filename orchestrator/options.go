package orchestrator

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/healthcheck"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/orchestrator/hook"
	"github.com/bootandshoot/release/orchestrator/metrics"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/store"
)

// Drivers finds the drivers of this agent.
type Drivers interface {
	// Driver returns the driver of that name, or a *fault.Error that says why there is none.
	Driver(name string) (fleet.Driver, error)
	// Choose returns the name to record for a new fleet: the one asked for if it is usable, the default for "".
	Choose(ctx context.Context, name string) (string, error)
	// Names lists the drivers that may hold nodes of this installation.
	Names() []string
}

// Images is what is asked of the image store.
type Images interface {
	Get(images.Digest) (images.Image, error)
	PinFor(ctx context.Context, installation string, why map[images.Digest][]string) error
}

// Dated is what an image store may know besides.
type Dated interface {
	// Added is when the image came into the store first; zero when that is not known.
	Added(images.Digest) time.Time
}

// Tails is what is kept of the output of nodes that were removed. fleet/tails is one.
type Tails interface {
	// List is what is kept of an app's nodes in an environment, the oldest first.
	List(app, env string) ([]fleet.Tail, error)
	// Open reads what is kept of one node; fleet.ErrNoNode when there is nothing.
	Open(app, env, node string, opts fleet.LogOptions) (io.ReadCloser, error)
	// Forget removes what is kept of an app's nodes in an environment.
	Forget(app, env string) error
}

// Options are what an orchestrator works with. Boots, Quarantine, Holder, Shared, History, Leads, Log, Now, Rand, Check, Secret,
// Hooks, Metrics, Prometheus, Mask, Verify, Approvers, Lost, Tails and MakeRoom may be left out.
type Options struct {
	Installation string
	Store        store.Store
	Drivers      Drivers
	Router       router.Backend
	Images       Images
	Slots        int                                                          // slots that nodes may lease: the size of the port range
	FirstPort    int                                                          // where that range begins
	Boots        int                                                          // nodes that are booted at the same time; 0: 16
	Quarantine   int                                                          // nodes of an app that may be in quarantine; 0: 2
	Holder       string                                                       // names this agent in the lease
	Shared       bool                                                         // agents on other machines have the same store
	Leads        func(epoch uint64)                                           // told when this agent leads, before it is ready; nil: nobody
	Log          *slog.Logger                                                 // nil: none
	Now          func() time.Time                                             // nil: time.Now
	Rand         io.Reader                                                    // nil: crypto/rand
	Check        func(context.Context, healthcheck.Target) healthcheck.Result // asks a node; nil: healthcheck.Check
	Secret       func(ref string) (string, error)                             // reads "file:/path" and "env:NAME"; nil: ReadSecret
	// Hooks runs a command of an app on this machine; nil: there are none. It ends with ctx.
	Hooks func(ctx context.Context, c hook.Command, line func(string)) (hook.Exit, error)
	// Metrics asks a Prometheus server; nil: metrics.Ask.
	Metrics func(context.Context, metrics.Query) ([]metrics.Sample, error)
	// Prometheus is the server for queries that name none.
	Prometheus config.AgentPrometheus
	// Mask makes what hides values, by name, in a line of text; nil: they are not hidden.
	Mask func(values map[string]string) func(line string) string
	// Verify says why an image is not what a release requires, fault.Denied when it is not signed as it should be; nil: a
	// release that requires something is refused.
	Verify func(image images.Digest, require config.Require) error
	// Approvers are the users who may approve for a group of cutover.steps; a group that is not there: everybody.
	Approvers map[string][]string
	// Lost says that the store is new and the installation is not: what it pinned stays until it is known what runs.
	Lost bool
	// Tails is where drivers put the ends of the output of nodes that are removed; nil: nothing is kept.
	Tails Tails
	// MakeRoom frees disk space that is kept in reserve, and says whether there was any. It is asked when a full disk is in
	// the way of a rollback, an abort or a destroy; nil: there is no reserve.
	MakeRoom func() bool
	// History says how much of it is kept; zero: all.
	History Retention
}
