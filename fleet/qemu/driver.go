package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/local"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/machine"
)

// Options are what a driver is made of.
type Options struct {
	Dir          string // folder of the driver's own; made when missing
	Installation string
	Images       *images.Store
	Ports        local.Ports // at which nodes are reached
	Boots        int         // nodes booted at a time; 0: 8
	LogBytes     int64       // of a node's output that is kept on disk; 0: 24 MiB
	Tails        fleet.Tails // takes the ends of the output of nodes that are removed; nil: nobody
	Log          *slog.Logger
	Now          func() time.Time // default time.Now
}

const (
	defaultLogBytes = 24 << 20
	defaultMemory   = 512 << 20
)

// Driver runs nodes as machines of this machine.
type Driver struct {
	opts        Options
	nodes       local.Nodes[record]
	host        string
	accelerator machine.Accelerator
	volumes     *local.Volumes[record]
	names       local.Locks
	watch       local.Hints

	mu      sync.Mutex
	live    map[string]*live
	checked map[images.Digest]bool // machines that were read whole
}

// live is a node's machine that this driver watches.
type live struct {
	machine *machine.Machine
	talk    *talk
}

var (
	_ fleet.Driver       = (*Driver)(nil)
	_ fleet.Targeted     = (*Driver)(nil)
	_ fleet.Scoped       = (*Driver)(nil)
	_ fleet.Inward       = (*Driver)(nil)
	_ fleet.Watcher      = (*Driver)(nil)
	_ fleet.Logger       = (*Driver)(nil)
	_ fleet.Execer       = (*Driver)(nil)
	_ fleet.Copier       = (*Driver)(nil)
	_ fleet.VolumeKeeper = (*Driver)(nil)
)

// Available says whether machines can be run here; a *fault.Error tells what is missing.
func Available(ctx context.Context) error {
	_, _, err := machine.Accelerate(ctx)
	return err
}

// New makes a driver, adopts the nodes that run and clears away what a crash left half-done. One driver at a time works on a folder. A
// missing QEMU is fault.Unsupported.
func New(ctx context.Context, opts Options) (*Driver, error) {
	d, err := newDriver(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("make QEMU driver: %w", err)
	}
	return d, nil
}

func newDriver(ctx context.Context, opts Options) (*Driver, error) {
	if opts.Dir == "" || opts.Installation == "" || opts.Images == nil {
		return nil, fault.New(fault.Internal, "folder, installation and images are needed")
	}
	opts.Ports = opts.Ports.OrDefault()
	if opts.Boots == 0 {
		opts.Boots = local.DefaultBoots
	}
	if opts.LogBytes == 0 {
		opts.LogBytes = defaultLogBytes
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	dir, err := filepath.Abs(opts.Dir) // QEMU runs elsewhere
	if err != nil {
		return nil, err
	}
	opts.Dir = dir
	d := &Driver{opts: opts, nodes: local.Nodes[record]{Root: dir, Installation: opts.Installation}, live: map[string]*live{}, checked: map[images.Digest]bool{}}
	d.volumes = d.keeper(d.nodes)
	if d.host, err = os.Hostname(); err != nil {
		return nil, fmt.Errorf("read host name: %w", err)
	}
	var why string
	if d.accelerator, why, err = machine.Accelerate(ctx); err != nil {
		return nil, err
	}
	if why != "" {
		opts.Log.Warn("machines are emulated, which is slow", "reason", why)
	}
	if err := d.nodes.Make(); err != nil {
		return nil, err
	}
	d.sweepKernels()
	return d, d.adopt(ctx)
}

// adopt watches the nodes that run and removes those that never did.
func (d *Driver) adopt(ctx context.Context) error {
	if err := d.nodes.Sweep(d.opts.Log, func(node string) error { return d.kill(ctx, node) }); err != nil {
		return err
	}
	records, err := d.nodes.All()
	if err != nil {
		return err
	}
	for _, r := range records {
		switch {
		case r.State == local.Started:
			if _, err := d.liveOf(r); err != nil && !errors.Is(err, errGone) {
				d.opts.Log.Warn("cannot watch node", "node", r.ID.Node, "error", err)
			}
		case r.Kind == fleet.Once:
			err = d.settleJob(ctx, r)
		default:
			err = d.clear(ctx, r)
		}
		if err != nil {
			return fmt.Errorf("clear half-booted node %s: %w", r.ID.Node, err)
		}
	}
	return nil
}

// settleJob is for a job whose start was cut off. If its machine ran, however it ended, the command may have begun, and is not run again.
func (d *Driver) settleJob(ctx context.Context, r record) error {
	dir := d.machineDir(r.ID.Node)
	ran, err := machine.Clear(ctx, dir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, consoleFile)); err != nil && !ran { // QEMU makes it first of all
		return d.clear(ctx, r)
	}
	d.opts.Log.Warn("a job was ended while it was started, and is not run again", "node", r.ID.Node)
	r.State = local.Started
	return d.nodes.Write(r, true)
}

// errGone: the machine has ended.
var errGone = errors.New("the machine has ended")

// liveOf finds a node's machine and watches it; errGone when it ended.
func (d *Driver) liveOf(r record) (*live, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l, ok := d.live[r.ID.Node]; ok && !l.machine.Gone() {
		return l, nil
	}
	m, err := machine.Open(d.machineDir(r.ID.Node))
	if fault.Is(err, fault.NotFound) || err == nil && m.Gone() {
		return nil, errGone
	}
	if err != nil {
		return nil, err
	}
	return d.follow(r.ID, m), nil
}

// follow watches a machine until it ends, and lets QEMU go then; the lock is held.
func (d *Driver) follow(id fleet.NodeID, m *machine.Machine) *live {
	l := &live{machine: m, talk: newTalk(filepath.Join(d.machineDir(id.Node), controlFile))}
	d.live[id.Node] = l
	ctx, cancel := context.WithCancel(context.Background())
	go d.boundLog(ctx, id.Node)
	go func() {
		defer cancel()
		if _, err := m.Wait(ctx); err != nil && !errors.Is(err, fs.ErrNotExist) { // removed meanwhile
			d.opts.Log.Warn("cannot tell how a machine ended", "node", id.Node, "error", err)
		}
		d.mu.Lock()
		if d.live[id.Node] == l {
			delete(d.live, id.Node)
		}
		d.mu.Unlock()
		d.watch.Send(id.Fleet)
	}()
	return l
}

// Target implements fleet.Targeted.
func (d *Driver) Target() fleet.Target { return fleet.Machine }

// Inward implements fleet.Inward: QEMU's network has this machine's loopback there.
func (d *Driver) Inward(context.Context) (string, error) { return "10.0.2.2", nil }

// Watch implements fleet.Watcher.
func (d *Driver) Watch(ctx context.Context) (<-chan fleet.FleetID, error) {
	return d.watch.Watch(ctx), nil
}

// Scope implements fleet.Scoped: the nodes of one folder on this machine.
func (d *Driver) Scope(context.Context) (string, error) {
	return local.Scope("machines", d.host, d.opts.Dir)
}
