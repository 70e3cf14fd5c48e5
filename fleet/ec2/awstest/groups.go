package awstest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

var groupActions = map[string]action{
	"AttachInstances":           attachInstances,
	"CreateAutoScalingGroup":    createGroup,
	"DeleteAutoScalingGroup":    deleteGroup,
	"DescribeAutoScalingGroups": describeGroups,
	"DetachInstances":           detachInstances,
	"SetInstanceHealth":         setInstanceHealth,
	"SuspendProcesses":          suspendProcesses,
}

// group is an Auto Scaling group. It replaces what is unhealthy or ended, unless that is suspended.
type group struct {
	tagged
	name, template, subnets string
	least, most, wanted     int
	began, deleted          time.Time
	suspended               []string
	members                 []string // ids of instances
	unhealthy               map[string]bool
}

func badGroup(message string) *Fault {
	return &Fault{http.StatusBadRequest, "ValidationError", message}
}

func (q *request) group(name string) (*group, *Fault) {
	if g := q.region.groups[name]; g != nil && g.deleted.IsZero() {
		return g, nil
	}
	return nil, badGroup("AutoScalingGroup name not found - AutoScalingGroup '" + name + "' not found")
}

func createGroup(q *request) (any, *Fault) {
	g := &group{name: q.get("AutoScalingGroupName"), template: q.get("LaunchTemplate.LaunchTemplateName"), subnets: q.get("VPCZoneIdentifier"),
		began: time.Now(), unhealthy: map[string]bool{}}
	version := q.get("LaunchTemplate.Version")
	for name, to := range map[string]*int{"MinSize": &g.least, "MaxSize": &g.most, "DesiredCapacity": &g.wanted} {
		n, err := strconv.Atoi(q.get(name))
		if err != nil {
			return nil, badGroup(name + " is not a number")
		}
		*to = n
	}
	q.get("NewInstancesProtectedFromScaleIn")
	q.each("Tags.member", func(p string) {
		g.setTag(q.get(p+".Key"), q.get(p+".Value"))
		q.get(p + ".PropagateAtLaunch")
		q.get(p + ".ResourceId")
		q.get(p + ".ResourceType")
	})
	if f := q.unread(); f != nil {
		return nil, f
	}
	if q.region.groups[g.name] != nil {
		return nil, &Fault{http.StatusBadRequest, "AlreadyExists", "AutoScalingGroup by this name already exists - A group with the name " + g.name + " already exists"}
	}
	if _, f := q.template(g.template, version); f != nil {
		return nil, badGroup("You must use a valid fully-formed launch template. " + f.Message)
	}
	for _, id := range strings.Split(g.subnets, ",") {
		if q.region.subnet(id) == nil {
			return nil, badGroup("The subnet ID '" + id + "' does not exist")
		}
	}
	q.region.groups[g.name] = g
	return nil, nil
}

func suspendProcesses(q *request) (any, *Fault) {
	g, f := q.group(q.get("AutoScalingGroupName"))
	if f != nil {
		return nil, f
	}
	names := q.list("ScalingProcesses.member")
	if f := q.unread(); f != nil {
		return nil, f
	}
	for _, n := range names {
		if !slices.Contains([]string{"Launch", "Terminate", "AddToLoadBalancer", "AlarmNotification", "AZRebalance", "HealthCheck", "InstanceRefresh", "ReplaceUnhealthy", "ScheduledActions"}, n) {
			return nil, badGroup("Invalid process " + n)
		}
		if !slices.Contains(g.suspended, n) {
			g.suspended = append(g.suspended, n)
		}
	}
	return nil, nil
}

// members reads InstanceIds and demands that each is an instance.
func (q *request) members() ([]string, *Fault) {
	ids := q.list("InstanceIds.member")
	for _, id := range ids {
		if q.region.instances[id] == nil {
			return nil, badGroup("Invalid Instance ID(s): [" + id + "]")
		}
	}
	return ids, nil
}

func attachInstances(q *request) (any, *Fault) {
	g, f := q.group(q.get("AutoScalingGroupName"))
	if f != nil {
		return nil, f
	}
	ids, f := q.members()
	if f == nil {
		f = q.unread()
	}
	if f != nil {
		return nil, f
	}
	for _, id := range ids {
		i := q.region.instances[id]
		switch {
		case i.state() != "running":
			return nil, badGroup("Invalid Instance ID(s): [" + id + "]. Instances must be in the 'running' state")
		case i.group != "":
			return nil, badGroup("Instance " + id + " is already part of AutoScalingGroup:" + i.group)
		}
	}
	if g.wanted+len(ids) > g.most {
		return nil, badGroup("AutoScalingGroup " + g.name + " has max-size=" + strconv.Itoa(g.most) + ". Please increase the max-size to attach more instances")
	}
	for _, id := range ids {
		q.region.instances[id].group = g.name
		g.members = append(g.members, id)
	}
	g.wanted += len(ids)
	return nil, nil
}

func detachInstances(q *request) (any, *Fault) {
	g, f := q.group(q.get("AutoScalingGroupName"))
	if f != nil {
		return nil, f
	}
	ids, f := q.members()
	decrement := q.get("ShouldDecrementDesiredCapacity") == "true"
	if f == nil {
		f = q.unread()
	}
	if f != nil {
		return nil, f
	}
	for _, id := range ids {
		if q.region.instances[id].group != g.name {
			return nil, badGroup("The instance " + id + " is not part of Auto Scaling group " + g.name + ".")
		}
	}
	for _, id := range ids {
		q.leave(g, id)
	}
	if decrement {
		g.wanted -= len(ids)
	}
	return nil, nil
}

