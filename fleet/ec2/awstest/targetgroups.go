package awstest

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// targetGroup is what a rule forwards to.
type targetGroup struct {
	tagged
	arn, name, kind, network string
	settings                 map[string]string // protocol, port, health checks
	attributes               map[string]string
	targets                  []*target
	began, used              time.Time // used: since when a rule forwards to it
	samples                  []Sample
}

// groupSettings are the parameters of CreateTargetGroup that are kept, with their defaults.
var groupSettings = map[string]string{"Protocol": "", "ProtocolVersion": "HTTP1", "Port": "", "IpAddressType": "ipv4", "HealthCheckEnabled": "true",
	"HealthCheckProtocol": "HTTP", "HealthCheckPort": "traffic-port", "HealthCheckPath": "/", "HealthCheckIntervalSeconds": "30", "HealthCheckTimeoutSeconds": "5",
	"HealthyThresholdCount": "5", "UnhealthyThresholdCount": "2", "Matcher.HttpCode": "200"}

// groupAttributes are all that can be set here, with their defaults.
var groupAttributes = map[string]string{"deregistration_delay.timeout_seconds": "300", "slow_start.duration_seconds": "0", "stickiness.enabled": "false",
	"stickiness.type": "lb_cookie", "stickiness.lb_cookie.duration_seconds": "86400", "load_balancing.algorithm.type": "round_robin"}

type groupTarget struct {
	ARN       string `xml:"TargetGroupArn"`
	Name      string `xml:"TargetGroupName"`
	Kind      string `xml:"TargetType"`
	VPC       string `xml:"VpcId"`
	Protocol  string
	Version   string `xml:"ProtocolVersion"`
	Port      string
	Family    string   `xml:"IpAddressType"`
	CheckPath string   `xml:"HealthCheckPath"`
	Interval  string   `xml:"HealthCheckIntervalSeconds"`
	Matcher   string   `xml:"Matcher>HttpCode"`
	Balancers []string `xml:"LoadBalancerArns>member"`
}

type targetGroupsAnswer struct {
	Items []groupTarget `xml:"TargetGroups>member"`
	Next  string        `xml:"NextMarker,omitempty"`
}

func (q *request) groupItem(g *targetGroup) groupTarget {
	s := g.settings
	out := groupTarget{g.arn, g.name, g.kind, g.network, s["Protocol"], s["ProtocolVersion"], s["Port"], s["IpAddressType"], s["HealthCheckPath"],
		s["HealthCheckIntervalSeconds"], s["Matcher.HttpCode"], nil}
	for _, b := range q.region.balancing.balancers {
		if b.forwards(g.arn) {
			out.Balancers = append(out.Balancers, b.arn)
		}
	}
	return out
}

// forwards is whether any listener or rule sends requests to a group.
func (b *balancer) forwards(arn string) bool {
	return slices.ContainsFunc(b.listeners, func(l *listener) bool {
		return l.otherwise.forwards(arn) || slices.ContainsFunc(l.rules, func(r *rule) bool { return r.action.forwards(arn) })
	})
}

func (r *region) forwards(arn string) bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(r.balancing.balancers)), func(b *balancer) bool { return b.forwards(arn) })
}

// createTargetGroup gives the group of before when it is asked for again with the same settings.
func createTargetGroup(q *request) (any, *Fault) {
	g := &targetGroup{name: q.get("Name"), kind: q.get("TargetType"), network: q.get("VpcId"), settings: map[string]string{}, attributes: maps.Clone(groupAttributes), began: time.Now()}
	g.tags = q.tagsOf("Tags.member")
	for name, usual := range groupSettings {
		g.settings[name] = usual
		if v := q.get(name); v != "" {
			g.settings[name] = v
		}
	}
	f := q.unread()
	if f == nil {
		f = checkTags(g.tags)
	}
	if f != nil {
		return nil, f
	}
	port, err := strconv.Atoi(g.settings["Port"])
	interval, _ := strconv.Atoi(g.settings["HealthCheckIntervalSeconds"])
	timeout, _ := strconv.Atoi(g.settings["HealthCheckTimeoutSeconds"])
	switch {
	case !validName(g.name):
		return nil, elbFault("ValidationError", "Target group name '%s' is not valid", g.name)
	case g.settings["Protocol"] != "HTTP" && g.settings["Protocol"] != "HTTPS" || err != nil || port < 1 || port > 65535 || g.network == "":
		return nil, elbFault("ValidationError", "A protocol, port and VPC ID must be specified")
	case g.kind != "ip" && g.kind != "instance":
		return nil, elbFault("ValidationError", "Target type '%s' is not valid", g.kind)
	case interval < 5 || interval > 300 || timeout < 2 || timeout > 120 || timeout >= interval:
		return nil, elbFault("ValidationError", "Health check interval must be greater than the timeout.")
	}
	for _, other := range q.region.balancing.groups {
		if other.name != g.name {
			continue
		}
		if !maps.Equal(other.settings, g.settings) || other.kind != g.kind || other.network != g.network {
			return nil, elbFault("DuplicateTargetGroupName", "A target group with the same name '%s' exists, but with different settings", g.name)
		}
		return targetGroupsAnswer{Items: []groupTarget{q.groupItem(other)}}, nil
	}
	g.arn = q.arn("targetgroup/" + g.name + "/" + q.suffix())
	q.region.balancing.groups[g.arn] = g
	return targetGroupsAnswer{Items: []groupTarget{q.groupItem(g)}}, nil
}

