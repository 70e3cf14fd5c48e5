package awstest_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	autotypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
)

const region = "eu-central-1"

func configOf(t *testing.T, o awstest.Options) (*awstest.Server, aws.Config) {
	s := awstest.Start(t, o)
	for name, value := range map[string]string{"AWS_ENDPOINT_URL": s.URL, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"} {
		t.Setenv(name, value)
	}
	cfg, err := awsapi.Load(t.Context(), awsapi.Options{Region: region, Tries: 1})
	if err != nil {
		t.Fatal(err)
	}
	return s, cfg
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// TestUnknownIsRefused: what the server does not know is an error by AWS's codes, and nothing is done.
func TestUnknownIsRefused(t *testing.T) {
	_, cfg := configOf(t, awstest.Options{})
	c := ec2.NewFromConfig(cfg)
	_, action := c.DescribeVpcs(t.Context(), nil)
	_, parameter := c.DescribeImages(t.Context(), &ec2.DescribeImagesInput{ExecutableUsers: []string{"self"}})
	_, filter := c.DescribeImages(t.Context(), &ec2.DescribeImagesInput{Filters: []types.Filter{{Name: aws.String("no-such-filter"), Values: []string{"x"}}}})
	_, page := c.DescribeImages(t.Context(), &ec2.DescribeImagesInput{MaxResults: aws.Int32(2)})
	_, image := c.DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{"ami-0"}})
	_, instance := c.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{"i-0"}})
	_, tagged := c.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{"snap-0"}, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}})
	for _, tt := range []struct {
		err  error
		want string
	}{{action, "InvalidAction"}, {parameter, "UnknownParameter"}, {filter, "InvalidParameterValue"}, {page, "InvalidParameterValue"}, {image, "InvalidAMIID.NotFound"},
		{instance, "InvalidInstanceID.NotFound"}, {tagged, "InvalidSnapshot.NotFound"}} {
		if got := code(tt.err); got != tt.want {
			t.Errorf("%v: code %q, want %q", tt.err, got, tt.want)
		}
	}
}

// TestGroupReplaces: a group does what AWS says unless it is told not to: what is unhealthy is terminated and launched anew.
func TestGroupReplaces(t *testing.T) {
	_, cfg := configOf(t, awstest.Options{Takes: time.Millisecond})
	c, groups := ec2.NewFromConfig(cfg), autoscaling.NewFromConfig(cfg)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	subnets, err := c.DescribeSubnets(t.Context(), nil)
	must(err)
	_, err = c.CreateLaunchTemplate(t.Context(), &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("t"), LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String("ami-0")}})
	must(err)
	_, err = groups.CreateAutoScalingGroup(t.Context(), &autoscaling.CreateAutoScalingGroupInput{AutoScalingGroupName: aws.String("g"), MinSize: aws.Int32(0), MaxSize: aws.Int32(2),
		DesiredCapacity: aws.Int32(1), VPCZoneIdentifier: subnets.Subnets[0].SubnetId, LaunchTemplate: &autotypes.LaunchTemplateSpecification{LaunchTemplateName: aws.String("t")}})
	must(err)
	members := func() (ids []string) {
		t.Helper()
		out, err := groups.DescribeAutoScalingGroups(t.Context(), nil)
		must(err)
		for _, i := range out.AutoScalingGroups[0].Instances {
			ids = append(ids, aws.ToString(i.InstanceId)+" "+aws.ToString(i.HealthStatus))
		}
		return ids
	}
	id := func(member string) *string { return aws.String(member[:len("i-")+17]) }
	first := members()
	if len(first) != 1 {
		t.Fatalf("launched: %v", first)
	}
	_, err = groups.SetInstanceHealth(t.Context(), &autoscaling.SetInstanceHealthInput{InstanceId: id(first[0]), HealthStatus: aws.String("Unhealthy")})
	must(err)
	second := members()
	if len(second) != 1 || second[0] == first[0] {
		t.Fatalf("replaced: %v, was %v", second, first)
	}
	_, err = groups.SuspendProcesses(t.Context(), &autoscaling.SuspendProcessesInput{AutoScalingGroupName: aws.String("g"), ScalingProcesses: []string{"ReplaceUnhealthy"}})
	must(err)
	_, err = groups.SetInstanceHealth(t.Context(), &autoscaling.SetInstanceHealthInput{InstanceId: id(second[0]), HealthStatus: aws.String("Unhealthy")})
	must(err)
	if third := members(); len(third) != 1 || *id(third[0]) != *id(second[0]) || !slices.Contains(third, *id(second[0])+" Unhealthy") {
		t.Errorf("suspended: %v, was %v", third, second)
	}
	_, err = groups.DeleteAutoScalingGroup(t.Context(), &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: aws.String("g")})
	if code(err) != "ResourceInUse" {
		t.Errorf("delete a group with an instance: %v", err)
	}
}

// TestLag: what was just made is not listed, and is there all the same.
func TestLag(t *testing.T) {
	_, cfg := configOf(t, awstest.Options{Lag: time.Hour})
	c := ec2.NewFromConfig(cfg)
	if _, err := c.CreateLaunchTemplate(t.Context(), &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("t"), LaunchTemplateData: &types.RequestLaunchTemplateData{}}); err != nil {
		t.Fatal(err)
	}
	out, err := c.DescribeLaunchTemplates(t.Context(), nil)
	if err != nil || len(out.LaunchTemplates) != 0 {
		t.Errorf("what was just made is listed: %+v %v", out, err)
	}
	_, err = c.CreateLaunchTemplate(t.Context(), &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("t"), LaunchTemplateData: &types.RequestLaunchTemplateData{}})
	if code(err) != "InvalidLaunchTemplateName.AlreadyExistsException" {
		t.Errorf("made again: %v", err)
	}
}
