package alb

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/bootandshoot/release/internal/fault"
)

// rule makes the listeners obey. Rules that are new are made behind all others, where they take no request from any; what fits the
// same requests as before changes at one instant; then all come into their order at one instant, what fits nothing any more at the end,
// and that is deleted last.
func (b *Backend) rule(ctx context.Context, v *view, w *wanted) error {
	for _, listener := range v.listeners {
		if err := b.obey(ctx, v, w, listener); err != nil {
			return err
		}
	}
	return nil
}

// order is the rules of a listener as they are to be.
type order struct {
	want []wantedRule
	have []*rule // for each of want, nil where it is to be made
	gone []*rule // ours that nothing wants
}

// obey makes one listener obey.
func (b *Backend) obey(ctx context.Context, v *view, w *wanted, listener string) error {
	o := b.orderOf(v, w, listener)
	places, err := b.places(v, listener, b.opts.Priority, len(o.want)+len(o.gone))
	if err != nil {
		return err
	}
	ends, err := b.ends(ctx, v, o, listener)
	if err != nil {
		return err
	}
	for i, want := range o.want {
		to, err := v.action(want)
		if err != nil {
			return err
		}
		if o.have[i] == nil {
			o.have[i], err = b.makeRule(ctx, v, want, to, ends[0])
			ends = ends[1:]
		} else if !o.have[i].action.equal(to) {
			_, err = b.elb.ModifyRule(ctx, &elb.ModifyRuleInput{RuleArn: &o.have[i].arn, Actions: to.actions()})
		}
		if err != nil {
			return fmt.Errorf("route %q: %w", want.route, err)
		}
	}
	if err := b.move(ctx, slices.Concat(o.have, o.gone), places); err != nil {
		return err
	}
	for _, r := range o.gone {
		if err := b.deleteRule(ctx, v, r); err != nil {
			return err
		}
	}
	return nil
}

// ends are places behind all rules of ours, one for each rule that is to be made. When there is no room, those that are there move
// together first, in the order that they have.
func (b *Backend) ends(ctx context.Context, v *view, o order, listener string) ([]int, error) {
	there := slices.DeleteFunc(slices.Concat(o.have, o.gone), func(r *rule) bool { return r == nil })
	slices.SortFunc(there, func(x, y *rule) int { return x.priority - y.priority })
	n := len(o.want) + len(o.gone) - len(there)
	if n == 0 {
		return nil, nil
	}
	for {
		from := b.opts.Priority
		if len(there) > 0 {
			from = max(from, there[len(there)-1].priority+1)
		}
		ends, err := b.places(v, listener, from, n)
		if err == nil {
			return ends, nil
		}
		places, merr := b.places(v, listener, b.opts.Priority, len(there))
		if merr != nil || len(there) == 0 || there[len(there)-1].priority <= places[len(places)-1] {
			return nil, err
		}
		if err := b.move(ctx, there, places); err != nil {
			return nil, err
		}
	}
}

// orderOf finds for each wanted rule the one that is there for the same requests. Anchors are left out.
func (b *Backend) orderOf(v *view, w *wanted, listener string) order {
	var o order
	free := map[string]*rule{}
	anchors := v.anchors(listener)
	for _, r := range v.rules {
		if !r.ours || r.listener != listener || anchors[r.match] {
			continue
		}
		if free[r.match] != nil {
			o.gone = append(o.gone, r)
		} else {
			free[r.match] = r
		}
	}
	for _, want := range w.rules {
		if want.listener != listener {
			continue
		}
		match := matchText(want.conditions)
		o.want, o.have = append(o.want, want), append(o.have, free[match])
		delete(free, match)
	}
	for _, r := range v.rules {
		if free[r.match] == r {
			o.gone = append(o.gone, r)
		}
	}
	return o
}

// anchors are the conditions of the anchors of all groups that are there.
func (v *view) anchors(listener string) map[string]bool {
	all := map[string]bool{}
	for name := range v.groups {
		all[matchText(anchorOf(listener, "", name).conditions)] = true
	}
	return all
}

