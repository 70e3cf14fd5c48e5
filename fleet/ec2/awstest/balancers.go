package awstest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

var balancerActions = map[string]action{
	"AddTags":                       addTags,
	"CreateListener":                createListener,
	"CreateLoadBalancer":            createLoadBalancer,
	"CreateRule":                    createRule,
	"CreateTargetGroup":             createTargetGroup,
	"DeleteListener":                deleteListener,
	"DeleteLoadBalancer":            deleteLoadBalancer,
	"DeleteRule":                    deleteRule,
	"DeleteTargetGroup":             deleteTargetGroup,
	"DeregisterTargets":             deregisterTargets,
	"DescribeListeners":             describeListeners,
	"DescribeLoadBalancers":         describeLoadBalancers,
	"DescribeRules":                 describeRules,
	"DescribeTags":                  describeTags,
	"DescribeTargetGroupAttributes": describeTargetGroupAttributes,
	"DescribeTargetGroups":          describeTargetGroups,
	"DescribeTargetHealth":          describeTargetHealth,
	"ModifyListener":                modifyListener,
	"ModifyRule":                    modifyRule,
	"ModifyTargetGroup":             modifyTargetGroup,
	"ModifyTargetGroupAttributes":   modifyTargetGroupAttributes,
	"RegisterTargets":               registerTargets,
	"RemoveTags":                    removeTags,
	"SetRulePriorities":             setRulePriorities,
}

// balancing is what Elastic Load Balancing has in a region, by ARN.
type balancing struct {
	balancers map[string]*balancer
	groups    map[string]*targetGroup
}

func newBalancing() balancing {
	return balancing{balancers: map[string]*balancer{}, groups: map[string]*targetGroup{}}
}

// balancer is an Application Load Balancer: provisioning for a moment, then active.
type balancer struct {
	tagged
	arn, name, scheme, network string
	zones                      []*subnet
	began                      time.Time
	listeners                  []*listener
}

// listener has its rules in the order of their priorities; what none of them takes is the default action's.
type listener struct {
	tagged
	arn, protocol string
	port          int
	balancer      *balancer
	otherwise     doing
	rules         []*rule
	front         *front // nil: it serves nobody
}

func elbFault(code, format string, args ...any) *Fault {
	return &Fault{http.StatusBadRequest, code, fmt.Sprintf(format, args...)}
}

// arn mints one as the service writes them.
func (q *request) arn(rest string) string {
	return "arn:aws:elasticloadbalancing:" + q.region.name + ":" + Account + ":" + rest
}

// suffix is the number at the end of an ARN: 16 hex digits.
func (q *request) suffix() string { return strings.TrimPrefix(q.id("x"), "x-")[:16] }

type balancerItem struct {
	ARN     string `xml:"LoadBalancerArn"`
	Name    string `xml:"LoadBalancerName"`
	DNSName string
	Scheme  string
	Type    string
	VPC     string     `xml:"VpcId"`
	State   string     `xml:"State>Code"`
	Created string     `xml:"CreatedTime"`
	Zones   []zoneItem `xml:"AvailabilityZones>member"`
}

type zoneItem struct {
	ZoneName string
	SubnetId string
}

func (q *request) balancerItem(b *balancer) balancerItem {
	out := balancerItem{ARN: b.arn, Name: b.name, DNSName: b.name + "-1." + q.region.name + ".elb.amazonaws.com", Scheme: b.scheme, Type: "application", VPC: b.network,
		State: "active", Created: b.began.UTC().Format(time.RFC3339)}
	if time.Now().Before(b.began.Add(q.opts.Takes)) {
		out.State = "provisioning"
	}
	for _, n := range b.zones {
		out.Zones = append(out.Zones, zoneItem{n.zone, n.id})
	}
	return out
}

