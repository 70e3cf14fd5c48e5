package consul

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/router"
)

// ProjectorOptions of a projector.
type ProjectorOptions struct {
	Options
	Installation string        // its id, which everything carries that it writes
	Keep         time.Duration // how long nodes that left the table stay in the catalog; 0: 1 min
	Every        time.Duration // between two looks when nothing changes; 0: 10 s

	now func() time.Time // nil: time.Now
}

// Projector keeps Consul's catalog and config entries as the table says, for service meshes, gateways and DNS. It compares what
// is with what should be, and touches only what carries the installation's id. One at a time works for an installation.
//
// Order within a service: instances, service-defaults, a resolver with old and new subsets, the splitter, instances that get
// nothing any more, the resolver with those subsets that have instances. So no split ever names a subset that is not there.
type Projector struct {
	*space
	opts    ProjectorOptions
	session string

	mu   sync.Mutex        // one pass at a time
	done map[string]string // by service: what of the table the last pass brought about
}

// NewProjector returns a projector; nothing is asked yet. fault.Invalid says which setting is wrong.
func NewProjector(opts ProjectorOptions) (*Projector, error) {
	s, err := newSpace(opts.Options)
	if err != nil {
		return nil, err
	}
	opts.Keep, opts.Every = cmp.Or(opts.Keep, time.Minute), cmp.Or(opts.Every, 10*time.Second)
	if opts.now == nil {
		opts.now = time.Now
	}
	return &Projector{space: s, opts: opts, done: map[string]string{}}, nil
}

const (
	projectorTTL = 15 * time.Second
	// soon is the wait while edges have yet to confirm the table, or the last look failed.
	soon = 500 * time.Millisecond
)

// errUnconfirmed: not every live edge has confirmed the newest table.
var errUnconfirmed = errors.New("edges have yet to confirm the table")

// Run keeps the projection until ctx ends, whenever no other projector of the installation does.
func (p *Projector) Run(ctx context.Context) {
	changed := make(chan struct{}, 1)
	go consulapi.Follow(ctx, func(q *api.QueryOptions) (*api.QueryMeta, error) {
		_, meta, err := p.client.KV().Get(p.tableKey(), q)
		select {
		case changed <- struct{}{}:
		default:
		}
		return meta, err
	}, func(error) {})
	defer p.release()
	said := ""
	for ctx.Err() == nil {
		wait := p.opts.Every
		held, err := p.hold(ctx)
		if held && err == nil {
			err = p.project(ctx)
		}
		if held && err != nil || errors.Is(err, router.ErrUnavailable) {
			wait = soon
		}
		if err != nil && !errors.Is(err, errUnconfirmed) && ctx.Err() == nil && err.Error() != said {
			p.space.opts.Log.Error("project the table to Consul's catalog and config entries", "error", err)
		}
		said = ""
		if err != nil {
			said = err.Error()
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-changed:
			timer.Stop()
		case <-ctx.Done():
		}
	}
}

// hold makes sure that this projector is the one that works; false while another one is.
func (p *Projector) hold(ctx context.Context) (held bool, err error) {
	err = p.once(ctx, func(ctx context.Context) error {
		if p.session != "" {
			entry, _, err := p.client.Session().Renew(p.session, writing(ctx))
			if err != nil {
				return err
			}
			if entry == nil {
				p.session = ""
			}
		}
		if p.session == "" {
			session, _, err := p.client.Session().CreateNoChecks(&api.SessionEntry{
				Name: "release: projector of " + p.opts.Installation, TTL: projectorTTL.String(), LockDelay: lockDelay, Behavior: api.SessionBehaviorRelease,
			}, writing(ctx))
			if err != nil {
				return err
			}
			p.session = session
		}
		held, _, err = p.client.KV().Acquire(&api.KVPair{Key: p.space.opts.Prefix + "router/projector", Session: p.session}, writing(ctx))
		return err
	})
	return held, err
}

// release lets another one work.
func (p *Projector) release() {
	if p.session == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), attempt)
	defer cancel()
	_, _ = p.client.Session().Destroy(p.session, writing(ctx)) // else its time ends it
}

// project makes one pass over all services. What fails for one does not keep the others.
func (p *Projector) project(ctx context.Context) error { return p.pass(ctx, false) }

// soonest brings about what a table changed that was just applied, as far as a moment suffices: the old nodes may be shot next.
// It works whoever else does: whoever applies tables leads.
func (p *Projector) soonest(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	if err := p.pass(ctx, true); err != nil && !errors.Is(err, errUnconfirmed) {
		p.space.opts.Log.Warn("project the table to Consul's catalog and config entries: later", "error", err)
	}
}