// places are priorities for n rules: ours, from one on, and none that a foreign rule or an anchor has.
func (b *Backend) places(v *view, listener string, from, n int) (places []int, err error) {
	taken := map[int]bool{}
	anchors := v.anchors(listener)
	for _, r := range v.rules {
		if r.listener == listener && (!r.ours || anchors[r.match]) {
			taken[r.priority] = true
		}
	}
	for p := from; len(places) < n; p++ {
		if p >= b.opts.Priority+priorities/2 {
			return nil, fault.New(fault.NoSpace, "the table needs %d rules more, and priorities from %d to %d are for them", n, from, b.opts.Priority+priorities/2-1)
		}
		if !taken[p] {
			places = append(places, p)
		}
	}
	return places, nil
}

// move gives rules their places at one instant.
func (b *Backend) move(ctx context.Context, rules []*rule, places []int) error {
	var moves []types.RulePriorityPair
	for i, r := range rules {
		if r.priority != places[i] {
			moves = append(moves, types.RulePriorityPair{RuleArn: &r.arn, Priority: aws.Int32(int32(places[i]))})
		}
	}
	if len(moves) == 0 {
		return nil
	}
	if _, err := b.elb.SetRulePriorities(ctx, &elb.SetRulePrioritiesInput{RulePriorities: moves}); err != nil {
		return err
	}
	for i, r := range rules {
		r.priority = places[i]
	}
	return nil
}

// action is what a wanted rule does, with the groups that are there.
func (v *view) action(want wantedRule) (to action, err error) {
	to = action{sticky: want.sticky}
	for _, s := range want.shares {
		g := v.groups[s.group]
		if g == nil {
			return to, fmt.Errorf("%w: target group %s is not listed", errAgain, s.group)
		}
		if to.weights == nil {
			to.weights = map[string]int{}
		}
		to.weights[g.arn] = s.weight
	}
	if len(to.weights) == 0 {
		to.sticky = 0
	}
	to.normalize()
	return to, nil
}

func (b *Backend) makeRule(ctx context.Context, v *view, want wantedRule, to action, priority int) (*rule, error) {
	out, err := b.elb.CreateRule(ctx, &elb.CreateRuleInput{ListenerArn: &want.listener, Priority: aws.Int32(int32(priority)), Conditions: conditionsOf(want.conditions),
		Actions: to.actions(), Tags: tags(tagInstallation, b.opts.Installation, tagRoute, tagText(want.route))})
	if err != nil {
		return nil, err
	}
	if len(out.Rules) != 1 {
		return nil, fmt.Errorf("make a rule: %d are there", len(out.Rules))
	}
	r := &rule{arn: aws.ToString(out.Rules[0].RuleArn), listener: want.listener, priority: priority, ours: true, match: matchText(want.conditions), action: to}
	v.rules = append(v.rules, r)
	return r, nil
}

func (b *Backend) deleteRule(ctx context.Context, v *view, r *rule) error {
	if _, err := b.elb.DeleteRule(ctx, &elb.DeleteRuleInput{RuleArn: &r.arn}); err != nil {
		return err
	}
	v.rules = slices.DeleteFunc(v.rules, func(o *rule) bool { return o == r })
	return nil
}

// anchored makes the balancer look after a group's health.
func (b *Backend) anchored(ctx context.Context, v *view, g *wantedGroup) error {
	want := g.anchor()
	match := matchText(want.conditions)
	taken := map[int]bool{}
	for _, r := range v.rules {
		if r.listener == g.listener {
			taken[r.priority] = true
		}
		if r.ours && r.match == match {
			return nil
		}
	}
	to, err := v.action(want)
	if err != nil {
		return err
	}
	for p := b.opts.Priority + priorities/2; p < b.opts.Priority+priorities; p++ {
		if !taken[p] {
			_, err := b.makeRule(ctx, v, want, to, p)
			return err
		}
	}
	return fault.New(fault.NoSpace, "priorities from %d to %d are all taken", b.opts.Priority+priorities/2, b.opts.Priority+priorities-1)
}
