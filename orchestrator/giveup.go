package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store"
)

// host names the machine that a fleet runs on, as its driver said it.
func (fl *Fleet) host() string {
	for _, n := range fl.Nodes {
		if n.Host != "" {
			return n.Host
		}
	}
	return fl.Scope
}

// on says whether a fleet runs on a machine that is called so, or in a scope of that name.
func (fl *Fleet) on(host string) bool { return fl.host() == host || scopeOn(fl.Scope, host) }

// hostOfScope finds the machine in a scope, as drivers write it: "sandboxes of HOST in DIR ID", "machines of HOST in DIR ID",
// "docker engine ID on HOST", "docker engine ID on HOST, by published ports".
var hostOfScope = regexp.MustCompile(`^(?:(?:sandboxes|machines) of (\S+) in .*|docker engine \S+ on (\S+?)(?:, by published ports)?)$`)

// scopeOn says whether a scope is called so, or is one of a machine that is.
func scopeOn(scope, host string) bool {
	m := hostOfScope.FindStringSubmatch(scope)
	return scope == host || m != nil && host != "" && m[1]+m[2] == host
}

// GivenUp is what there was on a machine that is gone for good.
type GivenUp struct {
	Fleets  []string // ids; they are booted anew
	Volumes []string // ids; their data is lost
}

// GiveUp takes it that a machine is gone for good with all that ran on it: the fleets there that this agent does not see are its
// own from then on, and their nodes are booted anew here; the volumes there are lost. It is done under the lease, so
// that no agent leads that may see them: it waits for it until ctx ends. Errors: fault.NotFound when there is nothing of ours, fault.Busy
// when another agent leads all the time, fault.Unsupported when the fleets cannot run here, fault.Unavailable when a driver does not
// tell what it sees. What was given up before an error stays so, and is returned beside it.
func (o *Orchestrator) GiveUp(ctx context.Context, host, by string) (GivenUp, error) {
	gone, err := o.giveUp(ctx, host, by)
	if err != nil {
		return gone, fmt.Errorf("give host %s up: %w", host, err)
	}
	return gone, nil
}

// WouldGiveUp says what GiveUp would do, and does nothing: it waits for no lease, and brings no image into place. Errors are those
// of GiveUp, but that another agent leads.
func (o *Orchestrator) WouldGiveUp(ctx context.Context, host string) (GivenUp, error) {
	gone, err := o.takes(ctx, host, o.hasImage)
	if err != nil {
		return GivenUp{}, fmt.Errorf("give host %s up: %w", host, err)
	}
	return gone, nil
}

// LoseVolumes is GiveUp by the agent that leads: it sees all fleets, but there may be volumes on that machine that no fleet has now.
// It returns their ids, with an error those that were lost before it. When it is only tried, it returns those that would be.
func (o *Orchestrator) LoseVolumes(ctx context.Context, host, by string, try bool) ([]string, error) {
	if err := o.waitReady(ctx); err != nil { // it knows of no app before
		return nil, fmt.Errorf("give host %s up: %w", host, err)
	}
	var lost []string
	for _, key := range o.Keys() {
		s, err := o.state(ctx, key)
		if err != nil {
			return lost, fmt.Errorf("give host %s up: %w", host, err)
		}
		seen, err := o.lostVolumes(ctx, s, host)
		if err != nil {
			return lost, fmt.Errorf("give host %s up: %w", host, err)
		}
		if len(seen) == 0 {
			continue
		}
		var ids []string // not read after an error: what writes them may still run then
		err = o.change(ctx, key, try, func(r *round) error {
			ids = r.lose(seen, host, by)
			return nil
		})
		if err != nil {
			return lost, fmt.Errorf("give host %s up: %w", host, err)
		}
		lost = append(lost, ids...)
	}
	return lost, nil
}