func (q *request) targetGroup(arn string) (*targetGroup, *Fault) {
	if g := q.region.balancing.groups[arn]; g != nil {
		return g, nil
	}
	return nil, elbFault("TargetGroupNotFound", "One or more target groups not found")
}

func describeTargetGroups(q *request) (any, *Fault) {
	of, arns, names := q.get("LoadBalancerArn"), q.list("TargetGroupArns.member"), q.list("Names.member")
	found, wanted := []groupTarget{}, len(arns)+len(names)
	for _, g := range q.region.balancing.groups {
		item := q.groupItem(g)
		switch {
		case slices.Contains(arns, g.arn):
		case q.unseen(g.began) || of != "" && !slices.Contains(item.Balancers, of) || wanted > 0 && !slices.Contains(names, g.name):
			continue
		}
		found = append(found, item)
	}
	if len(found) < wanted {
		return nil, elbFault("TargetGroupNotFound", "One or more target groups not found")
	}
	slices.SortFunc(found, func(a, b groupTarget) int { return strings.Compare(a.Name, b.Name) })
	page, next, f := marked(q, found)
	return targetGroupsAnswer{page, next}, f
}

func modifyTargetGroup(q *request) (any, *Fault) {
	g, f := q.targetGroup(q.get("TargetGroupArn"))
	if f != nil {
		return nil, f
	}
	changed := maps.Clone(g.settings)
	for name := range groupSettings {
		if v := q.get(name); v != "" && (strings.HasPrefix(name, "Health") || strings.HasPrefix(name, "Unhealthy") || strings.HasPrefix(name, "Matcher")) {
			changed[name] = v
		}
	}
	if f := q.unread(); f != nil {
		return nil, f
	}
	g.settings = changed
	return targetGroupsAnswer{Items: []groupTarget{q.groupItem(g)}}, nil
}

func deleteTargetGroup(q *request) (any, *Fault) {
	arn := q.get("TargetGroupArn")
	if f := q.unread(); f != nil {
		return nil, f
	}
	if q.region.forwards(arn) {
		return nil, elbFault("ResourceInUse", "Target group '%s' is currently in use by a listener or a rule", arn)
	}
	delete(q.region.balancing.groups, arn) // one that is not there is deleted already
	return struct{}{}, nil
}

type attributesAnswer struct {
	Items []elbTag `xml:"Attributes>member"`
}

func (g *targetGroup) attributeList() (answer attributesAnswer) {
	for _, k := range slices.Sorted(maps.Keys(g.attributes)) {
		answer.Items = append(answer.Items, elbTag{k, g.attributes[k]})
	}
	return answer
}

func describeTargetGroupAttributes(q *request) (any, *Fault) {
	g, f := q.targetGroup(q.get("TargetGroupArn"))
	if f == nil {
		f = q.unread()
	}
	if f != nil {
		return nil, f
	}
	return g.attributeList(), nil
}

func modifyTargetGroupAttributes(q *request) (any, *Fault) {
	g, f := q.targetGroup(q.get("TargetGroupArn"))
	if f != nil {
		return nil, f
	}
	changed := q.tagsOf("Attributes.member")
	if f := q.unread(); f != nil {
		return nil, f
	}
	for k, v := range changed {
		n, err := strconv.Atoi(v)
		_, known := groupAttributes[k]
		switch {
		case !known:
			f = elbFault("InvalidConfigurationRequest", "Target group attribute key '%s' is not recognized", k)
		case k == "deregistration_delay.timeout_seconds" && (err != nil || n < 0 || n > 3600),
			k == "slow_start.duration_seconds" && (err != nil || n != 0 && (n < 30 || n > 900)):
			f = elbFault("InvalidConfigurationRequest", "Target group attribute value '%s' of '%s' is not valid", v, k)
		}
	}
	if f != nil {
		return nil, f
	}
	maps.Copy(g.attributes, changed)
	return g.attributeList(), nil
}