// pass is one pass, over the services that the table has changed since the last one, or over all.
func (p *Projector) pass(ctx context.Context, changes bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	table, index, err := p.table(ctx)
	if err != nil {
		return err
	}
	if index == 0 {
		return nil // nothing was ever routed, or Consul lost it: no reason to take anything away
	}
	edges, err := p.edges(ctx)
	if err != nil {
		return err
	}
	for _, e := range edges {
		if e.live && e.Edge.Confirmed.Compare(table.Version) < 0 {
			return errUnconfirmed
		}
	}
	c, err := p.readCatalog(ctx)
	if err != nil {
		return err
	}
	routed, named := map[string]bool{}, map[string]bool{}
	var failed []error
	for _, r := range table.Routes {
		w := want(r, p.opts.Installation)
		routed[w.service] = true
		for _, i := range w.instances {
			named[i.id] = true
		}
		told := fmt.Sprint(w)
		if changes && p.done[w.service] == told {
			continue
		}
		delete(p.done, w.service)
		if err := p.service(ctx, c, w, named); err != nil {
			failed = append(failed, fmt.Errorf("service %s: %w", w.service, err))
			continue
		}
		p.done[w.service] = told
	}
	failed = append(failed, p.clear(ctx, c, routed, named))
	return errors.Join(failed...)
}

// service makes one service be as it should.
func (p *Projector) service(ctx context.Context, c *catalog, w wanted, named map[string]bool) error {
	for _, i := range w.instances {
		if i.weight > 0 || c.services[i.id] == nil {
			if err := p.register(ctx, c, w.service, i); err != nil {
				return err
			}
		}
	}
	if !w.split || len(w.shares) == 0 {
		if err := p.drop(ctx, api.ServiceSplitter, w.service); err != nil {
			return err
		}
	}
	if err := p.put(ctx, p.defaults(w)); err != nil {
		return err
	}
	both, err := p.subsets(ctx, w)
	if err != nil {
		return err
	}
	if err := p.put(ctx, p.resolver(w, both)); err != nil {
		return err
	}
	if w.split && len(w.shares) > 0 {
		if err := p.put(ctx, p.splitter(w)); err != nil {
			return err
		}
	}
	for _, i := range w.instances {
		if err := p.register(ctx, c, w.service, i); err != nil {
			return err
		}
	}
	for id, s := range c.services {
		if s.Service == w.service && !named[id] {
			if err := p.leave(ctx, c, id, p.opts.now()); err != nil {
				return err
			}
		}
	}
	final := maps.Clone(w.subsets)
	for _, s := range c.services {
		if fleet := s.Meta[metaFleet]; s.Service == w.service && fleet != "" {
			final[subsetName(fleet)] = subsetOf(fleet)
		}
	}
	return p.put(ctx, p.resolver(w, final))
}

// subsets are those that are wanted and those that are there.
func (p *Projector) subsets(ctx context.Context, w wanted) (map[string]api.ServiceResolverSubset, error) {
	both := maps.Clone(w.subsets)
	have, err := p.readEntry(ctx, api.ServiceResolver, w.service)
	if err != nil || have == nil || p.foreign(have) {
		return both, err
	}
	if r, ok := have.(*api.ServiceResolverConfigEntry); ok {
		for name, subset := range r.Subsets {
			if _, ok := both[name]; !ok {
				both[name] = subset
			}
		}
	}
	return both, nil
}

// clear takes away what no route stands for any more: the split first, then, after their time, the instances, then the rest.
func (p *Projector) clear(ctx context.Context, c *catalog, routed, named map[string]bool) error {
	services, err := p.owned(ctx)
	if err != nil {
		return err
	}
	for _, service := range services {
		if !routed[service] {
			if err := p.drop(ctx, api.ServiceSplitter, service); err != nil {
				return err
			}
		}
	}
	used := map[string]bool{}
	for id, s := range c.services {
		if routed[s.Service] || named[id] {
			continue
		}
		if err := p.leave(ctx, c, id, p.opts.now()); err != nil {
			return err
		}
		used[s.Service] = c.services[id] != nil || used[s.Service]
	}
	for _, service := range services {
		if routed[service] || used[service] {
			continue
		}
		for _, kind := range []string{api.ServiceResolver, api.ServiceDefaults} {
			if err := p.drop(ctx, kind, service); err != nil {
				return err
			}
		}
	}
	return nil
}
