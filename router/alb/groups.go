package alb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/pause"
	"github.com/bootandshoot/release/router"
)

// How the balancer asks after a node's health. That the app works is for release's own probes; here it counts that the balancer
// reaches the node, and that the answer is no error of the server.
const (
	checkEvery   = 5 // seconds
	checkTimeout = 4 // seconds
	checkTwice   = 2 // answers of one kind make a node healthy or unhealthy
	checkCodes   = "200-499"
)

// prepare makes the groups, registers the nodes and has the balancer look after them. Users notice nothing of it.
func (b *Backend) prepare(ctx context.Context, v *view, w *wanted) error {
	if err := b.meet(ctx, v, w); err != nil {
		return err
	}
	return b.enroll(ctx, v, w)
}

// meet makes the groups that are missing, and reads who is in them.
func (b *Backend) meet(ctx context.Context, v *view, w *wanted) error {
	for _, name := range sortedKeys(w.groups) {
		want := w.groups[name]
		g := v.groups[name]
		if g == nil {
			var err error
			if g, err = b.makeGroup(ctx, v, want, w.version); err != nil {
				return fmt.Errorf("route %q: %w", want.route, err)
			}
		}
		if err := b.health(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// enroll registers the nodes, and has the balancer look after them.
func (b *Backend) enroll(ctx context.Context, v *view, w *wanted) error {
	for _, name := range sortedKeys(w.groups) {
		want, g := w.groups[name], v.groups[name]
		if err := b.register(ctx, g, want); err != nil {
			return fmt.Errorf("route %q: register the nodes of fleet %s: %w", want.route, want.fleet, err)
		}
		if err := b.anchored(ctx, v, want); err != nil {
			return fmt.Errorf("route %q: %w", want.route, err)
		}
	}
	return nil
}

// make makes a target group, or gives the one of this name with its tags. One of somebody else's is never touched.
func (b *Backend) make(ctx context.Context, in *elb.CreateTargetGroupInput) (*group, error) {
	out, err := b.elb.CreateTargetGroup(ctx, in)
	if err != nil {
		return nil, err
	}
	if len(out.TargetGroups) != 1 {
		return nil, fmt.Errorf("make target group %s: %d are there", aws.ToString(in.Name), len(out.TargetGroups))
	}
	g := &group{arn: aws.ToString(out.TargetGroups[0].TargetGroupArn), name: aws.ToString(in.Name)}
	tags := map[string]map[string]string{}
	if err := b.tagsOf(ctx, []string{g.arn}, tags); err != nil {
		return nil, err
	}
	if g.tags = tags[g.arn]; g.tags[tagInstallation] != b.opts.Installation {
		return nil, fault.New(fault.Exists, "target group %s is there, and does not carry our tag %s", g.name, tagInstallation)
	}
	b.known.made(g.name, g.arn)
	return g, nil
}

func (b *Backend) makeGroup(ctx context.Context, v *view, want *wantedGroup, version router.Version) (*group, error) {
	in := &elb.CreateTargetGroupInput{Name: &want.name, TargetType: types.TargetTypeEnumIp, VpcId: &v.network, Protocol: types.ProtocolEnumHttp, Port: aws.Int32(80),
		HealthCheckProtocol: types.ProtocolEnumHttp, HealthCheckPath: &b.opts.CheckPath, HealthCheckIntervalSeconds: aws.Int32(checkEvery),
		HealthCheckTimeoutSeconds: aws.Int32(checkTimeout), HealthyThresholdCount: aws.Int32(checkTwice), UnhealthyThresholdCount: aws.Int32(checkTwice),
		Matcher: &types.Matcher{HttpCode: aws.String(checkCodes)},
		Tags:    tags(tagInstallation, b.opts.Installation, tagFleet, tagText(want.fleet), tagRoute, tagText(want.route), tagVersion, version.String())}
	if want.h2c {
		in.ProtocolVersion = aws.String("HTTP2")
	}
	if want.ipv6 {
		in.IpAddressType = types.TargetGroupIpAddressTypeEnumIpv6
	}
	g, err := b.make(ctx, in)
	if err != nil {
		return nil, err
	}
	v.groups[want.name] = g
	return g, nil
}

// mostTargets of one call.
const mostTargets = 100

// register adds the nodes that are no targets yet, or are leaving. Before the first one the group gets its attributes.
func (b *Backend) register(ctx context.Context, g *group, want *wantedGroup) error {
	if len(g.targets) == 0 {
		attributes := []types.TargetGroupAttribute{
			{Key: aws.String("deregistration_delay.timeout_seconds"), Value: aws.String(strconv.Itoa(int(b.opts.Drain / time.Second)))},
			{Key: aws.String("slow_start.duration_seconds"), Value: aws.String(strconv.Itoa(int(want.slowStart / time.Second)))},
		}
		if _, err := b.elb.ModifyTargetGroupAttributes(ctx, &elb.ModifyTargetGroupAttributesInput{TargetGroupArn: &g.arn, Attributes: attributes}); err != nil {
			return err
		}
	}
	var missing []string
	for _, address := range sortedKeys(want.nodes) {
		if health, there := g.targets[address]; !there || health.State == types.TargetHealthStateEnumDraining {
			missing = append(missing, address)
		}
	}
	for part := range slices.Chunk(missing, mostTargets) {
		if _, err := b.elb.RegisterTargets(ctx, &elb.RegisterTargetsInput{TargetGroupArn: &g.arn, Targets: targets(part)}); err != nil {
			return err
		}
		for _, address := range part {
			g.targets[address] = types.TargetHealth{State: types.TargetHealthStateEnumInitial}
		}
	}
	return nil
}

func targets(addresses []string) (list []types.TargetDescription) {
	for _, a := range addresses {
		host, port := splitAddress(a)
		list = append(list, types.TargetDescription{Id: &host, Port: &port})
	}
	return list
}

// await waits until the balancer finds those nodes healthy that did not get requests by the table before, and now do. When one
// takes too long the error says why, and the table is refused.
func (b *Backend) await(ctx context.Context, v *view, w *wanted, before *record) error {
	if b.opts.HealthyWithin < 0 {
		return nil
	}
	served := map[string]bool{}
	if before != nil {
		old, err := b.want(v, before.Table)
		if err == nil {
			for _, g := range old.groups {
				for address := range g.nodes {
					served[g.name+" "+address] = g.weighted
				}
			}
		}
	}
	defer b.forgetWaits()
	began := time.Now()
	var last *router.Waiting
	for {
		waits, err := b.waits(ctx, v, w, served)
		if err != nil && ctx.Err() != nil && last != nil {
			return last // the look was cut short, which says less
		}
		if err != nil || waits == nil {
			return err
		}
		if last = waits; time.Since(began) >= b.opts.Wait || pause.For(ctx, b.opts.Poll) != nil {
			return last
		}
	}
}

// waits says what is waited for as its first result, and as its second why that is given up.
func (b *Backend) waits(ctx context.Context, v *view, w *wanted, served map[string]bool) (waits *router.Waiting, err error) {
	var problems fault.List
	for _, name := range sortedKeys(w.groups) {
		want := w.groups[name]
		if !want.weighted {
			continue
		}
		g := v.groups[name]
		if err := b.health(ctx, g); err != nil {
			return nil, err
		}
		for _, address := range sortedKeys(want.nodes) {
			key := name + " " + address
			health := g.targets[address]
			if served[key] || health.State == types.TargetHealthStateEnumHealthy {
				delete(b.since, key)
				continue
			}
			if waits == nil {
				waits = &router.Waiting{}
			}
			if !slices.Contains(waits.Routes, want.route) {
				waits.Routes = append(waits.Routes, want.route)
			}
			waits.Err = fmt.Errorf("route %q: the load balancer does not find node %s (%s) healthy yet: %s", want.route, want.nodes[address], address, healthText(health))
			if took := b.waited(key); took > b.opts.HealthyWithin {
				problems = append(problems, fault.New(fault.Failed, "route %q: the load balancer does not find node %s (%s) healthy, after %s: %s",
					want.route, want.nodes[address], address, took.Round(time.Second), healthText(health)).
					WithHint("the security group of the nodes must let the load balancer in on their port, and GET %s must answer below 500", b.opts.CheckPath))
			}
		}
	}
	return waits, problems.Err()
}

func healthText(h types.TargetHealth) string {
	parts := []string{string(h.State), string(h.Reason), aws.ToString(h.Description)}
	parts = slices.DeleteFunc(parts, func(p string) bool { return p == "" })
	if len(parts) == 0 {
		return "not registered"
	}
	return strings.Join(parts, ", ")
}

// patience is since when a target is waited for, and when it was last, by the machine's own clock.
type patience struct{ from, last time.Time }

// keepPatience is how long nobody may wait for a target before it is waited for anew.
const keepPatience = 30 * time.Second

// waited is for how long a target has been waited for.
func (b *Backend) waited(key string) time.Duration {
	p, now := b.since[key], b.opts.Now()
	if time.Since(p.last) > keepPatience {
		p.from = now
	}
	p.last = time.Now()
	b.since[key] = p
	return now.Sub(p.from)
}

// forgetWaits forgets what nobody waits for.
func (b *Backend) forgetWaits() {
	maps.DeleteFunc(b.since, func(_ string, p patience) bool { return time.Since(p.last) > keepPatience })
}

// deregister takes the targets away that the table does not have: from now on they drain.
func (b *Backend) deregister(ctx context.Context, v *view, w *wanted) error {
	for _, name := range sortedKeys(v.groups) {
		g, want := v.groups[name], w.groups[name]
		if g.targets == nil {
			if err := b.health(ctx, g); err != nil {
				return err
			}
		}
		var gone []string
		joining := map[string]bool{}
		for l := range b.joins {
			if l.Group == name && b.joining(l) {
				joining[l.Address] = true
			}
		}
		for _, address := range sortedKeys(g.targets) {
			if g.targets[address].State != types.TargetHealthStateEnumDraining && !joining[address] && (want == nil || want.nodes[address] == "") {
				gone = append(gone, address)
			}
		}
		if err := b.drain(ctx, g, gone); err != nil {
			return err
		}
	}
	return nil
}

// drain deregisters targets of a group. One that comes back is waited for anew.
func (b *Backend) drain(ctx context.Context, g *group, addresses []string) error {
	for part := range slices.Chunk(addresses, mostTargets) {
		if _, err := b.elb.DeregisterTargets(ctx, &elb.DeregisterTargetsInput{TargetGroupArn: &g.arn, Targets: targets(part)}); err != nil {
			return err
		}
		for _, address := range part {
			delete(b.since, g.name+" "+address)
		}
	}
	return nil
}

// tidy deletes the groups that no table has and that are empty, and their anchors. One that was made for a newer table than the
// view's is another agent's work under way.
func (b *Backend) tidy(ctx context.Context, v *view, w *wanted) error {
	var failed []error
	for _, name := range sortedKeys(v.groups) {
		g := v.groups[name]
		made, err := readVersion(g.tags[tagVersion])
		if w.groups[name] != nil || len(g.targets) > 0 || err != nil || made.Compare(w.version) > 0 {
			continue
		}
		failed = append(failed, b.remove(ctx, v, g))
	}
	return errors.Join(failed...)
}

func (b *Backend) remove(ctx context.Context, v *view, g *group) error {
	anchor := matchText(anchorOf("", "", g.name).conditions)
	for _, r := range slices.Clone(v.rules) {
		if r.ours && r.match == anchor { // the group is not deleted while another rule forwards to it
			if err := b.deleteRule(ctx, v, r); err != nil {
				return err
			}
		}
	}
	if _, err := b.elb.DeleteTargetGroup(ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: &g.arn}); err != nil {
		return err
	}
	b.known.deleted(g.name)
	delete(v.groups, g.name)
	return nil
}
