package awstest

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// Region is what Variables name.
const Region = "eu-central-1"

// Variables have AWS's own tools, and all that does as they do, use an endpoint and nothing else.
func Variables(endpoint string) map[string]string {
	return map[string]string{"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": Region, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_SESSION_TOKEN": "",
		"AWS_PROFILE": "", "AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true"}
}

// Use has this process use the server until the test ends.
func (s *Server) Use(t testing.TB) {
	t.Helper()
	for name, value := range Variables(s.URL) {
		t.Setenv(name, value)
	}
}

// Foreign is whether AWS_ENDPOINT_URL names an endpoint that tests are to use instead of a server of theirs. What they need besides, a
// region and credentials, gets a value where it has none: emulators take any.
func Foreign(t testing.TB) bool {
	t.Helper()
	if os.Getenv("AWS_ENDPOINT_URL") == "" {
		return false
	}
	given := os.Getenv("AWS_ACCESS_KEY_ID")+os.Getenv("AWS_PROFILE")+os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE")+os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI") != ""
	for name, value := range Variables("") {
		if missing := os.Getenv(name) == ""; missing && name == "AWS_REGION" || missing && !given && (name == "AWS_ACCESS_KEY_ID" || name == "AWS_SECRET_ACCESS_KEY") {
			t.Setenv(name, value)
		}
	}
	return true
}

// Eventually polls until check is content, which it says: within a minute at a server of ours, within ten at a foreign endpoint, for which
// the server is nil.
func (s *Server) Eventually(t testing.TB, what string, check func() error) bool {
	t.Helper()
	deadline, pause := time.Now().Add(time.Minute), 5*time.Millisecond
	if s == nil {
		deadline, pause = time.Now().Add(10*time.Minute), 500*time.Millisecond
	}
	for {
		err := check()
		if err == nil {
			return true
		}
		if time.Now().After(deadline) {
			t.Errorf("%s: %v", what, err)
			return false
		}
		time.Sleep(pause)
	}
}

// Subnets are two or more of one network, in two zones at least: those of the default network, or, where an endpoint has none, of one that
// is made and goes with the test.
func Subnets(t testing.TB, cfg aws.Config) (ids []string) {
	t.Helper()
	c := ec2.NewFromConfig(cfg)
	found, err := c.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{Filters: []ec2types.Filter{{Name: aws.String("default-for-az"), Values: []string{"true"}}}})
	if err == nil && len(found.Subnets) >= 2 {
		for _, n := range found.Subnets {
			ids = append(ids, aws.ToString(n.SubnetId))
		}
		return ids
	}
	t.Logf("there is no default network with two subnets (%v): one is made", err)
	zones, err := c.DescribeAvailabilityZones(t.Context(), nil)
	if err != nil || len(zones.AvailabilityZones) < 2 {
		t.Fatalf("two zones are needed: %+v %v", zones, err)
	}
	network, err := c.CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("172.31.0.0/16")})
	if err != nil {
		t.Fatalf("make a network: %v", err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if _, err := c.DeleteVpc(ctx, &ec2.DeleteVpcInput{VpcId: network.Vpc.VpcId}); err != nil {
			t.Errorf("delete the network: %v", err)
		}
	})
	for i, block := range []string{"172.31.0.0/20", "172.31.16.0/20"} {
		n, err := c.CreateSubnet(t.Context(), &ec2.CreateSubnetInput{VpcId: network.Vpc.VpcId, CidrBlock: &block, AvailabilityZone: zones.AvailabilityZones[i].ZoneName})
		if err != nil {
			t.Fatalf("make a subnet: %v", err)
		}
		t.Cleanup(func() {
			ctx := context.WithoutCancel(t.Context())
			if _, err := c.DeleteSubnet(ctx, &ec2.DeleteSubnetInput{SubnetId: n.Subnet.SubnetId}); err != nil {
				t.Errorf("delete a subnet: %v", err)
			}
		})
		ids = append(ids, aws.ToString(n.Subnet.SubnetId))
	}
	return ids
}

// Balancer makes a load balancer that listens on ports and answers 404, as whoever sets an account up does. It stays.
func Balancer(t testing.TB, cfg aws.Config, name string, ports ...int) (arn string) {
	t.Helper()
	c := elb.NewFromConfig(cfg)
	made, err := c.CreateLoadBalancer(t.Context(), &elb.CreateLoadBalancerInput{Name: &name, Subnets: Subnets(t, cfg)[:2]})
	if err != nil || len(made.LoadBalancers) != 1 {
		t.Fatalf("make a load balancer: %+v %v", made, err)
	}
	arn = aws.ToString(made.LoadBalancers[0].LoadBalancerArn)
	for _, port := range ports {
		if _, err := c.CreateListener(t.Context(), &elb.CreateListenerInput{LoadBalancerArn: &arn, Port: aws.Int32(int32(port)), Protocol: types.ProtocolEnumHttp, DefaultActions: NotFound()}); err != nil {
			t.Fatalf("make a listener on port %d: %v", port, err)
		}
	}
	return arn
}

// NotFound is what a listener does with requests that no route is for.
func NotFound() []types.Action {
	return []types.Action{{Type: types.ActionTypeEnumFixedResponse, FixedResponseConfig: &types.FixedResponseActionConfig{StatusCode: aws.String("404"), ContentType: aws.String("text/plain")}}}
}

// NoBlocks is why an endpoint has no EBS direct APIs, which some emulators lack; nil: it has.
func NoBlocks(t testing.TB, cfg aws.Config) error {
	t.Helper()
	c := ebs.NewFromConfig(cfg, func(o *ebs.Options) { o.RetryMaxAttempts = 1 })
	made, err := c.StartSnapshot(t.Context(), &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1), Description: aws.String("a test looks whether this is possible")})
	if err != nil {
		return err
	}
	ctx := context.WithoutCancel(t.Context())
	if _, err := c.CompleteSnapshot(ctx, &ebs.CompleteSnapshotInput{SnapshotId: made.SnapshotId, ChangedBlocksCount: aws.Int32(0)}); err != nil {
		return err
	}
	if _, err := ec2.NewFromConfig(cfg).DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: made.SnapshotId}); err != nil {
		t.Logf("snapshot %s is left: %v", aws.ToString(made.SnapshotId), err)
	}
	return nil
}