func createLoadBalancer(q *request) (any, *Fault) {
	b := &balancer{name: q.get("Name"), scheme: "internet-facing", began: time.Now()}
	if s := q.get("Scheme"); s != "" {
		b.scheme = s
	}
	q.get("Type")
	subnets := q.list("Subnets.member")
	q.list("SecurityGroups.member")
	b.tags = q.tagsOf("Tags.member")
	if f := q.unread(); f != nil {
		return nil, f
	}
	if !validName(b.name) {
		return nil, elbFault("ValidationError", "The load balancer name '%s' is not valid", b.name)
	}
	for _, id := range subnets {
		n := q.region.subnet(id)
		if n == nil {
			return nil, elbFault("SubnetNotFound", "The subnet ID '%s' does not exist", id)
		}
		b.zones = append(b.zones, n)
	}
	if len(b.zones) < 2 {
		return nil, elbFault("ValidationError", "At least two subnets in two different Availability Zones must be specified")
	}
	b.network = b.zones[0].network
	if slices.ContainsFunc(b.zones, func(n *subnet) bool { return n.network != b.network }) {
		return nil, elbFault("InvalidConfigurationRequest", "All subnets must belong to the same VPC: '%s'", b.network)
	}
	for _, other := range q.region.balancing.balancers {
		if other.name == b.name {
			return nil, elbFault("DuplicateLoadBalancerName", "A load balancer with the name '%s' already exists", b.name)
		}
	}
	b.arn = q.arn("loadbalancer/app/" + b.name + "/" + q.suffix())
	q.region.balancing.balancers[b.arn] = b
	return struct {
		Items []balancerItem `xml:"LoadBalancers>member"`
	}{[]balancerItem{q.balancerItem(b)}}, nil
}

// validName is a name of a balancer or target group: at most 32 letters, digits and hyphens, none of them at an end.
func validName(name string) bool {
	return name != "" && len(name) <= 32 && strings.Trim(name, "-") == name &&
		strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

func (q *request) balancer(arn string) (*balancer, *Fault) {
	if b := q.region.balancing.balancers[arn]; b != nil {
		return b, nil
	}
	return nil, elbFault("LoadBalancerNotFound", "Load balancers '[%s]' not found", arn)
}

// marked is one page of a list, by the marker of its request.
func marked[T any](q *request, all []T) (page []T, next string, f *Fault) {
	size, from := 400, 0
	for name, to := range map[string]*int{"PageSize": &size, "Marker": &from} {
		text := q.get(name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || name == "PageSize" && (n < 1 || n > 400) {
			return nil, "", elbFault("ValidationError", "%s '%s' is not valid", name, text)
		}
		*to = n
	}
	if f := q.unread(); f != nil {
		return nil, "", f
	}
	from = min(from, len(all))
	page = all[from:]
	if len(page) > size {
		page, next = page[:size], strconv.Itoa(from+size)
	}
	return page, next, nil
}

func describeLoadBalancers(q *request) (any, *Fault) {
	arns, names := q.list("LoadBalancerArns.member"), q.list("Names.member")
	var found []balancerItem
	for _, b := range q.region.balancing.balancers {
		if len(arns)+len(names) == 0 || slices.Contains(arns, b.arn) || slices.Contains(names, b.name) {
			found = append(found, q.balancerItem(b))
		}
	}
	if want := len(arns) + len(names); want > 0 && len(found) < want {
		return nil, elbFault("LoadBalancerNotFound", "One or more load balancers not found")
	}
	slices.SortFunc(found, func(a, b balancerItem) int { return strings.Compare(a.ARN, b.ARN) })
	page, next, f := marked(q, found)
	return struct {
		Items []balancerItem `xml:"LoadBalancers>member"`
		Next  string         `xml:"NextMarker,omitempty"`
	}{page, next}, f
}

// deleteLoadBalancer deletes its listeners and rules with it, never its target groups.
func deleteLoadBalancer(q *request) (any, *Fault) {
	arn := q.get("LoadBalancerArn")
	if f := q.unread(); f != nil {
		return nil, f
	}
	if b := q.region.balancing.balancers[arn]; b != nil {
		for _, l := range b.listeners {
			l.front.close()
		}
		delete(q.region.balancing.balancers, arn)
	}
	return struct{}{}, nil
}
