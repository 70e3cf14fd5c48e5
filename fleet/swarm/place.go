package swarm

import (
	"context"
	"slices"
	"strings"

	dockerswarm "github.com/docker/docker/api/types/swarm"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/dockerapi"
)

// The Swarm spreads the tasks of one service; nodes are services of their own. So a node is kept off hosts that have more nodes of
// its fleet than some other host has that fits. The Swarm chooses among the rest, by its own rules.

// crowded are the ids of the hosts that a new node of a fleet should not be on, in order; none when there is no better one.
func crowded(hosts map[string]host, tasks []task, id fleet.FleetID, constraints []string) []string {
	counts := map[string]int{}
	for _, t := range tasks {
		if t.node.ID.Fleet == id && !t.over() && t.NodeID != "" {
			counts[t.NodeID]++
		}
	}
	var fit []string
	least := -1
	for _, h := range hosts {
		if !h.usable() || !h.satisfies(constraints) {
			continue
		}
		fit = append(fit, h.ID)
		if n := counts[h.ID]; least < 0 || n < least {
			least = n
		}
	}
	avoid := slices.DeleteFunc(fit, func(h string) bool { return counts[h] == least })
	slices.Sort(avoid)
	return avoid
}

// satisfies says whether a host meets constraints, as the Swarm sees them. What this does not know counts as met.
func (h host) satisfies(constraints []string) bool {
	for _, c := range constraints {
		equal := true
		key, value, ok := strings.Cut(c, "!=")
		if ok {
			equal = false
		} else {
			key, value, _ = strings.Cut(c, "==")
		}
		have, known := h.attribute(strings.TrimSpace(key))
		if known && strings.EqualFold(have, strings.TrimSpace(value)) != equal {
			return false
		}
	}
	return true
}

// attribute is what constraints may ask of a host.
func (h host) attribute(key string) (value string, known bool) {
	if label, ok := strings.CutPrefix(key, "node.labels."); ok {
		return h.Spec.Labels[label], true
	}
	if label, ok := strings.CutPrefix(key, "engine.labels."); ok {
		return h.Description.Engine.Labels[label], true
	}
	switch key {
	case "node.id":
		return h.ID, true
	case "node.hostname":
		return h.name, true
	case "node.role":
		return string(h.Spec.Role), true
	case "node.platform.os":
		return h.Description.Platform.OS, true
	}
	return "", false
}

// place creates the service of a node and waits until the Swarm has chosen a host. It is called for one node of a fleet at a time, so
// that each sees where the others are.
func (d *Driver) place(ctx context.Context, spec fleet.Spec, n fleet.NodeSpec, s site) error {
	tasks, err := d.tasks(ctx, dockerapi.LabelFleet+"="+spec.Fleet.String())
	if err != nil {
		return err
	}
	hosts, err := d.hosts(ctx)
	if err != nil {
		return err
	}
	avoid := crowded(hosts, tasks, spec.Fleet, spec.Cluster.Constraints)
	if err := d.create(ctx, spec, n, s, avoid); err != nil {
		return err
	}
	return d.settle(ctx, spec, n, s, len(avoid) > 0)
}

// settle waits until the Swarm has chosen a host for a node's service. One that is kept off hosts, and that no other has room for, is
// made again without that.
func (d *Driver) settle(ctx context.Context, spec fleet.Spec, n fleet.NodeSpec, s site, kept bool) error {
	placed, err := d.placed(ctx, n.Name)
	if err != nil || placed || !kept {
		return err
	}
	// Those that have fewer are full, or fit for another reason not: then one that has more.
	d.log.InfoContext(ctx, "the Swarm has no room on hosts with fewer nodes of the fleet", "node", n.Name)
	if err := d.end(ctx, n.Name); err != nil {
		return err
	}
	if err := d.create(ctx, spec, n, s, nil); err != nil {
		return err
	}
	_, err = d.placed(ctx, n.Name)
	return err
}

// keptOff says whether a service waits for a host and may not be on all that the spec allows: an agent that ended in the middle of
// place left it so.
func keptOff(s dockerswarm.Service, tasks []task, spec fleet.Spec) bool {
	p := s.Spec.TaskTemplate.Placement
	if p == nil || len(p.Constraints) <= len(spec.Cluster.Constraints) {
		return false
	}
	i := slices.IndexFunc(tasks, func(t task) bool { return t.ServiceID == s.ID })
	return i >= 0 && tasks[i].NodeID == "" && !tasks[i].over()
}
