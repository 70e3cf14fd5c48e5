package swarm

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	dockerswarm "github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/dockerapi"
)

// task is a task of the Swarm's and the node that it is.
type task struct {
	dockerswarm.Task
	node fleet.Node
}

// ended says whether a task does not leave a state any more.
func ended(s dockerswarm.TaskState) bool {
	switch s {
	case dockerswarm.TaskStateComplete, dockerswarm.TaskStateShutdown, dockerswarm.TaskStateFailed, dockerswarm.TaskStateRejected,
		dockerswarm.TaskStateRemove, dockerswarm.TaskStateOrphaned:
		return true
	}
	return false
}

// over says whether a task has ended, or is to: the Swarm does not take that back.
func (t task) over() bool { return ended(t.Status.State) || ended(t.DesiredState) }

// doubtful says whether a task that is to end may serve on: its host does not answer the Swarm, which therefore has not ended it.
func (t task) doubtful(h host) bool {
	return !ended(t.Status.State) && h.ID != "" && h.Status.State != dockerswarm.NodeStateReady && !h.givenUp
}

func (t task) running() bool { return t.Status.State == dockerswarm.TaskStateRunning }

// vanished is how long a service is seen without a task until it is one whose task the Swarm has forgotten (docker swarm update
// --task-history-limit 0): a new one has a task before that.
const vanished = time.Minute

// Nodes lists the fleet's nodes by name. One whose task the Swarm has not made yet is left out: Ensure is still at it.
func (d *Driver) Nodes(ctx context.Context, id fleet.FleetID) ([]fleet.Node, error) {
	listed, err := d.list(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("list nodes of %s: %w", id, err)
	}
	nodes := make([]fleet.Node, 0, len(listed))
	for _, t := range listed {
		nodes = append(nodes, t.node)
	}
	return nodes, nil
}

// list gives the tasks of the services of a fleet, with their nodes, by name.
func (d *Driver) list(ctx context.Context, id fleet.FleetID) ([]task, error) {
	services, err := d.services(ctx, dockerapi.LabelFleet+"="+id.String())
	if err != nil || len(services) == 0 {
		if err == nil {
			d.bareSince(id, nil)
		}
		return nil, err
	}
	tasks, err := d.tasks(ctx, dockerapi.LabelFleet+"="+id.String())
	if err != nil {
		return nil, err
	}
	hosts, err := d.hosts(ctx)
	if err != nil {
		return nil, err
	}
	var list []task
	var bare []string
	for _, s := range services {
		i := slices.IndexFunc(tasks, func(t task) bool { return t.ServiceID == s.ID })
		if i < 0 {
			bare = append(bare, s.ID)
			continue
		}
		t := tasks[i]
		d.observe(&t, hosts)
		list = append(list, t)
	}
	list = append(list, d.forgotten(ctx, services, d.bareSince(id, bare))...)
	slices.SortFunc(list, func(a, b task) int { return strings.Compare(a.node.ID.Node, b.node.ID.Node) })
	return list, nil
}

// services lists ours that carry all of the labels.
func (d *Driver) services(ctx context.Context, labels ...string) (list []dockerswarm.Service, err error) {
	err = d.ask(ctx, func(ctx context.Context, c *client.Client) (err error) {
		list, err = c.ServiceList(ctx, dockerswarm.ServiceListOptions{Filters: d.ours(labels...)})
		return err
	}, "list services")
	return list, err
}

