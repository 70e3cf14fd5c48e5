package orchestrator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store"
)

// Hosts are the machines that apps spread their nodes over (fleet.hosts). A host is on record from before the first release that
// names it is, until a person forgets it: so what a crash or a lost host left there is found, whoever has a fleet now.

// hostsKey is where they are on record, all together.
const hostsKey = "hosts"

// HostRecord is what is kept of a host.
type HostRecord struct {
	Where   string    `json:"where"`             // how its engine is reached, as the newest release says
	Engine  string    `json:"engine,omitempty"`  // the engine's own id, from when it first answered
	Drained bool      `json:"drained,omitempty"` // its nodes are to be elsewhere
	By      string    `json:"by,omitempty"`      // who said so
	At      time.Time `json:"at,omitzero"`       // and when
}

// hostsKnown is what is known of hosts, for the loop only.
type hostsKnown struct {
	records map[string]HostRecord
	version uint64 // of the record
	unsure  bool   // its last write had no answer
	seen    map[string]hostSeen
}

// hostSeen is what a look at a host brought.
type hostSeen struct {
	away time.Time // since when it does not answer; zero: it does
	err  error     // why
	none bool      // its engine has no id
}

// HostFact is what is known of one host.
type HostFact struct {
	Away    time.Time // since when it does not answer; zero: it does, or nobody has looked yet
	Why     string    // it does not
	Drained bool
	Others  int // nodes of other apps there
}

// hostFacts is what a round of an app needs to know of hosts; nil when there never were any.
func (o *Orchestrator) hostFacts(s *State) map[string]HostFact {
	if o.world.hosts.version == 0 {
		return nil
	}
	facts := map[string]HostFact{}
	for name, rec := range o.world.hosts.records {
		f := HostFact{Drained: rec.Drained, Away: o.world.hosts.seen[name].away}
		if err := o.world.hosts.seen[name].err; err != nil {
			f.Why = err.Error()
		}
		facts[name] = f
	}
	for _, a := range o.apps {
		if a.state.Key == s.Key {
			continue
		}
		for _, fl := range a.state.holders() {
			for _, n := range fl.Nodes {
				if f, known := facts[n.Host]; known {
					f.Others++
					facts[n.Host] = f
				}
			}
		}
	}
	return facts
}

// hosted is the driver that spreads nodes over hosts; nil when this agent has none.
func (o *Orchestrator) hosted() fleet.Hosted {
	for _, name := range o.opts.Drivers.Names() {
		if d, err := o.opts.Drivers.Driver(name); err == nil {
			if h, ok := d.(fleet.Hosted); ok {
				return h
			}
		}
	}
	return nil
}

// loadHosts reads the record, before anything is decided.
func (o *Orchestrator) loadHosts(ctx context.Context) error {
	o.world.hosts = hostsKnown{records: map[string]HostRecord{}, seen: map[string]hostSeen{}}
	e, err := o.opts.Store.Get(ctx, hostsKey)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(e.Value, &o.world.hosts.records)
	}
	if err != nil {
		return fmt.Errorf("load hosts: %w", err)
	}
	o.world.hosts.version = e.Version
	o.useHosts()
	return nil
}

// useHosts tells the driver which hosts there are.
func (o *Orchestrator) useHosts() {
	if d := o.hosted(); d != nil {
		engines := map[string]fleet.Engine{}
		for name, rec := range o.world.hosts.records {
			engines[name] = fleet.Engine{Where: rec.Where, ID: rec.Engine}
		}
		d.Use(engines)
	}
}

// writeHosts puts another record in the place of the present one. It runs in the loop.
func (o *Orchestrator) writeHosts(ctx context.Context, records map[string]HostRecord) error {
	if err := o.sureOfHosts(ctx); err != nil {
		return err
	}
	value, err := json.Marshal(records)
	if err != nil {
		return fmt.Errorf("write hosts: %w", err)
	}
	version, err := o.opts.Store.Commit(ctx, store.Write{Key: hostsKey, Value: value, IfVersion: o.world.hosts.version}, o.fence)
	if err != nil {
		o.world.hosts.unsure = !errors.Is(err, store.ErrConflict)
		return fmt.Errorf("write hosts: %w", err)
	}
	o.takeHosts(records, version)
	return nil
}

// takeHosts goes on with what is on record now.
func (o *Orchestrator) takeHosts(records map[string]HostRecord, version uint64) {
	o.world.hosts.version, o.world.hosts.records = version, records
	maps.DeleteFunc(o.world.hosts.seen, func(name string, _ hostSeen) bool {
		_, known := records[name]
		return !known // it may come back under that name
	})
	o.useHosts()
	o.touchAll()
	select {
	case o.newHosts <- struct{}{}:
	default:
	}
}

