package ec2

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/internal/fault"
)

// Finding is one thing that was looked at: what is there, or what is wrong with it.
type Finding struct {
	What string // "account", "network", "types", "permissions"
	Is   string
	Err  error // *fault.Error with the next step
}

// permitted are the answers to a dry run of who may do it: that it would work, or that there is no such image, which is looked for after the
// permission. [EC2 API reference: common parameters, error codes]
var permitted = []string{"DryRunOperation", "InvalidAMIID.NotFound", "InvalidAMIID.Unavailable", "InvalidSnapshot.NotFound"}

// Examine looks whether an account has what fleets need: credentials, a network, instance types, permissions. It makes and changes
// nothing; what would be made is only asked for (DryRun). Instance types are not looked at when none is given.
func (d *Driver) Examine(ctx context.Context, p fleet.Placement) []Finding {
	scope, err := d.Scope(ctx)
	all := []Finding{{"account", scope, err}}
	if err != nil {
		return all
	}
	network, subnets, err := d.examineNetwork(ctx, p)
	all = append(all, Finding{"network", network, err})
	kinds := p.Types
	if len(kinds) == 0 {
		kinds = d.opts.Place.Types
	}
	if len(kinds) > 0 {
		is, err := d.examineTypes(ctx, kinds)
		all = append(all, Finding{"types", is, err})
	}
	return append(all, Finding{"permissions", "those that can be tried are there", d.examinePermissions(ctx, kinds, subnets)})
}

// examineNetwork finds the subnets and the security groups.
func (d *Driver) examineNetwork(ctx context.Context, p fleet.Placement) (is string, subnets []string, err error) {
	p.Types = []string{"any"}
	if p, err = d.complete(ctx, p); err != nil {
		return "", nil, err
	}
	out, err := d.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: p.Subnets})
	if awsapi.Is(err, "InvalidSubnetID.NotFound", "InvalidSubnetId.Malformed") {
		return "", nil, fault.New(fault.NotFound, "look at the subnets in %s: %w", d.region, err).WithHint("name subnets of this region in fleet.ec2.subnets; examples/ec2 makes a network for it")
	}
	if err != nil {
		return "", nil, explain("look at the subnets", err)
	}
	vpcs, zones := map[string]bool{}, map[string]bool{}
	for _, n := range out.Subnets {
		vpcs[aws.ToString(n.VpcId)], zones[aws.ToString(n.AvailabilityZone)] = true, true
		if aws.ToInt32(n.AvailableIpAddressCount) == 0 {
			err = fault.New(fault.NoSpace, "subnet %s has no address left", aws.ToString(n.SubnetId)).WithHint("shoot old fleets, or give a larger subnet")
		}
	}
	if len(vpcs) > 1 {
		err = fault.New(fault.Invalid, "the subnets are in %d networks", len(vpcs)).WithHint("name subnets of one VPC")
	}
	if err == nil {
		err = d.examineGroups(ctx, p.Groups, vpcs)
	}
	return fmt.Sprintf("%d subnets in %d zones", len(out.Subnets), len(zones)), p.Subnets, err
}

// examineGroups looks at security groups, if some are given.
func (d *Driver) examineGroups(ctx context.Context, groups []string, vpcs map[string]bool) error {
	if len(groups) == 0 {
		return nil
	}
	out, err := d.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: groups})
	if awsapi.Is(err, "InvalidGroup.NotFound", "InvalidGroupId.Malformed") {
		return fault.New(fault.NotFound, "look at the security groups in %s: %w", d.region, err).
			WithHint("make one that lets the agent and the routers in at the app's port, and name it in fleet.ec2.security_groups")
	}
	if err != nil {
		return explain("look at the security groups", err)
	}
	for _, g := range out.SecurityGroups {
		if !vpcs[aws.ToString(g.VpcId)] {
			return fault.New(fault.Invalid, "security group %s is in another network than the subnets", aws.ToString(g.GroupId)).WithHint("name groups of the subnets' VPC")
		}
	}
	return nil
}

// examineTypes sees whether the instance types boot what we make: by UEFI, on the processor that bakes are for.
func (d *Driver) examineTypes(ctx context.Context, kinds []string) (string, error) {
	var in []types.InstanceType
	for _, k := range kinds {
		in = append(in, types.InstanceType(k))
	}
	out, err := d.ec2.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: in})
	if awsapi.Is(err, "InvalidInstanceType") {
		return "", fault.New(fault.Invalid, "look at the instance types in %s: %w", d.region, err).WithHint("choose types that the region has: fleet.ec2.types")
	}
	if err != nil {
		return "", explain("look at the instance types", err)
	}
	archs := map[types.ArchitectureType]bool{}
	for _, t := range out.InstanceTypes {
		if !slices.Contains(t.SupportedBootModes, types.BootModeTypeUefi) {
			return "", fault.New(fault.Unsupported, "instance type %s does not boot by UEFI", t.InstanceType).WithHint("choose one of the Nitro system, such as t3.small")
		}
		if t.ProcessorInfo != nil {
			for _, a := range t.ProcessorInfo.SupportedArchitectures {
				archs[a] = true
			}
		}
	}
	if archs[types.ArchitectureTypeArm64] {
		return "", fault.New(fault.Unsupported, "some of %s are arm64, and machines are baked for amd64", strings.Join(kinds, ", ")).WithHint("choose types without a g after the number")
	}
	return strings.Join(kinds, ", "), nil
}

// examinePermissions tries what AWS lets be tried without doing it. Anything but a yes is an error: what was not tried is not there.
func (d *Driver) examinePermissions(ctx context.Context, kinds, subnets []string) error {
	const none, noImage, noSnapshot = "release-doctor", "ami-00000000000000000", "snap-00000000000000000"
	dry := aws.Bool(true)
	_, template := d.ec2.CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{DryRun: dry, LaunchTemplateName: aws.String(none),
		LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String(noImage)}})
	_, image := d.ec2.RegisterImage(ctx, &ec2.RegisterImageInput{DryRun: dry, Name: aws.String(none), VirtualizationType: aws.String("hvm"), Architecture: types.ArchitectureValuesX8664,
		RootDeviceName: aws.String("/dev/xvda"), BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{SnapshotId: aws.String(noSnapshot)}}}})
	run := &ec2.RunInstancesInput{DryRun: dry, MinCount: aws.Int32(1), MaxCount: aws.Int32(1), ImageId: aws.String(noImage)}
	if len(kinds) > 0 {
		run.InstanceType = types.InstanceType(kinds[0])
	}
	if len(subnets) > 0 {
		run.SubnetId = aws.String(subnets[0])
	}
	_, launch := d.ec2.RunInstances(ctx, run)
	_, look := d.Tagged(ctx)
	missing := []error{look}
	for _, err := range []error{template, image, launch} {
		if !awsapi.Is(err, permitted...) {
			missing = append(missing, explain("try what fleets need", err))
		}
	}
	return errors.Join(missing...)
}