// tasks lists those that are nodes of ours and carry all of the labels, the newest first. Their services may be removed already.
func (d *Driver) tasks(ctx context.Context, labels ...string) ([]task, error) {
	var found []dockerswarm.Task
	err := d.ask(ctx, func(ctx context.Context, c *client.Client) (err error) {
		found, err = c.TaskList(ctx, dockerswarm.TaskListOptions{Filters: d.ours(labels...)})
		return err
	}, "list tasks")
	if err != nil {
		return nil, err
	}
	var list []task
	for _, t := range found {
		if t.Spec.ContainerSpec == nil {
			continue
		}
		node, err := dockerapi.NodeOf(t.Spec.ContainerSpec.Labels)
		if err != nil {
			d.log.WarnContext(ctx, "task carries our installation's label but is no node", "task", t.ID, "error", err)
			continue
		}
		list = append(list, task{Task: t, node: node})
	}
	slices.SortFunc(list, func(a, b task) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return list, nil
}

// observe completes a task's node with what the Swarm knows of it now.
func (d *Driver) observe(t *task, hosts map[string]host) {
	n, h := &t.node, hosts[t.NodeID]
	n.Host = h.name
	n.Since = t.CreatedAt
	n.Presence = fleet.Unknown
	n.Address = d.address(t, h)
	switch {
	case t.over() && !t.doubtful(h):
		n.Presence, n.Exit = fleet.Gone, exitOf(t.Task, h)
	case t.running() && h.Status.State == dockerswarm.NodeStateReady:
		n.Presence = fleet.Present
	}
	if t.running() {
		n.Since = t.Status.Timestamp
	}
	if c := t.Status.ContainerStatus; c != nil && n.Presence != fleet.Gone {
		n.PID = c.PID
	}
}

// address is where a node's first port is reached; "" while that is not known.
func (d *Driver) address(t *task, h host) string {
	labels := t.Spec.ContainerSpec.Labels
	port := labels[dockerapi.LabelPort]
	wanted := labels[labelNetwork]
	switch {
	case port == "0" || port == "":
		return ""
	case wanted == "":
		if h.address == "" {
			return ""
		}
		return net.JoinHostPort(h.address, strconv.Itoa(d.opts.PublishFrom+t.node.Slot))
	}
	for _, a := range t.NetworksAttachments {
		if a.Network.Spec.Name != wanted && a.Network.ID != wanted || len(a.Addresses) == 0 {
			continue
		}
		if p, err := netip.ParsePrefix(a.Addresses[0]); err == nil {
			return net.JoinHostPort(p.Addr().String(), port)
		}
	}
	return ""
}

// exitOf says how a task ended.
func exitOf(t dockerswarm.Task, h host) *fleet.Exit {
	e := &fleet.Exit{At: t.Status.Timestamp}
	if !ended(t.Status.State) {
		e.Reason = "the Swarm ends it"
		if h.lost() && t.NodeID != "" {
			e.Reason = "its host " + h.name + " is down, says the Swarm"
		}
		return e
	}
	if c := t.Status.ContainerStatus; c != nil {
		e.Code, e.Signal = c.ExitCode, dockerapi.ExitSignal(c.ExitCode)
	}
	e.Reason = reasonOf(t, e.Code)
	return e
}

// reasonOf is why a task ended, for people; "" when its code says all.
func reasonOf(t dockerswarm.Task, code int) string {
	command := "its program"
	if c := t.Spec.ContainerSpec.Command; len(c) > 0 {
		command = c[0]
	}
	var memory int64
	if r := t.Spec.Resources; r != nil && r.Limits != nil {
		memory = r.Limits.MemoryBytes
	}
	why := dockerapi.ExitReason(code, command, memory)
	switch {
	case t.Status.State == dockerswarm.TaskStateOrphaned:
		return "its host left the Swarm"
	case why != "":
		return why
	case t.Status.State == dockerswarm.TaskStateRejected, t.Status.State == dockerswarm.TaskStateFailed && code == 0:
		return "could not start: " + t.Status.Err
	}
	return ""
}

// bareSince says when each of a fleet's services that have no task, by id, was first found so.
func (d *Driver) bareSince(id fleet.FleetID, services []string) map[string]time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	since := firsts(d.bare[id], services, d.now())
	if len(since) == 0 {
		delete(d.bare, id)
		return nil
	}
	d.bare[id] = since
	return since
}

// forgotten are the nodes of services whose tasks the Swarm does not keep: those that have had none for long.
func (d *Driver) forgotten(ctx context.Context, services []dockerswarm.Service, since map[string]time.Time) (list []task) {
	for _, s := range services {
		first, bare := since[s.ID]
		if !bare || d.now().Sub(first) <= vanished {
			continue
		}
		node, err := dockerapi.NodeOf(s.Spec.Labels)
		if err != nil {
			d.log.WarnContext(ctx, "service carries our installation's label but is no node", "service", s.Spec.Name, "error", err)
			continue
		}
		node.Presence, node.Since, node.Exit = fleet.Gone, s.CreatedAt, &fleet.Exit{Reason: "it ended, and the Swarm has forgotten how"}
		list = append(list, task{node: node})
	}
	return list
}

// Fleets lists the fleets of this installation by the labels of their services.
func (d *Driver) Fleets(ctx context.Context) ([]fleet.Fleet, error) {
	services, err := d.services(ctx)
	if err != nil {
		return nil, fmt.Errorf("list fleets: %w", err)
	}
	counts := map[fleet.FleetID]int{}
	for _, s := range services {
		id, err := fleet.ParseFleetID(s.Spec.Labels[dockerapi.LabelFleet])
		if err != nil {
			d.log.WarnContext(ctx, "service carries our installation's label but no fleet", "service", s.Spec.Name, "error", err)
			continue
		}
		counts[id]++
	}
	fleets := make([]fleet.Fleet, 0, len(counts))
	for id, n := range counts {
		fleets = append(fleets, fleet.Fleet{ID: id, Nodes: n})
	}
	slices.SortFunc(fleets, func(a, b fleet.Fleet) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return fleets, nil
}