// sureOfHosts reads the record if its last write had no answer: it may have been made all the same. What was decided from another
// one than there is is not written.
func (o *Orchestrator) sureOfHosts(ctx context.Context) error {
	if !o.world.hosts.unsure {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, rereadWithin)
	defer cancel()
	e, err := o.opts.Store.Get(ctx, hostsKey)
	if errors.Is(err, store.ErrNotFound) && o.world.hosts.version == 0 || err == nil && e.Version == o.world.hosts.version {
		o.world.hosts.unsure = false
		return nil
	}
	records := map[string]HostRecord{}
	if err == nil {
		err = json.Unmarshal(e.Value, &records)
	}
	if err == nil {
		o.world.hosts.unsure = false
		o.takeHosts(records, e.Version)
		err = errors.New("the one before was written though nobody said so")
	}
	return fault.New(fault.Unavailable, "write hosts: %w", err).WithHint("look with release host list, and ask again")
}

// askHosts puts the hosts on record that a request brings, unless it would be refused all the same. It runs in the loop.
func (o *Orchestrator) askHosts(ctx context.Context, a *app, ask asked) error {
	if ask.Config == nil || !slices.ContainsFunc(ask.Config.RoleNames(), func(role string) bool { return len(ask.Config.Role(role).Fleet.Hosts) > 0 }) {
		return nil
	}
	f := o.facts(a.state, o.opts.Now())
	f.Hosts, f.Mint = plannedHosts(f.Hosts, ask.Config), imaginedNodes()
	if _, _, _, err := begin(a.state, f, ask); err != nil {
		return err
	}
	return o.knowHosts(ctx, ask.Config)
}

// knowHosts puts those on record that a configuration names and that are not, before a release names them. It runs in the loop.
func (o *Orchestrator) knowHosts(ctx context.Context, cfg *config.App) error {
	if cfg == nil {
		return nil
	}
	records := maps.Clone(o.world.hosts.records)
	for _, role := range cfg.RoleNames() {
		f := cfg.Role(role).Fleet
		for name, where := range f.HostNames() {
			rec, known := records[name]
			if known && rec.Where != where {
				if err := o.movable(cfg, name, rec.Where, where); err != nil {
					return err
				}
				rec.Engine = "" // nothing is there that another one could be taken for
			}
			rec.Where = where
			records[name] = rec
		}
	}
	if maps.Equal(records, o.world.hosts.records) {
		return nil
	}
	return o.writeHosts(ctx, records)
}

// movable says why a host cannot be reached in another way than before, if so: what is there would be lost sight of.
func (o *Orchestrator) movable(cfg *config.App, name, was, where string) error {
	for _, a := range o.apps {
		for _, fl := range a.state.holders() {
			own := a.state.Key == Key{App: cfg.App, Env: cfg.Env}
			on := slices.ContainsFunc(fl.Nodes, func(n *Node) bool { return n.Host == name })
			if on || !own && slices.Contains(a.state.hosts(fl), name) {
				return fault.New(fault.Denied, "host %s is reached by %s and used by %s: %s cannot be taken instead", name, was, a.state.Key, where).
					WithHint("once nothing uses it: release host drain %s, then release host forget %s", name, name)
			}
		}
	}
	return nil
}

// hostEvery is how often hosts are asked whether they answer.
const hostEvery = 2 * time.Second

// watchHosts asks them until ctx ends.
func (o *Orchestrator) watchHosts(ctx context.Context) {
	d := o.hosted()
	if d == nil {
		return
	}
	timer := time.NewTicker(hostEvery)
	defer timer.Stop()
	for {
		list := d.Hosts(ctx)
		if ctx.Err() != nil {
			return
		}
		o.post(func() {
			o.sawHosts(list)
			o.metEngines(ctx, list)
		})
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-o.newHosts:
		}
	}
}

// sawHosts takes a look at all hosts into what is known.
func (o *Orchestrator) sawHosts(list []fleet.Host) {
	seen := map[string]hostSeen{}
	for _, h := range list {
		before := o.world.hosts.seen[h.Name]
		now := hostSeen{err: h.Err, none: h.Err == nil && h.ID == ""}
		switch {
		case h.Err != nil && before.away.IsZero():
			now.away = o.opts.Now()
			o.log.Warn("a host does not answer", "host", h.Name, "error", h.Err)
		case h.Err != nil:
			now.away = before.away
		case !before.away.IsZero():
			o.log.Info("a host answers again", "host", h.Name)
			o.back.Store(true)
		}
		if now.away.IsZero() != before.away.IsZero() {
			o.touchAll()
		}
		seen[h.Name] = now
	}
	o.world.hosts.seen = seen
}

