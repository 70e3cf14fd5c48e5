package alb

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// view is what AWS lists of the balancer, at one time.
type view struct {
	arn, dns, network string
	listeners         map[int]string    // by port
	groups            map[string]*group // ours, by name; those that keep the table are pages
	pages             map[string]*group // by name
	rules             []*rule           // of all listeners, but for their default ones
}

// group is a target group of ours.
type group struct {
	arn, name string
	tags      map[string]string
	targets   map[string]types.TargetHealth // by address; nil: not looked at
}

// rule is one of a listener.
type rule struct {
	arn, listener string
	priority      int
	ours          bool
	match         string // its conditions, as text
	action        action
}

// look reads what there is. Targets are read by health. What is older than this process knows is errAgain.
func (b *Backend) look(ctx context.Context) (*view, error) {
	out, err := b.elb.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{Names: []string{b.opts.Balancer}})
	if awsapi.Is(err, "LoadBalancerNotFound") || err == nil && len(out.LoadBalancers) != 1 {
		return nil, fault.New(fault.NotFound, "there is no load balancer %q in this account and region", b.opts.Balancer).
			WithHint("make one, with a listener on each port that routes listen on, or name another one in agent.yaml: router.alb.name")
	}
	if err != nil {
		return nil, err
	}
	balancer := out.LoadBalancers[0]
	if balancer.Type != "" && balancer.Type != types.LoadBalancerTypeEnumApplication {
		return nil, fault.New(fault.Invalid, "load balancer %q is of type %s; an application load balancer is needed", b.opts.Balancer, balancer.Type)
	}
	v := &view{arn: aws.ToString(balancer.LoadBalancerArn), dns: aws.ToString(balancer.DNSName), network: aws.ToString(balancer.VpcId),
		listeners: map[int]string{}, groups: map[string]*group{}, pages: map[string]*group{}}
	for _, step := range []func(context.Context, *view) error{b.lookListeners, b.lookGroups, b.lookTags} {
		if err := step(ctx, v); err != nil {
			return nil, err
		}
	}
	return v, b.known.follow(v.firstPage())
}

func (b *Backend) lookListeners(ctx context.Context, v *view) error {
	pages := elb.NewDescribeListenersPaginator(b.elb, &elb.DescribeListenersInput{LoadBalancerArn: &v.arn})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, l := range page.Listeners {
			v.listeners[int(aws.ToInt32(l.Port))] = aws.ToString(l.ListenerArn)
		}
	}
	for _, arn := range v.listeners {
		pages := elb.NewDescribeRulesPaginator(b.elb, &elb.DescribeRulesInput{ListenerArn: &arn})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return err
			}
			for _, r := range page.Rules {
				if priority, err := strconv.Atoi(aws.ToString(r.Priority)); err == nil { // the default rule has none
					v.rules = append(v.rules, &rule{arn: aws.ToString(r.RuleArn), listener: arn, priority: priority, match: matchOf(r.Conditions), action: actionOf(r.Actions)})
				}
			}
		}
	}
	slices.SortFunc(v.rules, func(x, y *rule) int { return x.priority - y.priority })
	return nil
}

// lookGroups lists the groups whose names are as ours are. Those that were made a moment ago may be missing: they are remembered.
func (b *Backend) lookGroups(ctx context.Context, v *view) error {
	found := map[string]string{}
	err := b.eachGroup(ctx, func(g types.TargetGroup) {
		if name := aws.ToString(g.TargetGroupName); strings.HasPrefix(name, b.prefix()) {
			found[name] = aws.ToString(g.TargetGroupArn)
		}
	})
	if err != nil {
		return err
	}
	for name, arn := range b.known.unlisted(found) {
		found[name] = arn
	}
	for name, arn := range found {
		if strings.HasPrefix(name, b.pagePrefix()) {
			v.pages[name] = &group{arn: arn, name: name}
		} else {
			v.groups[name] = &group{arn: arn, name: name}
		}
	}
	return nil
}

// eachGroup tells all target groups of the account and region.
func (b *Backend) eachGroup(ctx context.Context, tell func(types.TargetGroup)) error {
	pages := elb.NewDescribeTargetGroupsPaginator(b.elb, &elb.DescribeTargetGroupsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, g := range page.TargetGroups {
			tell(g)
		}
	}
	return nil
}

// mostTagged are the resources whose tags one call tells.
const mostTagged = 20

// lookTags finds out what is ours: what does not carry the installation's tag is left out, or not touched.
func (b *Backend) lookTags(ctx context.Context, v *view) error {
	var arns []string
	for _, all := range []map[string]*group{v.groups, v.pages} {
		for _, g := range all {
			arns = append(arns, g.arn)
		}
	}
	for _, r := range v.rules {
		arns = append(arns, r.arn) // at any priority: ours may have been made when they began elsewhere
	}
	tags := map[string]map[string]string{}
	for part := range slices.Chunk(arns, mostTagged) {
		if err := b.tagsOf(ctx, part, tags); err != nil {
			return err
		}
	}
	for _, all := range []map[string]*group{v.groups, v.pages} {
		for name, g := range all {
			if g.tags = tags[g.arn]; g.tags[tagInstallation] != b.opts.Installation {
				delete(all, name)
			}
		}
	}
	for _, r := range v.rules {
		r.ours = tags[r.arn][tagInstallation] == b.opts.Installation
	}
	return nil
}

// tagsOf adds the tags of some resources, by ARN.
func (b *Backend) tagsOf(ctx context.Context, arns []string, to map[string]map[string]string) error {
	out, err := b.elb.DescribeTags(ctx, &elb.DescribeTagsInput{ResourceArns: arns})
	if err != nil {
		return err
	}
	for _, d := range out.TagDescriptions {
		own := map[string]string{}
		for _, t := range d.Tags {
			own[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
		to[aws.ToString(d.ResourceArn)] = own
	}
	return nil
}

// health reads the targets of a group.
func (b *Backend) health(ctx context.Context, g *group) error {
	out, err := b.elb.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: &g.arn})
	if err != nil {
		return err
	}
	g.targets = map[string]types.TargetHealth{}
	for _, d := range out.TargetHealthDescriptions {
		if d.Target != nil && d.TargetHealth != nil && d.TargetHealth.Reason != types.TargetHealthReasonEnumNotRegistered {
			g.targets[net.JoinHostPort(aws.ToString(d.Target.Id), strconv.Itoa(int(aws.ToInt32(d.Target.Port))))] = *d.TargetHealth
		}
	}
	return nil
}

// listener finds the one that a route listens on. Of listen only the port counts.
func (v *view) listener(r *router.Route) (string, error) {
	_, text, err := net.SplitHostPort(r.Listen)
	if err != nil {
		return "", err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return "", err
	}
	arn, there := v.listeners[port]
	if !there {
		return "", fault.New(fault.NotFound, "route %q: the load balancer has no listener on port %d", r.Name, port).
			WithHint("make one, whose default action answers what no route is for: aws elbv2 create-listener --port %d", port)
	}
	return arn, nil
}
