package awstest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
)

// balanced is a load balancer with a listener and two target groups.
type balanced struct {
	*elb.Client
	t                        *testing.T
	balancer, listener, a, b string
}

func balance(t *testing.T, cfg aws.Config) *balanced {
	c := &balanced{Client: elb.NewFromConfig(cfg), t: t}
	subnets, err := ec2.NewFromConfig(cfg).DescribeSubnets(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	made, err := c.CreateLoadBalancer(t.Context(), &elb.CreateLoadBalancerInput{Name: aws.String("front"), Subnets: []string{*subnets.Subnets[0].SubnetId, *subnets.Subnets[1].SubnetId}})
	if err != nil {
		t.Fatal(err)
	}
	c.balancer = *made.LoadBalancers[0].LoadBalancerArn
	c.a, c.b = c.group("a"), c.group("b")
	listener, err := c.CreateListener(t.Context(), &elb.CreateListenerInput{LoadBalancerArn: &c.balancer, Port: aws.Int32(80), Protocol: types.ProtocolEnumHttp, DefaultActions: forward(c.a)})
	if err != nil {
		t.Fatal(err)
	}
	c.listener = *listener.Listeners[0].ListenerArn
	return c
}

func (c *balanced) group(name string) string {
	c.t.Helper()
	out, err := c.CreateTargetGroup(c.t.Context(), &elb.CreateTargetGroupInput{Name: &name, Protocol: types.ProtocolEnumHttp, Port: aws.Int32(80), VpcId: aws.String("vpc-0"), TargetType: types.TargetTypeEnumIp})
	if err != nil {
		c.t.Fatal(err)
	}
	return *out.TargetGroups[0].TargetGroupArn
}

func forward(arns ...string) []types.Action {
	to := &types.ForwardActionConfig{}
	for _, arn := range arns {
		to.TargetGroups = append(to.TargetGroups, types.TargetGroupTuple{TargetGroupArn: &arn, Weight: aws.Int32(1)})
	}
	return []types.Action{{Type: types.ActionTypeEnumForward, ForwardConfig: to}}
}

func (c *balanced) rule(priority int32, action []types.Action, paths ...string) (string, error) {
	out, err := c.CreateRule(c.t.Context(), &elb.CreateRuleInput{ListenerArn: &c.listener, Priority: &priority, Actions: action,
		Conditions: []types.RuleCondition{{Field: aws.String("path-pattern"), PathPatternConfig: &types.PathPatternConditionConfig{Values: paths}}}})
	if err != nil {
		return "", err
	}
	return *out.Rules[0].RuleArn, nil
}

// TestBalancerRefuses: what the service refuses is refused by its codes.
func TestBalancerRefuses(t *testing.T) {
	_, cfg := configOf(t, awstest.Options{})
	c := balance(t, cfg)
	first, err := c.rule(10, forward(c.a, c.b), "/x")
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.rule(11, forward(c.b), "/y")
	if err != nil {
		t.Fatal(err)
	}
	var six []string
	for i := range 6 {
		six = append(six, c.group(fmt.Sprintf("g%d", i)))
	}
	_, taken := c.rule(10, forward(c.a), "/y")
	_, many := c.rule(12, forward(six...), "/y")
	_, values := c.rule(13, forward(c.a), "/1", "/2", "/3", "/4", "/5", "/6")
	_, missing := c.rule(14, forward("arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/x/0"), "/y")
	_, used := c.DeleteTargetGroup(t.Context(), &elb.DeleteTargetGroupInput{TargetGroupArn: &c.b})
	_, name := c.DescribeTargetGroups(t.Context(), &elb.DescribeTargetGroupsInput{Names: []string{"none"}})
	_, other := c.CreateTargetGroup(t.Context(), &elb.CreateTargetGroupInput{Name: aws.String("a"), Protocol: types.ProtocolEnumHttp, Port: aws.Int32(81), VpcId: aws.String("vpc-0"), TargetType: types.TargetTypeEnumIp})
	_, loopback := c.RegisterTargets(t.Context(), &elb.RegisterTargetsInput{TargetGroupArn: &c.a, Targets: []types.TargetDescription{{Id: aws.String("127.0.0.1")}}})
	_, tag := c.AddTags(t.Context(), &elb.AddTagsInput{ResourceArns: []string{c.a}, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("{}")}}})
	_, half := c.SetRulePriorities(t.Context(), &elb.SetRulePrioritiesInput{RulePriorities: []types.RulePriorityPair{{RuleArn: &first, Priority: aws.Int32(11)}}})
	for i, tt := range []struct {
		err  error
		want string
	}{{taken, "PriorityInUse"}, {many, "TooManyTargetGroups"}, {values, "ValidationError"}, {missing, "TargetGroupNotFound"}, {used, "ResourceInUse"},
		{name, "TargetGroupNotFound"}, {other, "DuplicateTargetGroupName"}, {loopback, "ValidationError"}, {tag, "ValidationError"}, {half, "PriorityInUse"}} {
		if got := code(tt.err); got != tt.want {
			t.Errorf("%d: %v: code %q, want %q", i, tt.err, got, tt.want)
		}
	}
	// Two may change places at once.
	if _, err := c.SetRulePriorities(t.Context(), &elb.SetRulePrioritiesInput{RulePriorities: []types.RulePriorityPair{{RuleArn: &first, Priority: aws.Int32(11)}, {RuleArn: &second, Priority: aws.Int32(10)}}}); err != nil {
		t.Error(err)
	}
	if again := c.group("a"); again != c.a {
		t.Errorf("the same group again is %s, was %s", again, c.a)
	}
}

