package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/local"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/sandbox"
)

// Options are what a driver is made of.
type Options struct {
	Dir          string // folder of the driver's own; made when missing
	Installation string
	Images       *images.Store
	Ports        local.Ports // of nodes on the machine's network
	// Subnet is where nodes with a network of their own live; zero: a free one is chosen and kept.
	Subnet netip.Prefix
	// SharedNetwork makes nodes use the machine's network also where they could have their own.
	SharedNetwork bool
	Boots         int // nodes booted at a time; 0: 8
	// Pids is how many processes and threads a node may have, where that can be limited; 0: 4096.
	Pids     int64
	LogBytes int64       // size at which a node's log is turned over; 0: 8 MiB
	LogKeep  int         // turned over files kept; 0: 2
	Tails    fleet.Tails // takes the ends of the logs of nodes that are removed; nil: nobody
	Log      *slog.Logger
	Now      func() time.Time // default time.Now
}

// Driver runs nodes as sandboxes of this machine.
type Driver struct {
	opts    Options
	nodes   local.Nodes[record]
	host    string
	boot    string // the machine's boot id
	network network
	names   local.Locks
	watch   local.Hints
	volumes *local.Volumes[record]
	// afterRecord is called between the record of a started node and its leave to run. Tests die there.
	afterRecord func()

	mu   sync.Mutex
	live map[string]*live
}

// live is a node's init that this driver watches.
type live struct {
	process *sandbox.Process
	command int // PID of the node's command; 0 until asked for
}

var (
	_ fleet.Driver           = (*Driver)(nil)
	_ fleet.Scoped           = (*Driver)(nil)
	_ fleet.Inward           = (*Driver)(nil)
	_ fleet.Watcher          = (*Driver)(nil)
	_ fleet.Logger           = (*Driver)(nil)
	_ fleet.Execer           = (*Driver)(nil)
	_ fleet.Drifter          = (*Driver)(nil)
	_ fleet.Copier           = (*Driver)(nil)
	_ fleet.VolumeKeeper     = (*Driver)(nil)
	_ fleet.ProgressPreparer = (*Driver)(nil)
)

// New makes a driver, adopts the nodes that run and clears away what a crash left half-done. One driver at a time
// works on a folder.
func New(opts Options) (*Driver, error) {
	d, err := newDriver(opts)
	if err != nil {
		return nil, fmt.Errorf("make sandbox driver: %w", err)
	}
	return d, nil
}

func newDriver(opts Options) (*Driver, error) {
	if opts.Dir == "" || opts.Installation == "" || opts.Images == nil {
		return nil, fault.New(fault.Internal, "folder, installation and images are needed")
	}
	opts.Ports = opts.Ports.OrDefault()
	if opts.Boots == 0 {
		opts.Boots = local.DefaultBoots
	}
	if opts.Pids == 0 {
		opts.Pids = 4096
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("read host name: %w", err)
	}
	boot, err := sandbox.BootID()
	if err != nil {
		return nil, err
	}
	d := &Driver{opts: opts, nodes: local.Nodes[record]{Root: opts.Dir, Installation: opts.Installation}, host: host, boot: boot, live: map[string]*live{}, afterRecord: func() {}}
	d.volumes = d.keeper(d.nodes)
	if err := d.nodes.Make(); err != nil {
		return nil, err
	}
	if d.network, err = d.chooseNetwork(); err != nil {
		return nil, err
	}
	return d, d.adopt()
}

func (d *Driver) chooseNetwork() (network, error) {
	if d.opts.SharedNetwork || !sandbox.CanConfigureNetwork() {
		return &sharedNetwork{ports: d.opts.Ports}, nil
	}
	return newOwnNetwork(d.opts)
}

func (d *Driver) path(elem ...string) string {
	return filepath.Join(append([]string{d.opts.Dir}, elem...)...)
}

// adopt watches the nodes that run and removes those that never did.
func (d *Driver) adopt() error {
	// What has no record was not running: its command begins after the record.
	if err := d.nodes.Sweep(d.opts.Log, func(string) error { return nil }); err != nil {
		return err
	}
	records, err := d.nodes.All()
	if err != nil {
		return err
	}
	for _, r := range records {
		if r.State != local.Started {
			if err := d.clear(r); err != nil {
				return fmt.Errorf("clear half-booted node %s: %w", r.ID.Node, err)
			}
			continue
		}
		if _, err := d.liveOf(r); err != nil && !errors.Is(err, sandbox.ErrGone) {
			d.opts.Log.Warn("cannot watch node", "node", r.ID.Node, "error", err)
		}
	}
	return d.foldNetwork()
}

// liveOf finds a node's init and watches it; sandbox.ErrGone when it ended.
func (d *Driver) liveOf(r record) (*live, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l, ok := d.live[r.ID.Node]; ok && l.process.PID == r.PID && l.process.StartTime == r.StartTime {
		return l, nil
	}
	p, err := sandbox.Find(r.PID, r.StartTime, r.BootID, d.nodes.Dir(r.ID.Node))
	if err != nil {
		return nil, err
	}
	return d.follow(r.ID, p), nil
}

// follow watches an init until it ends; the lock is held.
func (d *Driver) follow(id fleet.NodeID, p *sandbox.Process) *live {
	l := &live{process: p, command: p.Command}
	d.live[id.Node] = l
	go func() {
		_, _ = p.Wait() // reaps; the exit is read from its file
		d.mu.Lock()
		if d.live[id.Node] == l {
			delete(d.live, id.Node)
		}
		d.mu.Unlock()
		d.watch.Send(id.Fleet)
	}()
	return l
}

// commandOf is the PID of a running node's command. The init of an adopted one is asked, once.
func (d *Driver) commandOf(ctx context.Context, name string, l *live) int {
	d.mu.Lock()
	pid := l.command
	d.mu.Unlock()
	if pid != 0 {
		return pid
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	pid, err := sandbox.ControlOf(d.nodes.Dir(name)).CommandPID(ctx)
	if err != nil {
		return 0
	}
	d.mu.Lock()
	l.command = pid
	d.mu.Unlock()
	return pid
}

// Inward implements fleet.Inward.
func (d *Driver) Inward(context.Context) (string, error) { return d.network.inward(), nil }

// Scope implements fleet.Scoped: the nodes of one folder on this machine.
func (d *Driver) Scope(context.Context) (string, error) {
	return local.Scope("sandboxes", d.host, d.opts.Dir)
}
