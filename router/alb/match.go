package alb

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// Fields of conditions.
const (
	fieldHost   = "host-header"
	fieldPath   = "path-pattern"
	fieldSource = "source-ip"
	fieldHeader = "http-header"
)

// condition is one of a rule: one of its values must fit.
type condition struct {
	field, name string // name: of the header
	values      []string
}

// matchText is conditions as text, the same for the same ones in another order.
func matchText(list []condition) string {
	var lines []string
	for _, c := range list {
		values := slices.Clone(c.values)
		slices.Sort(values)
		lines = append(lines, fmt.Sprintf("%s %s %q", c.field, strings.ToLower(c.name), values))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func conditionsOf(list []condition) (out []types.RuleCondition) {
	for _, c := range list {
		one := types.RuleCondition{Field: aws.String(c.field)}
		switch c.field {
		case fieldHost:
			one.HostHeaderConfig = &types.HostHeaderConditionConfig{Values: c.values}
		case fieldPath:
			one.PathPatternConfig = &types.PathPatternConditionConfig{Values: c.values}
		case fieldSource:
			one.SourceIpConfig = &types.SourceIpConditionConfig{Values: c.values}
		case fieldHeader:
			one.HttpHeaderConfig = &types.HttpHeaderConditionConfig{HttpHeaderName: aws.String(c.name), Values: c.values}
		}
		out = append(out, one)
	}
	return out
}

// matchOf is the conditions of a rule that is there, as text.
func matchOf(list []types.RuleCondition) string {
	var all []condition
	for _, c := range list {
		one := condition{field: aws.ToString(c.Field), values: c.Values}
		switch {
		case c.HostHeaderConfig != nil:
			one.values = c.HostHeaderConfig.Values
		case c.PathPatternConfig != nil:
			one.values = c.PathPatternConfig.Values
		case c.SourceIpConfig != nil:
			one.values = c.SourceIpConfig.Values
		case c.HttpHeaderConfig != nil:
			one.name, one.values = aws.ToString(c.HttpHeaderConfig.HttpHeaderName), c.HttpHeaderConfig.Values
		}
		all = append(all, one)
	}
	return matchText(all)
}

// action is what a rule does: it forwards to groups by weight, by ARN, or answers 503 when it has none.
type action struct {
	weights map[string]int
	sticky  int
}

func (a action) equal(o action) bool { return maps.Equal(a.weights, o.weights) && a.sticky == o.sticky }

// actionOf reads the action of a rule that is there. Of a group alone the weight says nothing.
func actionOf(list []types.Action) (a action) {
	for _, one := range list {
		if one.Type != types.ActionTypeEnumForward {
			continue
		}
		a.weights = map[string]int{}
		if one.ForwardConfig != nil {
			for _, g := range one.ForwardConfig.TargetGroups {
				a.weights[aws.ToString(g.TargetGroupArn)] = int(aws.ToInt32(g.Weight))
			}
			if s := one.ForwardConfig.TargetGroupStickinessConfig; s != nil && aws.ToBool(s.Enabled) {
				a.sticky = int(aws.ToInt32(s.DurationSeconds))
			}
		}
		if arn := aws.ToString(one.TargetGroupArn); arn != "" && len(a.weights) == 0 {
			a.weights[arn] = 1
		}
	}
	a.normalize()
	return a
}

func (a *action) normalize() {
	if len(a.weights) == 1 {
		for arn := range a.weights {
			a.weights[arn] = 1
		}
	}
}

// actions are those of the API.
func (a action) actions() []types.Action {
	if len(a.weights) == 0 {
		return []types.Action{{Type: types.ActionTypeEnumFixedResponse, FixedResponseConfig: &types.FixedResponseActionConfig{
			StatusCode: aws.String("503"), ContentType: aws.String("text/plain"), MessageBody: aws.String("no node can take the request\n")}}}
	}
	forward := &types.ForwardActionConfig{TargetGroupStickinessConfig: &types.TargetGroupStickinessConfig{Enabled: aws.Bool(a.sticky > 0)}}
	if a.sticky > 0 {
		forward.TargetGroupStickinessConfig.DurationSeconds = aws.Int32(int32(a.sticky))
	}
	for _, arn := range sortedKeys(a.weights) {
		forward.TargetGroups = append(forward.TargetGroups, types.TargetGroupTuple{TargetGroupArn: &arn, Weight: aws.Int32(int32(a.weights[arn]))})
	}
	return []types.Action{{Type: types.ActionTypeEnumForward, ForwardConfig: forward}}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