// TestTargets: initial, healthy, unhealthy, draining, gone; and unused while nothing forwards to them.
func TestTargets(t *testing.T) {
	s, cfg := configOf(t, awstest.Options{Takes: 20 * time.Millisecond})
	c := balance(t, cfg)
	one := []types.TargetDescription{{Id: aws.String("172.31.0.9"), Port: aws.Int32(8080)}}
	state := func(group string) string {
		out, err := c.DescribeTargetHealth(t.Context(), &elb.DescribeTargetHealthInput{TargetGroupArn: &group})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.TargetHealthDescriptions) == 0 {
			return "gone"
		}
		return string(out.TargetHealthDescriptions[0].TargetHealth.State)
	}
	eventually := func(group, want string) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); state(group) != want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("it is %s, want %s", state(group), want)
			}
		}
	}
	for _, g := range []string{c.a, c.b} {
		if _, err := c.RegisterTargets(t.Context(), &elb.RegisterTargetsInput{TargetGroupArn: &g, Targets: one}); err != nil {
			t.Fatal(err)
		}
	}
	if got := state(c.b); got != "unused" {
		t.Errorf("a target that nothing forwards to is %s", got)
	}
	eventually(c.a, "healthy")
	s.Sicken(region, "172.31.0.9", "Target.Timeout")
	eventually(c.a, "unhealthy")
	delay := []types.TargetGroupAttribute{{Key: aws.String("deregistration_delay.timeout_seconds"), Value: aws.String("1")}}
	if _, err := c.ModifyTargetGroupAttributes(t.Context(), &elb.ModifyTargetGroupAttributesInput{TargetGroupArn: &c.a, Attributes: delay}); err != nil {
		t.Fatal(err)
	}
	left := time.Now()
	if _, err := c.DeregisterTargets(t.Context(), &elb.DeregisterTargetsInput{TargetGroupArn: &c.a, Targets: one}); err != nil {
		t.Fatal(err)
	}
	if got := state(c.a); got != "draining" {
		t.Errorf("a target that leaves is %s", got)
	}
	eventually(c.a, "gone")
	if took := time.Since(left); took < time.Second {
		t.Errorf("an idle target drained in %s, before the deregistration delay was over", took)
	}
}

// TestMetricData: sums and percentiles by the minute, in the protocol that the SDK speaks; errors by their codes.
func TestMetricData(t *testing.T) {
	s, cfg := configOf(t, awstest.Options{})
	c := balance(t, cfg)
	minute := time.Now().UTC().Truncate(time.Minute).Add(-5 * time.Minute)
	for i := range 100 {
		status := 200
		if i < 3 {
			status = 503
		}
		s.Count(region, "a", awstest.Sample{At: minute.Add(time.Duration(i) * time.Millisecond), Status: status, Seconds: float64(i+1) / 100})
	}
	ask := func(metric, stat string) (*cloudwatch.GetMetricDataOutput, error) {
		return cloudwatch.NewFromConfig(cfg).GetMetricData(t.Context(), &cloudwatch.GetMetricDataInput{StartTime: aws.Time(minute), EndTime: aws.Time(minute.Add(2 * time.Minute)),
			MetricDataQueries: []cwtypes.MetricDataQuery{{Id: aws.String("m"), MetricStat: &cwtypes.MetricStat{Period: aws.Int32(60), Stat: &stat, Metric: &cwtypes.Metric{
				Namespace: aws.String("AWS/ApplicationELB"), MetricName: &metric, Dimensions: []cwtypes.Dimension{
					{Name: aws.String("TargetGroup"), Value: aws.String(c.a[len("arn:aws:elasticloadbalancing:eu-central-1:123456789012:"):])},
					{Name: aws.String("LoadBalancer"), Value: aws.String(c.balancer[len("arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/"):])}}}}}}})
	}
	for _, tt := range []struct {
		metric, stat string
		want         float64
	}{{"RequestCount", "Sum", 100}, {"HTTPCode_Target_5XX_Count", "Sum", 3}, {"TargetResponseTime", "p90", .9}} {
		out, err := ask(tt.metric, tt.stat)
		if err != nil {
			t.Fatal(err)
		}
		if r := out.MetricDataResults[0]; len(r.Values) != 1 || r.Values[0] != tt.want || !r.Timestamps[0].Equal(minute) {
			t.Errorf("%s %s: %+v", tt.metric, tt.stat, r)
		}
	}
	if _, err := ask("RequestCount", "strange"); code(err) != "ValidationError" {
		t.Errorf("a strange statistic: %v", err)
	}
	s.Intercept(func(awstest.Call) *awstest.Fault {
		return &awstest.Fault{Status: 400, Code: "AccessDenied", Message: "no"}
	})
	if _, err := ask("RequestCount", "Sum"); code(err) != "AccessDenied" {
		t.Errorf("a denied call: %v", err)
	}
}
