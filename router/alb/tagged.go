package alb

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// Tagged is a target group that carries the tag of an installation.
type Tagged struct {
	Name, ARN    string
	Installation string
	Fleet        string // "" of those that keep the table
}

// AllTagged lists those of all installations, in the account and region.
func AllTagged(ctx context.Context, cfg aws.Config) (all []Tagged, err error) {
	const doing = "look for target groups that carry an installation's tag"
	b := &Backend{elb: elb.NewFromConfig(cfg)}
	names := map[string]string{}
	err = b.eachGroup(ctx, func(g types.TargetGroup) {
		if name := aws.ToString(g.TargetGroupName); strings.HasPrefix(name, namesBegin) {
			names[aws.ToString(g.TargetGroupArn)] = name
		}
	})
	if err != nil {
		return nil, explain(doing, err)
	}
	tags := map[string]map[string]string{}
	for part := range slices.Chunk(sortedKeys(names), mostTagged) {
		if err := b.tagsOf(ctx, part, tags); err != nil {
			return nil, explain(doing, err)
		}
	}
	for _, arn := range sortedKeys(names) {
		if id := tags[arn][tagInstallation]; id != "" {
			all = append(all, Tagged{names[arn], arn, id, tags[arn][tagFleet]})
		}
	}
	return all, nil
}

// Keeps is whether the backend of an installation looks after a target group: it deletes those of fleets that are gone by itself.
func Keeps(installation, balancer string, t Tagged) bool {
	return t.Installation == installation && strings.HasPrefix(t.Name, prefixOf(installation, balancer))
}
