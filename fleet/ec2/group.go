package ec2

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	autotypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/awsapi"
)

// suspended are the processes that would replace, move or resize by themselves what is the orchestrator's to decide on.
var suspended = []string{"ReplaceUnhealthy", "AZRebalance", "AlarmNotification", "ScheduledActions", "InstanceRefresh"}

// mostNodes is the group's upper bound. It bounds nothing of ours: attaching needs room below it.
const mostNodes = 1000

// mostAttached is how many instances one call attaches or detaches. [Auto Scaling API reference: AttachInstances]
const mostAttached = 20

// ground makes what a fleet's instances are launched from and gathered in, unless it is there, and gives the AMI. Calls for a fleet wait for
// each other here, and all but the first have nothing to do.
func (d *Driver) ground(ctx context.Context, w *work, spec fleet.Spec, place fleet.Placement) (image string, err error) {
	done, err := turn(ctx, w.grounding)
	if err != nil {
		return "", err
	}
	defer done()
	d.mu.Lock()
	image = w.image
	d.mu.Unlock()
	if image != "" {
		return image, nil
	}
	made, err := d.image(ctx, spec.Image, nil)
	if err != nil {
		return "", err
	}
	if err := d.template(ctx, spec, place, made.ID); err != nil {
		return "", err
	}
	if err := d.gather(ctx, spec, place); err != nil {
		return "", err
	}
	d.mu.Lock()
	w.image = made.ID
	d.mu.Unlock()
	return made.ID, nil
}

// template makes the launch template of a fleet.
func (d *Driver) template(ctx context.Context, spec fleet.Spec, place fleet.Placement, image string) error {
	data := &types.RequestLaunchTemplateData{ImageId: aws.String(image), SecurityGroupIds: place.Groups,
		InstanceInitiatedShutdownBehavior: types.ShutdownBehaviorTerminate,
		MetadataOptions: &types.LaunchTemplateInstanceMetadataOptionsRequest{HttpTokens: types.LaunchTemplateHttpTokensStateRequired, HttpEndpoint: types.LaunchTemplateInstanceMetadataEndpointStateEnabled,
			HttpPutResponseHopLimit: aws.Int32(1)}}
	if place.Profile != "" {
		data.IamInstanceProfile = &types.LaunchTemplateIamInstanceProfileSpecificationRequest{Name: aws.String(place.Profile)}
	}
	_, err := d.ec2.CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String(d.nameOf(spec.Fleet)), LaunchTemplateData: data,
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeLaunchTemplate, Tags: append(d.fleetTags(spec.Fleet), tags(tagImage, spec.Image)...)}}})
	if awsapi.Is(err, "InvalidLaunchTemplateName.AlreadyExistsException") {
		return nil
	}
	return err
}

// gather makes the group of a fleet, which does nothing by itself.
func (d *Driver) gather(ctx context.Context, spec fleet.Spec, place fleet.Placement) error {
	name := d.nameOf(spec.Fleet)
	in := &autoscaling.CreateAutoScalingGroupInput{AutoScalingGroupName: aws.String(name), MinSize: aws.Int32(0), MaxSize: aws.Int32(mostNodes), DesiredCapacity: aws.Int32(0),
		LaunchTemplate:    &autotypes.LaunchTemplateSpecification{LaunchTemplateName: aws.String(name), Version: aws.String("1")},
		VPCZoneIdentifier: aws.String(strings.Join(place.Subnets, ","))}
	for _, t := range d.fleetTags(spec.Fleet) {
		in.Tags = append(in.Tags, autotypes.Tag{Key: t.Key, Value: t.Value, PropagateAtLaunch: aws.Bool(false), ResourceId: aws.String(name), ResourceType: aws.String("auto-scaling-group")})
	}
	if _, err := d.groups.CreateAutoScalingGroup(ctx, in); err != nil && !awsapi.Is(err, "AlreadyExists", "AlreadyExistsFault") {
		return err
	}
	_, err := d.groups.SuspendProcesses(ctx, &autoscaling.SuspendProcessesInput{AutoScalingGroupName: aws.String(name), ScalingProcesses: suspended})
	return err
}

// members are the instances of a fleet's group; none of a group that is not there.
func (d *Driver) members(ctx context.Context, id fleet.FleetID) (map[string]bool, error) {
	out, err := d.groups.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{d.nameOf(id)}})
	if err != nil {
		return nil, err
	}
	in := map[string]bool{}
	for _, g := range out.AutoScalingGroups {
		for _, i := range g.Instances {
			in[aws.ToString(i.InstanceId)] = true
		}
	}
	return in, nil
}

// join attaches those that run to the group, but for what is in quarantine or to go.
func (d *Driver) join(ctx context.Context, id fleet.FleetID, found map[string]machine) error {
	in, err := d.members(ctx, id)
	if err != nil {
		return err
	}
	var outside []string
	for _, m := range found {
		if m.state == types.InstanceStateNameRunning && !m.quarantined && !m.removed && !in[m.id] {
			outside = append(outside, m.id)
		}
	}
	slices.Sort(outside)
	for some := range slices.Chunk(outside, mostAttached) {
		_, err := d.groups.AttachInstances(ctx, &autoscaling.AttachInstancesInput{AutoScalingGroupName: aws.String(d.nameOf(id)), InstanceIds: some})
		if err == nil {
			continue
		}
		now, merr := d.members(ctx, id) // another call may have been faster
		if merr != nil || slices.ContainsFunc(some, func(i string) bool { return !now[i] }) {
			return err
		}
	}
	return nil
}

// leave takes instances out of the group, which then wants fewer.
func (d *Driver) leave(ctx context.Context, id fleet.FleetID, instances ...string) error {
	in, err := d.members(ctx, id)
	if err != nil {
		return err
	}
	inside := slices.DeleteFunc(slices.Clone(instances), func(i string) bool { return !in[i] })
	for some := range slices.Chunk(inside, mostAttached) {
		_, err := d.groups.DetachInstances(ctx, &autoscaling.DetachInstancesInput{AutoScalingGroupName: aws.String(d.nameOf(id)), InstanceIds: some, ShouldDecrementDesiredCapacity: aws.Bool(true)})
		if err == nil {
			continue
		}
		now, merr := d.members(ctx, id)
		if merr != nil || slices.ContainsFunc(some, func(i string) bool { return now[i] }) {
			return err
		}
	}
	return nil
}
