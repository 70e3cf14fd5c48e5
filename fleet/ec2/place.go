package ec2

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

// place is where and as what a fleet's nodes are launched: what its spec says, else what the driver's options say, else the subnets of the
// account's default network.
func (d *Driver) place(ctx context.Context, spec fleet.Spec) (fleet.Placement, error) {
	return d.complete(ctx, spec.Placement)
}

func (d *Driver) complete(ctx context.Context, p fleet.Placement) (fleet.Placement, error) {
	def := d.opts.Place
	if len(p.Types) == 0 {
		p.Types = def.Types
	}
	if len(p.Subnets) == 0 {
		p.Subnets = def.Subnets
	}
	if len(p.Groups) == 0 {
		p.Groups = def.Groups
	}
	p.Profile, p.Spot = cmp.Or(p.Profile, def.Profile), cmp.Or(p.Spot, def.Spot)
	if len(p.Types) == 0 {
		return p, fault.New(fault.Invalid, "no instance type is given").WithHint("fleet.ec2.types, in order of preference: [t3.small, t3a.small]")
	}
	var err error
	if len(p.Subnets) == 0 {
		p.Subnets, err = d.defaultSubnets(ctx)
	}
	return p, err
}

// defaultSubnets are those of the account's default network, by zone.
func (d *Driver) defaultSubnets(ctx context.Context) ([]string, error) {
	d.mu.Lock()
	found := d.found
	d.mu.Unlock()
	if len(found) > 0 {
		return found, nil
	}
	out, err := d.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: []types.Filter{{Name: aws.String("default-for-az"), Values: []string{"true"}}}})
	if err != nil {
		return nil, explain("look for the subnets of the default network", err)
	}
	slices.SortFunc(out.Subnets, func(a, b types.Subnet) int {
		return strings.Compare(aws.ToString(a.AvailabilityZone), aws.ToString(b.AvailabilityZone))
	})
	for _, n := range out.Subnets {
		found = append(found, aws.ToString(n.SubnetId))
	}
	if len(found) == 0 {
		return nil, fault.New(fault.Invalid, "no subnet is given, and %s has no default network", d.region).
			WithHint("name subnets in fleet.ec2.subnets, or in ec2.subnets of agent.yaml; examples/ec2 makes a network for it")
	}
	d.mu.Lock()
	d.found = found
	d.mu.Unlock()
	return found, nil
}
