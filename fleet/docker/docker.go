package docker

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/docker/client"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/installation"
)

// Registry is the agent's read-only image endpoint.
type Registry struct {
	Address string        // "127.0.0.1:PORT"; "": images are sent to the engine instead
	Token   func() string // the endpoint's token, asked for at each pull; nil: none
}

// Images is the part of an image store that the driver reads: to send an image to an engine that cannot reach the
// registry endpoint, and to check what the engine pulled. *images.Store is one.
type Images interface {
	OpenBlob(images.Digest) (*os.File, error)
	OpenVerified(images.Descriptor) (*images.VerifiedBlob, error)
	CheckBlob(context.Context, images.Descriptor) error
}

// Options of a driver. Installation, and Registry or Images, must be set.
type Options struct {
	Installation string       // id of the installation: [a-z0-9], then [a-z0-9-], at most 40 characters
	Host         string       // engine, e.g. "unix:///var/run/docker.sock", "ssh://user@host"; "": DOCKER_HOST, else the engine's own default
	Remote       *Remote      // how Host is reached; nil: as the DOCKER_* variables say
	Registry     Registry     // where the engine pulls from
	Images       Images       // what is sent to an engine that cannot pull
	Subnet       netip.Prefix // wanted for the nodes' network, IPv4; zero or taken: one that is free
	PublishFrom  int          // host port of slot 0, where nodes' own addresses cannot be reached; 0: 20000
	Tails        fleet.Tails  // takes the ends of the logs of nodes that are removed; nil: nobody
	Log          *slog.Logger // nil: none
}

// Driver runs nodes as containers of one engine. It is safe for use by many goroutines.
type Driver struct {
	opts   Options
	engine *client.Client
	daemon string // where it is, as a URL
	log    *slog.Logger
	now    func() time.Time

	greeting sync.Mutex        // held while the API version is agreed on
	greeted  atomic.Bool       // it is
	making   sync.Mutex        // held while the network is looked up or made
	volumes  sync.Mutex        // held from when a node's volumes are found free until it has started
	mu       sync.Mutex        // guards what follows; never held during a call to the engine
	network  *bridge           // as last seen; nil: not known
	images   map[string]string // manifest digest → image id at the engine
	awaited  map[string]bool   // manifest digests that were prepared and not booted from since
	reached  *reach            // how nodes are reached; nil: not known
}

var (
	_ fleet.Driver           = (*Driver)(nil)
	_ fleet.ProgressPreparer = (*Driver)(nil)
	_ fleet.Scoped           = (*Driver)(nil)
	_ fleet.Watcher          = (*Driver)(nil)
	_ fleet.Logger           = (*Driver)(nil)
	_ fleet.Execer           = (*Driver)(nil)
	_ fleet.Drifter          = (*Driver)(nil)
	_ fleet.VolumeKeeper     = (*Driver)(nil)
)

// New makes a driver. It does not talk to the engine, so it works while the engine is down. Errors: a bad option or
// engine address (fault.Invalid).
func New(_ context.Context, opts Options) (*Driver, error) {
	if !installation.Valid(opts.Installation) {
		return nil, fault.New(fault.Invalid, "make docker driver: installation id %q is not %s", opts.Installation, installation.Form)
	}
	if opts.Registry.Address == "" && opts.Images == nil {
		return nil, fault.New(fault.Invalid, "make docker driver: neither a registry address nor images are given")
	}
	engine, daemon, err := connect(opts.Host, opts.Remote)
	if err != nil {
		return nil, err
	}
	if opts.PublishFrom == 0 {
		opts.PublishFrom = 20000
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Driver{opts: opts, engine: engine, daemon: daemon, log: opts.Log, now: time.Now, images: map[string]string{}, awaited: map[string]bool{}}, nil
}

// Close ends the connections to the engine. Nodes run on.
func (d *Driver) Close() error { return d.engine.Close() }
