package ec2

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/awsapi"
)

// Remove marks a node as to go, takes it out of its group, and terminates it: its system is asked to power off, and without
// grace, or when that is over, cut off. It returns when the instance is terminated.
func (d *Driver) Remove(ctx context.Context, id fleet.NodeID, grace time.Duration) error {
	doing := "remove node " + id.Node
	all, err := d.instances(ctx, &id.Fleet)
	var instances []string // one, as a rule: see single
	for _, m := range all {
		if m.node.ID == id {
			instances = append(instances, m.id)
		}
	}
	if err != nil || len(instances) == 0 {
		return explain(doing, err)
	}
	if err := d.condemn(ctx, id.Fleet, instances...); err != nil {
		return explain(doing, err)
	}
	if grace > 0 {
		if err := d.terminate(ctx, false, instances...); err != nil {
			return explain(doing, err)
		}
		asked, cancel := context.WithTimeout(ctx, grace)
		err := d.ended(asked, instances...)
		cancel()
		if err == nil || ctx.Err() != nil {
			return explain(doing, err)
		}
	}
	if err := d.terminate(ctx, true, instances...); err != nil {
		return explain(doing, err)
	}
	return explain(doing, d.ended(ctx, instances...))
}

// Destroy removes all that a fleet has, without grace. First it sees to it that nothing more comes: calls of this process are stopped, and
// without its launch template no process launches for the fleet.
func (d *Driver) Destroy(ctx context.Context, id fleet.FleetID) error {
	doing := "destroy fleet " + id.String()
	if err := d.expel(ctx, id); err != nil {
		return explain(doing, err)
	}
	_, err := d.ec2.DeleteLaunchTemplate(ctx, &ec2.DeleteLaunchTemplateInput{LaunchTemplateName: aws.String(d.nameOf(id))})
	if err != nil && !awsapi.Is(err, "InvalidLaunchTemplateName.NotFoundException", "InvalidLaunchTemplateId.NotFound") {
		return explain(doing, err)
	}
	all, err := d.instances(ctx, &id)
	if err != nil {
		return explain(doing, err)
	}
	var instances []string
	for _, m := range all {
		instances = append(instances, m.id)
	}
	if len(instances) > 0 {
		if err := d.condemn(ctx, id, instances...); err != nil {
			return explain(doing, err)
		}
		if err := d.terminate(ctx, true, instances...); err != nil {
			return explain(doing, err)
		}
	}
	if err := d.disband(ctx, id); err != nil {
		return explain(doing, err)
	}
	if err := d.ended(ctx, instances...); err != nil {
		return explain(doing, err)
	}
	d.destroyed(id)
	return nil
}

// disband removes a fleet's group.
func (d *Driver) disband(ctx context.Context, id fleet.FleetID) error {
	name := d.nameOf(id)
	for {
		out, err := d.groups.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{name}})
		if err != nil || len(out.AutoScalingGroups) == 0 {
			return err
		}
		if out.AutoScalingGroups[0].Status == nil {
			_, err := d.groups.DeleteAutoScalingGroup(ctx, &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: aws.String(name), ForceDelete: aws.Bool(true)})
			gone := awsapi.Is(err, "ValidationError") && strings.Contains(err.Error(), "not found") // another call was faster
			if err != nil && !gone && !awsapi.Is(err, "ScalingActivityInProgress", "ResourceContention") {
				return err
			}
		}
		if err := d.pause(ctx); err != nil {
			return err
		}
	}
}

// machine finds a node; false when there is none.
func (d *Driver) machine(ctx context.Context, id fleet.NodeID) (machine, bool, error) {
	all, err := d.machines(ctx, &id.Fleet)
	if err != nil {
		return machine{}, false, err
	}
	i := slices.IndexFunc(all, func(m machine) bool { return m.node.ID == id })
	if i < 0 {
		return machine{}, false, nil
	}
	return all[i], true, nil
}

// condemn marks instances as to go, for lists that show them for an hour yet, and takes them out of the group.
func (d *Driver) condemn(ctx context.Context, id fleet.FleetID, instances ...string) error {
	_, err := d.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: instances, Tags: tags(tagRemoved, "true")})
	if awsapi.Is(err, "InvalidInstanceID.NotFound") && len(instances) > 1 { // all or none get the tag by one call
		for _, one := range instances {
			if err := d.condemn(ctx, id, one); err != nil {
				return err
			}
		}
		return nil
	}
	if err != nil && !awsapi.Is(err, "InvalidInstanceID.NotFound") { // EC2 forgot it
		return err
	}
	return d.leave(ctx, id, instances...)
}

func (d *Driver) terminate(ctx context.Context, cut bool, instances ...string) error {
	in := &ec2.TerminateInstancesInput{InstanceIds: instances}
	if cut {
		in.SkipOsShutdown = aws.Bool(true)
	}
	_, err := d.ec2.TerminateInstances(ctx, in)
	if !awsapi.Is(err, "InvalidInstanceID.NotFound") {
		return err
	}
	if len(instances) == 1 {
		return nil // EC2 forgot it
	}
	for _, one := range instances { // all or none are terminated by one call
		if err := d.terminate(ctx, cut, one); err != nil {
			return err
		}
	}
	return nil
}

// ended waits until instances are terminated or forgotten.
func (d *Driver) ended(ctx context.Context, instances ...string) error {
	for some := range slices.Chunk(instances, mostFiltered) {
		for {
			left, err := d.left(ctx, some)
			if err != nil {
				return err
			}
			if left == 0 {
				break
			}
			if err := d.pause(ctx); err != nil {
				return err
			}
		}
		d.forget(some)
	}
	return nil
}

// mostFiltered is how many values a filter may have. [EC2 API reference: Filter]
const mostFiltered = 200

// left is how many of some instances are not terminated yet.
func (d *Driver) left(ctx context.Context, instances []string) (left int, err error) {
	pages := ec2.NewDescribeInstancesPaginator(d.ec2, &ec2.DescribeInstancesInput{Filters: []types.Filter{{Name: aws.String("instance-id"), Values: instances}}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return 0, err
		}
		for _, r := range page.Reservations {
			for _, i := range r.Instances {
				if i.State == nil || i.State.Name != types.InstanceStateNameTerminated {
					left++
				}
			}
		}
	}
	return left, nil
}

func (d *Driver) forget(instances []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.memory.forget(time.Now(), instances...)
}
