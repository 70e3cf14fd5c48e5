package orchestrator

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/healthcheck"
	"github.com/bootandshoot/release/images"
)

// syncTargets tells the prober whom to ask, and the looker whom to look at, of the apps for which that may have changed.
func (o *Orchestrator) syncTargets() {
	for _, a := range o.apps {
		if !a.stale {
			continue
		}
		a.stale = false
		var targets []healthcheck.Target
		for _, fl := range a.state.Fleets {
			if fl.State != FleetShooting && fl.probed(a.state) {
				targets = append(targets, o.targetsOf(a.state, fl)...)
			}
		}
		o.prober.Replace(a.probed, targets)
		a.probed = make([]string, len(targets))
		for i, t := range targets {
			a.probed[i] = t.Key
		}
		o.syncLooks(a)
	}
}

// tidy lets go of what is known of what is gone, when there may be some.
func (o *Orchestrator) tidy() {
	if o.world.untidy {
		o.world.untidy = false
		o.world.sweep(o.apps)
	}
}

func (o *Orchestrator) targetsOf(s *State, fl *Fleet) []healthcheck.Target {
	var targets []healthcheck.Target
	health := s.configOf(fl).Health
	for _, n := range fl.Nodes {
		seen := o.world.nodes[n.Name]
		// A node whose host does not answer may serve all the same; commands cannot be run in it.
		unseen := seen.doubted() && n.WasServed && health.Exec == nil
		if !n.live() || seen.node.Presence != fleet.Present && !unseen {
			continue
		}
		t := healthcheck.Target{
			Key: n.Name, Port: fl.Port, Params: params(health), Started: seen.node.Since, Initial: initial(n),
		}
		t.Probe, t.Address = probe(health, seen.node.Address, fl.Port)
		if len(t.Probe.Exec) > 0 {
			t.Exec = o.execIn(fl.Driver, fleet.NodeID{Fleet: fl.ID, Node: n.Name})
		}
		targets = append(targets, t)
	}
	return targets
}

func params(h config.Health) healthcheck.Params {
	return healthcheck.Params{
		Interval: h.Interval.Std(), Timeout: h.Timeout.Std(), HealthyAfter: h.HealthyAfter, UnhealthyAfter: h.UnhealthyAfter,
		StartWithin: h.StartWithin.Std(),
	}
}

// initial is what is on record of a node's health, so that a new agent does not begin by doubting all of them.
func initial(n *Node) healthcheck.Verdict {
	switch n.State {
	case NodeHealthy:
		return healthcheck.Healthy
	case NodeUnhealthy:
		if n.WasServed {
			return healthcheck.Unhealthy
		}
		return healthcheck.Failed
	}
	return healthcheck.Starting
}

// probe is how a node is asked, and where. Without a check in the configuration it is a connection to its first port.
func probe(h config.Health, address string, own int) (healthcheck.Probe, string) {
	switch {
	case h.HTTP != nil:
		return healthcheck.Probe{HTTP: &healthcheck.HTTP{Path: h.HTTP.Path, Status: h.HTTP.Status}}, at(address, h.HTTP.Port, own)
	case h.GRPC != nil:
		return healthcheck.Probe{GRPC: &healthcheck.GRPC{Service: h.GRPC.Service}}, at(address, h.GRPC.Port, own)
	case h.Exec != nil:
		return healthcheck.Probe{Exec: h.Exec.Command}, address
	case h.TCP != nil:
		return healthcheck.Probe{TCP: true}, at(address, h.TCP.Port, own)
	}
	return healthcheck.Probe{TCP: true}, address
}

