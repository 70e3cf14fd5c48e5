package orchestrator

import (
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"sync"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

// Logs reads a node's output. The node is named in full or by a unique part; one that was removed in full, and of it there
// is the end that was kept.
func (o *Orchestrator) Logs(ctx context.Context, key Key, node string, opts fleet.LogOptions) (io.ReadCloser, error) {
	d, id, err := o.find(ctx, key, node)
	if fault.Is(err, fault.NotFound) {
		if r := o.keptLog(key, node, opts); r != nil {
			return r, nil
		}
	}
	if err != nil {
		return nil, err
	}
	logger, ok := d.(fleet.Logger)
	if !ok {
		return nil, fault.New(fault.Unsupported, "logs of %s: the driver keeps none", node)
	}
	r, err := logger.Logs(ctx, id, opts)
	if !errors.Is(err, fleet.ErrNoNode) {
		return r, err
	}
	if r := o.keptLog(key, node, opts); r != nil { // it is being removed, and what it said last is kept before
		return r, nil
	}
	return nil, fault.New(fault.NotFound, "logs of %s: the node is being removed, and nothing is kept of it yet", node).
		WithHint("a moment later: release logs --previous")
}

// keptLog is what was kept of a removed node's output, nil when there is nothing.
func (o *Orchestrator) keptLog(key Key, node string, opts fleet.LogOptions) io.ReadCloser {
	if o.opts.Tails == nil {
		return nil
	}
	r, err := o.opts.Tails.Open(key.App, key.Env, node, opts)
	if err != nil {
		return nil
	}
	return r
}

// Previous lists the nodes of an app that were removed and whose last output is kept, the oldest first.
func (o *Orchestrator) Previous(ctx context.Context, key Key) ([]fleet.Tail, error) {
	if _, err := o.state(ctx, key); err != nil || o.opts.Tails == nil {
		return nil, err
	}
	return o.opts.Tails.List(key.App, key.Env)
}

// syncTails removes what is kept of apps that were destroyed. It is done again after a restart, which costs nothing.
func (o *Orchestrator) syncTails() {
	for key, a := range o.apps {
		switch {
		case !a.state.Destroyed:
			delete(o.world.forgotten, key)
		case o.opts.Tails != nil && !o.world.forgotten[key]:
			if err := o.opts.Tails.Forget(key.App, key.Env); err != nil {
				o.complain("forget "+key.String(), err)
				continue
			}
			o.world.forgotten[key] = true
		}
	}
}

// Exec runs a command in a node and returns its exit code.
func (o *Orchestrator) Exec(ctx context.Context, key Key, node string, spec fleet.ExecSpec) (int, error) {
	d, id, err := o.find(ctx, key, node)
	if err != nil {
		return 0, err
	}
	execer, ok := d.(fleet.Execer)
	if !ok {
		return 0, fault.New(fault.Unsupported, "exec in %s: the driver cannot run commands in its nodes", node)
	}
	defer func() { o.looks.soon(id.Node, o.opts.Now()) }()
	return execer.Exec(ctx, id, spec)
}

// CopyOut reads the file or folder at a path of a node, as a tar stream.
func (o *Orchestrator) CopyOut(ctx context.Context, key Key, node, name string) (io.ReadCloser, error) {
	if name = path.Clean(name); !path.IsAbs(name) || name == "/" {
		return nil, fault.New(fault.Invalid, "copy out of %s: %q is no absolute path below /", node, name)
	}
	d, id, err := o.find(ctx, key, node)
	if err != nil {
		return nil, err
	}
	copier, ok := d.(fleet.Copier)
	if !ok {
		return nil, fault.New(fault.Unsupported, "copy out of %s: the driver cannot read files of its nodes", node)
	}
	r, err := copier.CopyOut(ctx, id, name)
	if errors.Is(err, fleet.ErrNoNode) {
		return nil, fault.New(fault.NotFound, "%w", err)
	}
	return r, err
}

// find resolves a node's name to its driver and id.
func (o *Orchestrator) find(ctx context.Context, key Key, name string) (fleet.Driver, fleet.NodeID, error) {
	s, err := o.state(ctx, key)
	if err != nil {
		return nil, fleet.NodeID{}, err
	}
	if t := s.taskNamed(name); t != nil {
		d, err := o.opts.Drivers.Driver(t.Fleet.Driver)
		return d, fleet.NodeID{Fleet: t.Fleet.ID, Node: t.Node}, err
	}
	n, err := s.node(name)
	if err != nil {
		return nil, fleet.NodeID{}, err
	}
	for _, fl := range s.Fleets {
		if slices.Contains(fl.Nodes, n) {
			d, err := o.opts.Drivers.Driver(fl.Driver)
			return d, fleet.NodeID{Fleet: fl.ID, Node: n.Name}, err
		}
	}
	return nil, fleet.NodeID{}, fault.New(fault.NotFound, "%s has no node %q", key, name)
}

// maxProbeOutput is how much of the output of a probe's command is held; its message shows less.
const maxProbeOutput = 4 << 10

// probeOutput takes both streams of a probe's command: drivers may copy each in a goroutine of its own.
type probeOutput struct {
	mu   sync.Mutex
	text []byte
}

// Write holds the beginning and drops the rest: a command must not be blocked by what nobody reads.
func (p *probeOutput) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = append(p.text, b[:min(len(b), maxProbeOutput-len(p.text))]...)
	return len(b), nil
}

func (p *probeOutput) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.text)
}
