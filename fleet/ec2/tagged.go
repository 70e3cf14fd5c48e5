package ec2

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	autotypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Thing is something in the account that carries the tag of an installation.
type Thing struct {
	Kind         string // "instance", "launch template", "auto scaling group", "AMI", "snapshot"
	ID           string
	Region       string
	Installation string
	Fleet        string    // "" of what is no fleet's
	Image        string    // digest in the image store, of what is made of one; "" of others
	Snapshot     string    // of an AMI
	Since        time.Time // zero when AWS does not say
}

// Tagged lists all that carries the tag of any installation in the region, by kind and id. Instances that have ended are left out.
func (d *Driver) Tagged(ctx context.Context) (all []Thing, err error) {
	for _, look := range []func(context.Context) ([]Thing, error){d.taggedInstances, d.taggedTemplates, d.taggedGroups, d.taggedImages, d.taggedSnapshots} {
		some, err := look(ctx)
		if err != nil {
			return nil, explain("look for what carries an installation's tag", err)
		}
		all = append(all, some...)
	}
	for i := range all {
		all[i].Region = d.region
	}
	slices.SortStableFunc(all, func(a, b Thing) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID)) })
	return all, nil
}

func anyones() []types.Filter {
	return []types.Filter{{Name: aws.String("tag-key"), Values: []string{tagInstallation}}}
}

func thing(kind string, id *string, list []types.Tag, since *time.Time) Thing {
	t := tagsOf(list)
	return Thing{Kind: kind, ID: aws.ToString(id), Installation: t[tagInstallation], Fleet: t[tagFleet], Image: t[tagImage], Since: aws.ToTime(since)}
}

func (d *Driver) taggedInstances(ctx context.Context) (all []Thing, err error) {
	pages := ec2.NewDescribeInstancesPaginator(d.ec2, &ec2.DescribeInstancesInput{Filters: anyones()})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range page.Reservations {
			for _, i := range r.Instances {
				if i.State == nil || !(machine{state: i.State.Name}).ends() {
					all = append(all, thing("instance", i.InstanceId, i.Tags, i.LaunchTime))
				}
			}
		}
	}
	return all, nil
}

func (d *Driver) taggedTemplates(ctx context.Context) (all []Thing, err error) {
	pages := ec2.NewDescribeLaunchTemplatesPaginator(d.ec2, &ec2.DescribeLaunchTemplatesInput{Filters: anyones()})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, t := range page.LaunchTemplates {
			all = append(all, thing("launch template", t.LaunchTemplateName, t.Tags, t.CreateTime))
		}
	}
	return all, nil
}

func (d *Driver) taggedGroups(ctx context.Context) (all []Thing, err error) {
	pages := autoscaling.NewDescribeAutoScalingGroupsPaginator(d.groups, &autoscaling.DescribeAutoScalingGroupsInput{
		Filters: []autotypes.Filter{{Name: aws.String("tag-key"), Values: []string{tagInstallation}}}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, g := range page.AutoScalingGroups {
			var list []types.Tag
			for _, t := range g.Tags {
				list = append(list, types.Tag{Key: t.Key, Value: t.Value})
			}
			if g.Status == nil { // with one it is being deleted
				all = append(all, thing("auto scaling group", g.AutoScalingGroupName, list, g.CreatedTime))
			}
		}
	}
	return all, nil
}

func (d *Driver) taggedImages(ctx context.Context) (all []Thing, err error) {
	pages := ec2.NewDescribeImagesPaginator(d.ec2, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: anyones()})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, i := range page.Images {
			made, _ := time.Parse(time.RFC3339, aws.ToString(i.CreationDate)) // zero when it is not known
			one := thing("AMI", i.ImageId, i.Tags, &made)
			for _, m := range i.BlockDeviceMappings {
				if m.Ebs != nil && one.Snapshot == "" {
					one.Snapshot = aws.ToString(m.Ebs.SnapshotId)
				}
			}
			all = append(all, one)
		}
	}
	return all, nil
}

func (d *Driver) taggedSnapshots(ctx context.Context) (all []Thing, err error) {
	pages := ec2.NewDescribeSnapshotsPaginator(d.ec2, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: anyones()})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, n := range page.Snapshots {
			all = append(all, thing("snapshot", n.SnapshotId, n.Tags, n.StartTime))
		}
	}
	return all, nil
}
