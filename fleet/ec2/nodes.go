package ec2

import (
	"cmp"
	"context"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	autotypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/bootandshoot/release/fleet"
)

// machine is an instance and the node it is.
type machine struct {
	id          string // of the instance
	node        fleet.Node
	state       types.InstanceStateName
	removed     bool // it is to go
	quarantined bool
}

// ends is whether an instance is on its way out, or out.
func (m machine) ends() bool {
	return m.state == types.InstanceStateNameShuttingDown || m.state == types.InstanceStateNameTerminated
}

// stops is whether an instance is switched off, or about to be. Nobody of ours does that.
func (m machine) stops() bool {
	return m.state == types.InstanceStateNameStopping || m.state == types.InstanceStateNameStopped
}

// Nodes lists the fleet's nodes by name.
func (d *Driver) Nodes(ctx context.Context, id fleet.FleetID) ([]fleet.Node, error) {
	all, err := d.machines(ctx, &id)
	if err != nil {
		return nil, explain("list nodes of "+id.String(), err)
	}
	nodes := []fleet.Node{}
	for _, m := range all {
		nodes = append(nodes, m.node)
	}
	return nodes, nil
}

// machines lists the instances that are nodes, by name, each name once: those that a list may lack included, those removed left out.
func (d *Driver) machines(ctx context.Context, id *fleet.FleetID) ([]machine, error) {
	all, err := d.instances(ctx, id)
	if err != nil {
		return nil, err
	}
	return d.single(ctx, all)
}

// instances lists the instances that are nodes, by name and age.
func (d *Driver) instances(ctx context.Context, id *fleet.FleetID) ([]machine, error) {
	var all []machine
	listed, odd := map[string]bool{}, map[string]bool{}
	pages := ec2.NewDescribeInstancesPaginator(d.ec2, &ec2.DescribeInstancesInput{Filters: d.ours(id)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range page.Reservations {
			for _, i := range r.Instances {
				listed[aws.ToString(i.InstanceId)] = true
				m, ok := machineOf(i)
				odd[aws.ToString(i.InstanceId)] = !ok
				if ok && !(m.removed && m.ends()) {
					all = append(all, m)
				}
			}
		}
	}
	d.say(ctx, odd, id == nil)
	d.mu.Lock()
	now := time.Now()
	all = slices.DeleteFunc(all, func(m machine) bool { return d.memory.over(m.id) })
	d.memory.keep(now, all...)
	all = append(all, d.memory.unlisted(now, id, listed)...)
	d.mu.Unlock()
	slices.SortFunc(all, func(a, b machine) int {
		return cmp.Or(strings.Compare(a.node.ID.Node, b.node.ID.Node), a.node.Since.Compare(b.node.Since), strings.Compare(a.id, b.id))
	})
	return all, nil
}

// say says once of each instance that it is odd. A list of all says which are there at all.
func (d *Driver) say(ctx context.Context, odd map[string]bool, all bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if all {
		maps.DeleteFunc(d.odd, func(id string, _ bool) bool { return !odd[id] })
	}
	for id, is := range odd {
		if is && !d.odd[id] {
			d.odd[id] = true
			d.log.WarnContext(ctx, "an instance carries our installation's tag but is no node", "instance", id)
		}
	}
}

// machineOf reads a node from its instance's tags; false for one of ours that is no node.
func machineOf(i types.Instance) (machine, bool) {
	t := tagsOf(i.Tags)
	id, err := fleet.ParseFleetID(t[tagFleet])
	slot, serr := strconv.Atoi(t[tagSlot])
	if err != nil || serr != nil || t[tagNode] == "" {
		return machine{}, false
	}
	m := machine{id: aws.ToString(i.InstanceId), removed: t[tagRemoved] != "", quarantined: t[tagQuarantined] != "",
		node: fleet.Node{ID: fleet.NodeID{Fleet: id, Node: t[tagNode]}, Slot: slot, Host: aws.ToString(i.InstanceId), Image: t[tagImage], Presence: fleet.Present,
			Since: aws.ToTime(i.LaunchTime)}}
	if i.State != nil {
		m.state = i.State.Name
	}
	if ip := aws.ToString(i.PrivateIpAddress); ip != "" && t[tagPort] != "0" && t[tagPort] != "" {
		m.node.Address = net.JoinHostPort(ip, t[tagPort])
	}
	switch m.state {
	case types.InstanceStateNamePending, types.InstanceStateNameRunning:
	case types.InstanceStateNameShuttingDown, types.InstanceStateNameTerminated, types.InstanceStateNameStopping, types.InstanceStateNameStopped:
		m.node.Presence, m.node.Exit = fleet.Gone, exitOf(i)
	default:
		m.node.Presence = fleet.Unknown
	}
	return m, true
}

// exitOf says why an instance ended, as far as EC2 tells: no code.
func exitOf(i types.Instance) *fleet.Exit {
	reason := "the instance is " + string(i.State.Name)
	if i.StateReason != nil && aws.ToString(i.StateReason.Message) != "" {
		reason += ": " + aws.ToString(i.StateReason.Message)
	}
	return &fleet.Exit{Reason: reason}
}

// Fleets lists the fleets of this installation: by instances, launch templates and groups, so that whatever a crash left is found.
func (d *Driver) Fleets(ctx context.Context) ([]fleet.Fleet, error) {
	counts := map[fleet.FleetID]int{}
	all, err := d.machines(ctx, nil)
	if err != nil {
		return nil, explain("list fleets", err)
	}
	for _, m := range all {
		counts[m.node.ID.Fleet]++
	}
	note := func(text string) {
		if id, err := fleet.ParseFleetID(text); err == nil {
			counts[id] += 0
		}
	}
	templates := ec2.NewDescribeLaunchTemplatesPaginator(d.ec2, &ec2.DescribeLaunchTemplatesInput{Filters: d.ours(nil)})
	for templates.HasMorePages() {
		page, err := templates.NextPage(ctx)
		if err != nil {
			return nil, explain("list fleets", err)
		}
		for _, t := range page.LaunchTemplates {
			note(tagsOf(t.Tags)[tagFleet])
		}
	}
	groups := autoscaling.NewDescribeAutoScalingGroupsPaginator(d.groups, &autoscaling.DescribeAutoScalingGroupsInput{
		Filters: []autotypes.Filter{{Name: aws.String("tag:" + tagInstallation), Values: []string{d.opts.Installation}}}})
	for groups.HasMorePages() {
		page, err := groups.NextPage(ctx)
		if err != nil {
			return nil, explain("list fleets", err)
		}
		for _, g := range page.AutoScalingGroups {
			for _, t := range g.Tags {
				if aws.ToString(t.Key) == tagFleet && g.Status == nil { // with a status it is being deleted
					note(aws.ToString(t.Value))
				}
			}
		}
	}
	var fleets []fleet.Fleet
	for id, n := range counts {
		fleets = append(fleets, fleet.Fleet{ID: id, Nodes: n})
	}
	slices.SortFunc(fleets, func(a, b fleet.Fleet) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return fleets, nil
}
