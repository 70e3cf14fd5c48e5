package spread

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

// Options of a driver. Open must be set.
type Options struct {
	// Open makes the driver of one host. It does not talk to it.
	Open func(name, where string) (Member, error)
	Log  *slog.Logger     // nil: none
	Now  func() time.Time // nil: time.Now
}

// Driver spreads nodes over hosts. It has none before Use. It is safe for use by many goroutines.
type Driver struct {
	opts Options

	mu      sync.Mutex
	hosts   map[string]*host
	where   map[string]string // host by node, as far as it was seen
	changed chan struct{}     // closed when there are other hosts
}

var (
	_ fleet.Driver           = (*Driver)(nil)
	_ fleet.Hosted           = (*Driver)(nil)
	_ fleet.ProgressPreparer = (*Driver)(nil)
	_ fleet.Watcher          = (*Driver)(nil)
	_ fleet.Logger           = (*Driver)(nil)
	_ fleet.Execer           = (*Driver)(nil)
	_ fleet.Drifter          = (*Driver)(nil)
	_ fleet.Copier           = (*Driver)(nil)
)

// New makes a driver without hosts.
func New(opts Options) *Driver {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Driver{opts: opts, hosts: map[string]*host{}, where: map[string]string{}, changed: make(chan struct{})}
}

// Use implements fleet.Hosted. A host whose engine is reached in another way than before is opened anew; one that cannot be
// opened does not answer, and says why.
func (d *Driver) Use(hosts map[string]fleet.Engine) {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := map[string]*host{}
	same := len(hosts) == len(d.hosts)
	for name, engine := range hosts {
		h := d.hosts[name]
		if h == nil || h.where != engine.Where {
			h, same = d.open(name, engine.Where), false
		}
		h.means(engine.ID)
		next[name] = h
	}
	if same {
		return
	}
	for name, h := range d.hosts {
		if next[name] != h {
			_ = h.member.Close() // nodes run on
		}
	}
	d.hosts = next
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *Driver) open(name, where string) *host {
	m, err := d.opts.Open(name, where)
	if err != nil {
		m = closed{errors.Join(fleet.ErrUnavailable, err)}
	}
	return newHost(name, where, m, d.opts.Now)
}

// Close ends the connections to all hosts. Nodes run on.
func (d *Driver) Close() error {
	d.Use(nil)
	return nil
}

// all are the hosts by name.
func (d *Driver) all() []*host {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sorted()
}

func (d *Driver) sorted() []*host {
	return slices.SortedFunc(maps.Values(d.hosts), func(a, b *host) int { return strings.Compare(a.name, b.name) })
}

// Hosts implements fleet.Hosted.
func (d *Driver) Hosts(ctx context.Context) []fleet.Host {
	hosts := d.all()
	list := make([]fleet.Host, len(hosts))
	each(hosts, func(i int, h *host) error {
		list[i] = fleet.Host{Name: h.name, Engine: fleet.Engine{Where: h.where}, Err: h.do(ctx, answerWithin, h.member.Reachable)}
		if list[i].Err == nil {
			list[i].ID = h.engine()
		}
		return nil
	})
	return list
}

// each calls f for hosts at the same time, and joins the errors: those of hosts that are away into one, which comes first.
func each(hosts []*host, f func(i int, h *host) error) error {
	errs := make([]error, len(hosts))
	var group sync.WaitGroup
	for i, h := range hosts {
		group.Go(func() { errs[i] = f(i, h) })
	}
	group.Wait()
	return join(errs)
}

func join(errs []error) error {
	var away *fleet.HostsAway
	var others []error
	for _, err := range errs {
		var one *fleet.HostsAway
		switch {
		case errors.As(err, &one) && away == nil:
			away = &fleet.HostsAway{Hosts: slices.Clone(one.Hosts), Err: one.Err}
		case errors.As(err, &one):
			away.Hosts = append(away.Hosts, one.Hosts...)
		case err != nil:
			others = append(others, err)
		}
	}
	if away == nil {
		return errors.Join(others...)
	}
	slices.Sort(away.Hosts)
	if len(others) == 0 {
		return away
	}
	return errors.Join(append([]error{away}, others...)...)
}

// seen notes where nodes are.
func (d *Driver) seen(h *host, nodes ...fleet.Node) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range nodes {
		d.where[n.ID.Node] = h.name
	}
}

func (d *Driver) forget(node string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.where, node)
}

// of is the host that a node was seen on; nil when it is not known.
func (d *Driver) of(node string) *host {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hosts[d.where[node]]
}

// at finds the host of a node, by asking all of them if it must.
func (d *Driver) at(ctx context.Context, id fleet.NodeID) (*host, error) {
	if h := d.of(id.Node); h != nil {
		return h, nil
	}
	_, err := d.Nodes(ctx, id.Fleet)
	if h := d.of(id.Node); h != nil {
		return h, nil
	}
	if err == nil {
		err = fleet.ErrNoNode
	}
	return nil, err
}

// free are the hosts that a spec names, all without a word of it.
func (d *Driver) free(spec fleet.Spec) []*host {
	hosts := d.all()
	if spec.Hosts != nil {
		hosts = slices.DeleteFunc(hosts, func(h *host) bool { return !slices.Contains(spec.Hosts, h.name) })
	}
	return hosts
}

// chosen are those, and there must be one.
func (d *Driver) chosen(spec fleet.Spec) ([]*host, error) {
	hosts := d.free(spec)
	if len(hosts) == 0 {
		return nil, fault.New(fault.Unavailable, "fleet %s has no host that may have its nodes: %w", spec.Fleet, fleet.ErrUnavailable).
			WithHint("release host list shows them, and which are drained")
	}
	return hosts, nil
}