// lostVolumes are the names of a state's volumes that lie on a machine and that this agent does not see, each with what its driver
// sees here instead. fault.Unavailable: a driver does not say what it sees, so nobody knows whether a volume of its is lost.
func (o *Orchestrator) lostVolumes(ctx context.Context, s *State, host string) (map[string]string, error) {
	lost := map[string]string{}
	for _, v := range s.Volumes {
		if !scopeOn(v.Scope, host) {
			continue
		}
		have, err := o.scope(ctx, v.Driver)
		if err != nil {
			return nil, fault.New(fault.Unavailable, "nobody can tell whether the volume %s is lost: %w", v.id(s.Key), err).
				WithHint("say it again when driver %s answers here: release doctor", v.Driver)
		}
		if v.Scope != have {
			lost[v.name()] = have
		}
	}
	return lost, nil
}

func (o *Orchestrator) giveUp(ctx context.Context, host, by string) (gone GivenUp, err error) {
	if _, err := o.takes(ctx, host, o.bootable); err != nil {
		return gone, err
	}
	l, err := o.opts.Store.Acquire(ctx, lease, o.opts.Holder, leaseTTL)
	if err != nil {
		return gone, o.stillLed(ctx, err)
	}
	defer func() { _ = l.Release(context.WithoutCancel(ctx)) }()
	o.epoch = l.Epoch()
	if err := o.takeOver(ctx); err != nil {
		return gone, err
	}
	states, err := o.states(ctx)
	if err != nil {
		return gone, err
	}
	for s, version := range states {
		var taken GivenUp
		if taken, err = o.take(ctx, s, version, host, by); err != nil {
			break
		}
		gone.Fleets, gone.Volumes = append(gone.Fleets, taken.Fleets...), append(gone.Volumes, taken.Volumes...)
	}
	slices.Sort(gone.Fleets)
	slices.Sort(gone.Volumes)
	return gone, err
}

// stillLed says who leads instead, when the wait for the lease was over.
func (o *Orchestrator) stillLed(ctx context.Context, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	who := "another agent"
	if leader, err := ReadLeader(context.WithoutCancel(ctx), o.opts.Store); err == nil {
		who = leader.Name
	}
	return fault.New(fault.Busy, "%s leads, so what runs there is not lost", who).WithHint("run commands there; or stop that agent, if it is the one that sees the machine: release agent stop")
}

// unseen are the fleets of a state that run on a machine and that this agent does not see.
func (o *Orchestrator) unseen(ctx context.Context, s *State, host string) ([]*Fleet, error) {
	var list []*Fleet
	for _, fl := range s.holders() {
		have, err := o.scope(ctx, fl.Driver)
		if err != nil && fl.on(host) {
			return nil, fault.New(fault.Unsupported, "fleet %s cannot be booted here: %w", fl.ID, err)
		}
		if err == nil && fl.Scope != have && fl.on(host) {
			list = append(list, fl)
		}
	}
	return list, nil
}

// takes lists what would be taken of a machine, and says before anything is waited for why it cannot be: there is nothing, or bootable
// has something against a fleet.
func (o *Orchestrator) takes(ctx context.Context, host string, bootable func(context.Context, *State, *Fleet) error) (GivenUp, error) {
	var list GivenUp
	states, err := o.states(ctx)
	if err != nil {
		return list, err
	}
	hosts, found := map[string]bool{}, false
	for s := range states {
		for _, fl := range s.holders() {
			if have, err := o.scope(ctx, fl.Driver); err != nil || fl.Scope != have {
				hosts[fl.host()] = true
			}
		}
		fleets, err := o.unseen(ctx, s, host)
		if err != nil {
			return list, err
		}
		volumes, err := o.lostVolumes(ctx, s, host)
		if err != nil {
			return list, err
		}
		found = found || len(fleets)+len(volumes) > 0
		for _, fl := range fleets {
			if err := bootable(ctx, s, fl); err != nil {
				return list, err
			}
			if s.taskOf(fl) == nil { // a command is not begun again
				list.Fleets = append(list.Fleets, fl.ID.String())
			}
		}
		for _, v := range s.Volumes {
			moves := slices.ContainsFunc(fleets, func(fl *Fleet) bool { return fl.Driver == v.Driver && fl.Scope == v.Scope })
			if _, lost := volumes[v.name()]; lost || moves {
				list.Volumes = append(list.Volumes, v.id(s.Key).String())
			}
		}
	}
	if found {
		slices.Sort(list.Fleets)
		slices.Sort(list.Volumes)
		return list, nil
	}
	f := fault.New(fault.NotFound, "no fleet runs there that this agent does not see, and no volume lies there")
	for other := range hosts {
		f = f.WithHint("fleets that it does not see are on %s", other)
	}
	return list, f
}

