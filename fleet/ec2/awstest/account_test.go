package awstest_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	autotypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
)

// TestPages: lists come in pages, whole and in order, as the SDK asks for them; groups come 50 at a time unless more are asked for.
func TestPages(t *testing.T) {
	configOf(t, awstest.Options{})
	cfg, err := awsapi.Load(t.Context(), awsapi.Options{Region: region, Backoff: 5 * time.Millisecond}) // a connection may close under a long answer
	if err != nil {
		t.Fatal(err)
	}
	c, groups := ec2.NewFromConfig(cfg), autoscaling.NewFromConfig(cfg)
	subnets := awstest.Subnets(t, cfg)
	var want []string
	for i := range 51 {
		name := fmt.Sprintf("g%02d", i)
		want = append(want, name)
		if _, err := c.CreateLaunchTemplate(t.Context(), &ec2.CreateLaunchTemplateInput{LaunchTemplateName: &name, LaunchTemplateData: &types.RequestLaunchTemplateData{}}); err != nil {
			t.Fatal(err)
		}
		if _, err := groups.CreateAutoScalingGroup(t.Context(), &autoscaling.CreateAutoScalingGroupInput{AutoScalingGroupName: &name, MinSize: aws.Int32(0), MaxSize: aws.Int32(1),
			DesiredCapacity: aws.Int32(0), VPCZoneIdentifier: &subnets[0], LaunchTemplate: &autotypes.LaunchTemplateSpecification{LaunchTemplateName: &name}}); err != nil {
			t.Fatal(err)
		}
	}
	one, err := groups.DescribeAutoScalingGroups(t.Context(), nil)
	if err != nil || len(one.AutoScalingGroups) != 50 || one.NextToken == nil {
		t.Fatalf("the first page is %+v: %v", one, err)
	}
	var names []string
	for p := autoscaling.NewDescribeAutoScalingGroupsPaginator(groups, &autoscaling.DescribeAutoScalingGroupsInput{MaxRecords: aws.Int32(20)}); p.HasMorePages(); {
		page, err := p.NextPage(t.Context())
		if err != nil || len(page.AutoScalingGroups) > 20 {
			t.Fatalf("%+v: %v", page, err)
		}
		for _, g := range page.AutoScalingGroups {
			names = append(names, *g.AutoScalingGroupName)
		}
	}
	if !slices.Equal(names, want) {
		t.Errorf("groups %v", names)
	}
	names = nil
	for p := ec2.NewDescribeLaunchTemplatesPaginator(c, &ec2.DescribeLaunchTemplatesInput{MaxResults: aws.Int32(20)}); p.HasMorePages(); {
		page, err := p.NextPage(t.Context())
		if err != nil || len(page.LaunchTemplates) > 20 {
			t.Fatal(err)
		}
		for _, l := range page.LaunchTemplates {
			names = append(names, *l.LaunchTemplateName)
		}
	}
	if !slices.Equal(names, want) {
		t.Errorf("templates %v", names)
	}
	if _, err := c.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{SubnetIds: subnets[:1], MaxResults: aws.Int32(5)}); code(err) != "InvalidParameterCombination" {
		t.Errorf("ids and a size of pages: %v", err)
	}
	if _, err := c.DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{NextToken: aws.String("none")}); code(err) != "InvalidNextToken" {
		t.Errorf("a token that nobody gave: %v", err)
	}
}

// TestAccountWithoutANetwork: callers make one, and it goes when nothing is in it.
func TestAccountWithoutANetwork(t *testing.T) {
	_, cfg := configOf(t, awstest.Options{NoNetwork: true, NoBlocks: true})
	c := ec2.NewFromConfig(cfg)
	if err := awstest.NoBlocks(t, cfg); err == nil {
		t.Error("it has the EBS direct APIs")
	}
	ids := awstest.Subnets(t, cfg) // deleted with the test, which fails if they stay
	out, err := c.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{SubnetIds: ids})
	if err != nil || len(out.Subnets) != 2 || *out.Subnets[0].AvailabilityZone == *out.Subnets[1].AvailabilityZone || *out.Subnets[0].VpcId != *out.Subnets[1].VpcId {
		t.Fatalf("%+v %v", out, err)
	}
	n := out.Subnets[0]
	subnet := func(network, block, zone string) error {
		_, err := c.CreateSubnet(t.Context(), &ec2.CreateSubnetInput{VpcId: &network, CidrBlock: &block, AvailabilityZone: &zone})
		return err
	}
	_, used := c.DeleteVpc(t.Context(), &ec2.DeleteVpcInput{VpcId: n.VpcId})
	_, volume := c.CreateVolume(t.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String("nowhere"), Size: aws.Int32(1)})
	_, snapshot := c.CreateSnapshot(t.Context(), &ec2.CreateSnapshotInput{VolumeId: aws.String("vol-0")})
	for want, err := range map[string]error{
		"InvalidVpcID.NotFound": subnet("vpc-1", "10.0.0.0/24", *n.AvailabilityZone), "InvalidSubnet.Range": subnet(*n.VpcId, "10.0.0.0/24", *n.AvailabilityZone),
		"InvalidSubnet.Conflict": subnet(*n.VpcId, *n.CidrBlock, *n.AvailabilityZone), "InvalidParameterValue": subnet(*n.VpcId, "172.31.32.0/20", "nowhere"),
		"DependencyViolation": used, "InvalidZone.NotFound": volume, "InvalidVolume.NotFound": snapshot,
	} {
		if code(err) != want {
			t.Errorf("want %s: %v", want, err)
		}
	}
}