// execIn runs a probe's command inside a node.
func (o *Orchestrator) execIn(driver string, id fleet.NodeID) healthcheck.ExecFunc {
	return func(ctx context.Context, command []string) (int, string, error) {
		d, err := o.opts.Drivers.Driver(driver)
		if err != nil {
			return 0, "", err
		}
		execer, ok := d.(fleet.Execer)
		if !ok {
			return 0, "", fmt.Errorf("driver %s cannot run commands in its nodes", driver)
		}
		out := &probeOutput{}
		code, err := execer.Exec(ctx, id, fleet.ExecSpec{Command: command, Stdout: out, Stderr: out})
		return code, out.String(), err
	}
}

// syncPins keeps the images of all fleets, and of releases that may be rolled back to, from being removed, and says what
// each is kept for. It does not wait for a store that is busy for long: the next round tries again.
func (o *Orchestrator) syncPins(ctx context.Context) {
	if o.opts.Lost && len(o.world.found) < len(o.opts.Drivers.Names()) && o.opts.Now().Sub(o.began) < lostPinsFor {
		return
	}
	if !o.world.moved {
		return
	}
	want := map[images.Digest][]string{}
	for _, a := range o.apps {
		for d, why := range a.state.pinned() {
			want[d] = append(want[d], why...)
			slices.Sort(want[d])
		}
	}
	o.pinFound(want)
	if o.world.pins != nil && maps.EqualFunc(want, o.world.pins, slices.Equal) {
		o.world.moved = false
		return
	}
	ctx, cancel := context.WithTimeout(ctx, pinWithin)
	defer cancel()
	if err := o.opts.Images.PinFor(ctx, o.opts.Installation, want); err != nil {
		o.complain("pin images", err)
		return
	}
	o.world.pins, o.world.moved = want, false
}

// pinFound adds what fleets that no record knows run on.
func (o *Orchestrator) pinFound(want map[images.Digest][]string) {
	for _, list := range o.world.found {
		for _, fl := range list {
			for _, n := range fl.nodes {
				text := fmt.Sprintf("%s/%s %s found running, without a record", fl.id.App, fl.id.Env, fl.id.Release)
				if d := images.Digest(n.Image); d.Valid() && !slices.Contains(want[d], text) {
					want[d] = append(want[d], text)
				}
			}
		}
	}
}

// pinned is the images that an app needs and what for, such as "shop/production r8 serving".
func (s *State) pinned() map[images.Digest][]string {
	want := map[images.Digest][]string{}
	add := func(image, release, what string) {
		text := fmt.Sprintf("%s/%s %s %s", s.Key.App, s.Key.Env, release, what)
		if d := images.Digest(image); !slices.Contains(want[d], text) {
			want[d] = append(want[d], text)
		}
	}
	for _, fl := range s.Fleets {
		add(fl.Image, fl.ID.Release, string(fl.State))
	}
	for _, t := range s.Tasks {
		if t.Fleet != nil {
			add(t.Image, t.Release, t.ID)
		}
	}
	if len(s.Fleets) > 0 {
		for _, rel := range s.rollbackReleases() {
			for _, role := range rel.Config.RoleNames() {
				if image := rel.imageOf(role); len(want[images.Digest(image)]) == 0 {
					add(image, rel.ID, "rollback")
				}
			}
		}
	}
	return want
}

// lostPinsFor is how long the pins of a lost store are kept for drivers that do not answer.
const lostPinsFor = time.Minute

// pinWithin bounds one try to write the pins: the loop does nothing else meanwhile.
const pinWithin = 2 * time.Second

// KeptImages is how many of an app's newest completed releases keep their images for a rollback.
const KeptImages = 5

// rollbackReleases are the releases that a rollback may go to.
func (s *State) rollbackReleases() []*Release {
	var found []*Release
	for _, rel := range slices.Backward(s.Releases) {
		if rel.State == ReleaseCompleted && len(found) < KeptImages {
			found = append(found, rel)
		}
	}
	return found
}

// at is the address of another port of the same node; 0 and the image's first port are the node's own, wherever the
// driver put it.
func at(address string, port, own int) string {
	host, _, err := net.SplitHostPort(address)
	if port == 0 || port == own || err != nil {
		return address
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}