func (q *request) leave(g *group, id string) {
	q.region.instances[id].group = ""
	delete(g.unhealthy, id)
	g.members = slices.DeleteFunc(g.members, func(m string) bool { return m == id })
}

func setInstanceHealth(q *request) (any, *Fault) {
	id, health := q.get("InstanceId"), q.get("HealthStatus")
	q.get("ShouldRespectGracePeriod")
	if f := q.unread(); f != nil {
		return nil, f
	}
	i := q.region.instances[id]
	if i == nil || i.group == "" {
		return nil, badGroup("Instance " + id + " is not part of any Auto Scaling group")
	}
	q.region.groups[i.group].unhealthy[id] = health == "Unhealthy"
	return nil, nil
}

// settle does what the group does by itself: what has ended is unhealthy, what is unhealthy is terminated and launched anew.
func (q *request) settle(g *group) {
	for _, id := range slices.Clone(g.members) {
		i := q.region.instances[id]
		if i.state() != "running" && i.state() != "pending" && !slices.Contains(g.suspended, "HealthCheck") {
			g.unhealthy[id] = true
		}
		if g.unhealthy[id] && !slices.Contains(g.suspended, "ReplaceUnhealthy") {
			q.terminate(i, "Client.UserInitiatedShutdown")
			q.leave(g, id)
		}
	}
	t := q.region.templates[g.template]
	for len(g.members) < g.wanted && t != nil && g.deleted.IsZero() && !slices.Contains(g.suspended, "Launch") {
		n := q.region.subnet(strings.Split(g.subnets, ",")[0])
		i := &instance{image: t.data["ImageId"], kind: "t3.micro", subnet: n.id, group: g.name}
		q.boot(q.region, i, n)
		g.members = append(g.members, i.id)
	}
}

type groupItem struct {
	Name      string `xml:"AutoScalingGroupName"`
	Template  string `xml:"LaunchTemplate>LaunchTemplateName"`
	MinSize   int
	MaxSize   int
	Desired   int        `xml:"DesiredCapacity"`
	Subnets   string     `xml:"VPCZoneIdentifier"`
	Created   string     `xml:"CreatedTime"`
	Status    string     `xml:"Status,omitempty"`
	Instances []member   `xml:"Instances>member"`
	Suspended []process  `xml:"SuspendedProcesses>member"`
	Tags      []groupTag `xml:"Tags>member"`
}

type (
	member   struct{ InstanceId, AvailabilityZone, LifecycleState, HealthStatus string }
	process  struct{ ProcessName string }
	groupTag struct{ Key, Value string }
)

func describeGroups(q *request) (any, *Fault) {
	names := q.list("AutoScalingGroupNames.member")
	filters, f := q.filters("Filters.member", ".Values.member")
	if f != nil {
		return nil, badGroup(f.Message)
	}
	page, f := q.pageOf("MaxRecords", 1, 100, 50)
	if f != nil {
		return nil, f
	}
	if f := q.unread(); f != nil {
		return nil, f
	}
	var found []groupItem
	for name, g := range q.region.groups {
		if !g.deleted.IsZero() && time.Now().After(g.deleted) {
			delete(q.region.groups, name)
			continue
		}
		q.settle(g)
		ok := pass(filters, &g.tagged, nil)
		if !ok || q.unseen(g.began) || len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		item := groupItem{Name: name, Template: g.template, MinSize: g.least, MaxSize: g.most, Desired: g.wanted, Subnets: g.subnets, Created: g.began.UTC().Format(time.RFC3339)}
		if !g.deleted.IsZero() {
			item.Status = "Delete in progress"
		}
		for _, id := range g.members {
			health := "Healthy"
			if g.unhealthy[id] {
				health = "Unhealthy"
			}
			item.Instances = append(item.Instances, member{id, q.region.instances[id].zone, "InService", health})
		}
		for _, n := range g.suspended {
			item.Suspended = append(item.Suspended, process{n})
		}
		for _, t := range g.tagList() {
			item.Tags = append(item.Tags, groupTag(t))
		}
		found = append(found, item)
	}
	slices.SortFunc(found, func(a, b groupItem) int { return strings.Compare(a.Name, b.Name) })
	shown, next := paged(found, page)
	return struct {
		Items []groupItem `xml:"AutoScalingGroups>member"`
		Next  string      `xml:"NextToken,omitempty"`
	}{shown, next}, nil
}

func deleteGroup(q *request) (any, *Fault) {
	g, f := q.group(q.get("AutoScalingGroupName"))
	if f != nil {
		return nil, f
	}
	force := q.get("ForceDelete") == "true"
	if f := q.unread(); f != nil {
		return nil, f
	}
	if len(g.members) > 0 && !force {
		return nil, &Fault{http.StatusBadRequest, "ResourceInUse", "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still in the group."}
	}
	for _, id := range slices.Clone(g.members) {
		q.terminate(q.region.instances[id], "Client.UserInitiatedShutdown")
		q.leave(g, id)
	}
	g.deleted = time.Now().Add(q.opts.Takes)
	return nil, nil
}