// hasImage says why a fleet could not be booted here: its image is missing. One that is being shot needs none.
func (o *Orchestrator) hasImage(_ context.Context, _ *State, fl *Fleet) error {
	if !fl.kept() {
		return nil
	}
	digest, err := images.ParseDigest(fl.Image)
	if err == nil {
		_, err = o.opts.Images.Get(digest)
	}
	if err != nil {
		return fault.New(fault.Unavailable, "the image of %s is not on this machine: %w", fl.ID.Release, err).
			WithHint("get it first: release images pull, or release bake with the same files")
	}
	return nil
}

// bootable puts a fleet's image in place here, unless the fleet is being shot.
func (o *Orchestrator) bootable(ctx context.Context, s *State, fl *Fleet) error {
	if !fl.kept() {
		return nil
	}
	if err := o.hasImage(ctx, s, fl); err != nil {
		return err
	}
	d, err := o.opts.Drivers.Driver(fl.Driver)
	if err == nil {
		err = d.Prepare(ctx, o.spec(s, fl))
	}
	if err != nil {
		return fmt.Errorf("put the image of %s in place: %w", fl.ID.Release, err)
	}
	return nil
}

// take makes a state's fleets on a lost machine this agent's own, without their nodes. With an error it took nothing.
func (o *Orchestrator) take(ctx context.Context, s *State, version uint64, host, by string) (GivenUp, error) {
	var taken GivenUp
	fleets, err := o.unseen(ctx, s, host)
	if err != nil {
		return GivenUp{}, err
	}
	volumes, err := o.lostVolumes(ctx, s, host)
	if err != nil || len(fleets)+len(volumes) == 0 {
		return GivenUp{}, err
	}
	print, err := fingerprint(s)
	if err != nil {
		return GivenUp{}, fmt.Errorf("write state %s: %w", s.Key, err)
	}
	r := &round{s: s.clone(), f: Facts{Now: o.opts.Now()}}
	for _, lost := range fleets {
		fl := r.s.fleet(lost.ID.String())
		if t := r.s.taskOf(fl); t != nil {
			r.failTask(t, fault.Failed, "its machine is gone for good, as %s says, and nobody knows how the command ended", by)
			r.endTask(t)
			continue
		}
		was := fl.Scope
		if fl.Scope, err = o.scope(ctx, fl.Driver); err != nil {
			return GivenUp{}, err
		}
		for _, v := range s.Volumes {
			if v.Driver == fl.Driver && v.Scope == was && was != fl.Scope {
				volumes[v.name()] = fl.Scope
			}
		}
		for _, n := range fl.Nodes {
			if n.State != NodeDead {
				r.setNode(n, NodeDead, "its machine is gone for good")
			}
			n.Tailed = true // there is nobody to ask for its last lines
		}
		r.sayFleet("moved", fl, "%s is booted anew by %s, since %s says that %s is gone for good", fl.ID.Release, o.opts.Holder, by, host)
		taken.Fleets = append(taken.Fleets, fl.ID.String())
	}
	taken.Volumes = r.lose(volumes, host, by)
	_, err = o.commit(ctx, &app{state: s, version: version, print: print}, r.s, r.events, r.records)
	if errors.Is(err, store.ErrConflict) {
		err = fault.New(fault.Busy, "another agent has taken over: %w", err)
	}
	if err != nil {
		return GivenUp{}, err
	}
	return taken, nil
}
