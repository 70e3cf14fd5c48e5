package awstest

import "testing"

// TestPolicyBounds: the test of the policy sees what is allowed too widely.
func TestPolicyBounds(t *testing.T) {
	p := Policies{Makes: []string{"ec2:RunInstances"}, Tags: "ec2:CreateTags", Created: "ec2:CreateAction"}
	tagged := func(on string) map[string]map[string]any {
		return map[string]map[string]any{"Null": {"aws:ResourceTag/release.installation": on}}
	}
	created := func(by ...any) map[string]map[string]any {
		return map[string]map[string]any{"StringEquals": {"ec2:CreateAction": by}}
	}
	for name, tt := range map[string]struct {
		action    string
		condition map[string]map[string]any
		want      bool
	}{
		"what looks":                {"ec2:DescribeImages", nil, true},
		"what makes":                {"ec2:RunInstances", nil, true},
		"what ends ours":            {"ec2:TerminateInstances", tagged("false"), true},
		"what ends anything":        {"ec2:TerminateInstances", nil, false},
		"what ends all but ours":    {"ec2:TerminateInstances", tagged("true"), false},
		"tags of what is made":      {"ec2:CreateTags", created("RunInstances"), true},
		"tags of anything":          {"ec2:CreateTags", nil, false},
		"tags of what others made":  {"ec2:CreateTags", created("CreateVolume"), false},
		"an attribute of any image": {"ec2:ModifyImageAttribute", created("RunInstances"), false},
	} {
		if got := p.bounds(statement{Condition: tt.condition}, tt.action); got != tt.want {
			t.Errorf("%s is bounded: %v", name, got)
		}
	}
}