// metEngines puts on record which engines answered first, so that no other one is taken for them: an agent on another machine may
// have its own under the same name.
func (o *Orchestrator) metEngines(ctx context.Context, list []fleet.Host) {
	if err := o.sureOfHosts(ctx); err != nil {
		o.complain("read hosts", err) // at the next look
		return
	}
	records := maps.Clone(o.world.hosts.records)
	for _, h := range list {
		rec, known := records[h.Name]
		if known && h.Err == nil && rec.Engine == "" && rec.Where == h.Where {
			rec.Engine = h.ID
			records[h.Name] = rec
		}
	}
	if maps.Equal(records, o.world.hosts.records) {
		return
	}
	if err := o.writeHosts(ctx, records); err != nil {
		o.complain("note engines", err) // at the next look
	}
}

// unmet says whether it is not on record yet which engine a host's is. Until it is no node boots there: if another engine answered
// the next agent, that one would be taken for the host's, and the node be lost sight of.
func (o *Orchestrator) unmet(host string) bool {
	rec, known := o.world.hosts.records[host]
	return known && rec.Engine == "" && !o.world.hosts.seen[host].none
}

// HostStatus is a host and what is on it.
type HostStatus struct {
	Name string
	HostRecord
	Away  time.Time // since when it does not answer; zero: it does
	Why   string    // it does not
	Nodes []HostNode
}

// HostNode is a node on a host.
type HostNode struct {
	App   Key
	Role  string
	Node  string
	State NodeState
}

// Hosts lists the hosts by name.
func (o *Orchestrator) Hosts(ctx context.Context) ([]HostStatus, error) {
	if err := o.waitReady(ctx); err != nil {
		return nil, err
	}
	var list []HostStatus
	if err := o.call(ctx, func() { list = o.hostList() }); err != nil {
		return nil, err // what writes the list may still run
	}
	return list, nil
}

func (o *Orchestrator) hostList() []HostStatus {
	nodes := map[string][]HostNode{}
	for _, a := range o.apps {
		for _, fl := range a.state.holders() {
			for _, n := range fl.Nodes {
				nodes[n.Host] = append(nodes[n.Host], HostNode{App: a.state.Key, Role: fl.ID.Role, Node: n.Name, State: n.State})
			}
		}
	}
	var list []HostStatus
	for name, rec := range o.world.hosts.records {
		h := HostStatus{Name: name, HostRecord: rec, Away: o.world.hosts.seen[name].away, Nodes: nodes[name]}
		if err := o.world.hosts.seen[name].err; err != nil {
			h.Why = err.Error()
		}
		slices.SortFunc(h.Nodes, func(a, b HostNode) int { return cmp.Or(a.App.compare(b.App), strings.Compare(a.Node, b.Node)) })
		list = append(list, h)
	}
	slices.SortFunc(list, func(a, b HostStatus) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// DrainHost has the nodes of a host replaced on others, and boots none there, until it is undone. fault.NotFound for no such host.
func (o *Orchestrator) DrainHost(ctx context.Context, name, by string, undo, try bool) error {
	return o.changeHost(ctx, name, func(records map[string]HostRecord, rec HostRecord) error {
		if try || rec.Drained != undo {
			return nil
		}
		rec.Drained, rec.By, rec.At = !undo, by, o.opts.Now()
		records[name] = rec
		return nil
	})
}

// ForgetHost takes it that a host is gone for good: its nodes are made up for at once, and nothing waits for it any more. Errors:
// fault.NotFound for no such host, fault.Denied for one that answers and has nodes. When it is only tried nothing is done.
func (o *Orchestrator) ForgetHost(ctx context.Context, name string, try bool) error {
	return o.changeHost(ctx, name, func(records map[string]HostRecord, _ HostRecord) error {
		for _, h := range o.hostList() {
			if h.Name == name && h.Away.IsZero() && len(h.Nodes) > 0 {
				return fault.New(fault.Denied, "host %s answers, and has nodes", name).WithHint("have them replaced elsewhere first: release host drain %s", name)
			}
		}
		if !try {
			delete(records, name)
		}
		return nil
	})
}

// changeHost changes the record of a host that there is.
func (o *Orchestrator) changeHost(ctx context.Context, name string, f func(map[string]HostRecord, HostRecord) error) error {
	if err := o.waitReady(ctx); err != nil {
		return err
	}
	var failed error
	err := o.call(ctx, func() {
		if failed = ctx.Err(); failed != nil {
			return // who asked has left
		}
		rec, known := o.world.hosts.records[name]
		if !known {
			failed = o.noHost(name)
			return
		}
		records := maps.Clone(o.world.hosts.records)
		if failed = f(records, rec); failed == nil && !maps.Equal(records, o.world.hosts.records) {
			failed = o.writeHosts(ctx, records)
		}
	})
	if err != nil {
		return err // it may still run: what it writes must not be read
	}
	return failed
}

func (o *Orchestrator) noHost(name string) error {
	names := slices.Sorted(maps.Keys(o.world.hosts.records))
	if len(names) == 0 {
		return fault.New(fault.NotFound, "there is no host %s: no release names any in fleet.hosts", name)
	}
	return fault.New(fault.NotFound, "there is no host %s", name).WithHint("there are %s", strings.Join(names, ", "))
}
