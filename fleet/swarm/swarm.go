package swarm

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/local"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/installation"
)

// Endpoint is the agent's own read-only image endpoint, for a Swarm of one host.
type Endpoint struct {
	Address string        // "127.0.0.1:PORT"; "": there is none
	Token   func() string // asked for at each service
}

// Images is the part of an image store that the driver uses. *images.Store is one.
type Images interface {
	OpenBlob(images.Digest) (*os.File, error)
	Push(context.Context, images.Digest, images.PushOptions) (images.Pushed, error)
}

// Options of a driver. Installation and Images must be set.
type Options struct {
	Installation string   // id of the installation: [a-z0-9-], at most 40 characters
	Managers     []string // engines that are managers, asked in turn; none: DOCKER_HOST, else the engine's own default
	Engines      []string // of other hosts, for commands and copies in nodes there
	Repository   string   // where images are pushed, such as "registry.example/team/releases"; "": Endpoint
	PlainHTTP    bool     // of the registry
	Endpoint     Endpoint
	Images       Images
	PublishFrom  int           // published port of slot 0; 0: 20000
	Room         time.Duration // how long a node waits for a host that has room, or is there again; 0: 15 s
	Lost         time.Duration // how long a host must be down until the nodes there are gone; 0: 2 min
	Tails        fleet.Tails   // takes the ends of the logs of nodes that are removed; nil: nobody
	Log          *slog.Logger
}

// Driver runs nodes on one Swarm. It is safe for use by many goroutines.
type Driver struct {
	opts     Options
	managers []*manager
	engines  []*manager   // that need not be any
	current  atomic.Int64 // the one that answered last
	log      *slog.Logger
	now      func() time.Time
	placing  local.Locks // by fleet: its nodes are placed one after the other

	mu      sync.Mutex           // guards what follows; never held during a call
	cluster string               // id; "": not known yet
	down    map[string]time.Time // when each host that is down was first found so, by id
	pushed  map[string]bool
	bare    map[fleet.FleetID]map[string]time.Time // when each service of a fleet that has no task was first found so, by id
}

var (
	_ fleet.Driver           = (*Driver)(nil)
	_ fleet.ProgressPreparer = (*Driver)(nil)
	_ fleet.Scoped           = (*Driver)(nil)
	_ fleet.Inward           = (*Driver)(nil)
	_ fleet.Logger           = (*Driver)(nil)
	_ fleet.Execer           = (*Driver)(nil)
	_ fleet.Copier           = (*Driver)(nil)
)

// New makes a driver. It does not talk to the Swarm. Errors: a bad option or address (fault.Invalid).
func New(o Options) (*Driver, error) {
	invalid := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "make swarm driver: "+format, args...)
	}
	switch {
	case !installation.Valid(o.Installation):
		return nil, invalid("installation id %q is not %s", o.Installation, installation.Form)
	case o.Images == nil:
		return nil, invalid("images are missing")
	case o.Repository == "" && o.Endpoint.Address == "":
		return nil, invalid("neither a repository nor an endpoint is given")
	}
	managers, err := connect(o.Managers)
	if err != nil {
		return nil, err
	}
	var engines []*manager
	if len(o.Engines) > 0 {
		if engines, err = connect(o.Engines); err != nil {
			return nil, err
		}
	}
	if o.PublishFrom == 0 {
		o.PublishFrom = 20000
	}
	if o.Room == 0 {
		o.Room = 15 * time.Second
	}
	if o.Lost == 0 {
		o.Lost = 2 * time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Driver{opts: o, managers: managers, engines: engines, log: o.Log, now: time.Now, pushed: map[string]bool{},
		bare: map[fleet.FleetID]map[string]time.Time{}}, nil
}

// Close ends the connections to the managers. Nodes run on.
func (d *Driver) Close() error {
	for _, m := range slices.Concat(d.managers, d.engines) {
		m.client.Close() //nolint:errcheck // idle connections
	}
	return nil
}

// Available says whether a manager of a Swarm answers.
func (d *Driver) Available(ctx context.Context) error {
	_, err := d.info(ctx)
	return err
}
