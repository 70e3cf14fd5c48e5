package ec2

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/ec2/ami"
	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
)

// TestPolicy compares the policy of docs/ec2.md with the calls that are made from a disk to a fleet and back to nothing.
func TestPolicy(t *testing.T) {
	c := here(t, awstest.Options{})
	c.story()
	made := map[string]bool{}
	for _, call := range c.server.Calls() {
		if call.Name() != "sts:GetCallerIdentity" { // needs no permission
			made[call.Name()] = true
		}
	}
	allowed := policy(t)
	for name := range made {
		if !slices.Contains(allowed, name) {
			t.Errorf("%s is called, and the policy does not allow it", name)
		}
	}
	for _, name := range allowed {
		if !made[name] {
			t.Errorf("%s is allowed, and never called", name)
		}
	}
}

// statement is one of a policy.
type statement struct {
	Sid, Effect, Resource string
	Action                []string
	Condition             map[string]map[string]any
}

// policy is what the document allows.
func policy(t *testing.T) (allowed []string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/ec2.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```json\n")
	block, _, ended := strings.Cut(rest, "```")
	var p struct{ Statement []statement }
	if err := json.Unmarshal([]byte(block), &p); err != nil || !found || !ended {
		t.Fatalf("docs/ec2.md has no policy: %v", err)
	}
	sids := map[string]bool{}
	for _, s := range p.Statement {
		if !slices.IsSorted(s.Action) {
			t.Errorf("not in order: %v", s.Action)
		}
		if s.Sid == "" || sids[s.Sid] || s.Effect != "Allow" || s.Resource != "*" {
			t.Errorf("statement %q: effect %q, resource %q, or there is another one of that name", s.Sid, s.Effect, s.Resource)
		}
		sids[s.Sid] = true
		for _, action := range s.Action {
			if !s.bounds(action) {
				t.Errorf("%s allows %s on what does not carry our tag: condition %v", s.Sid, action, s.Condition)
			}
		}
		allowed = append(allowed, s.Action...)
	}
	return allowed
}

// makes are the actions on what is not there yet, which can have no tag.
var makes = []string{"autoscaling:CreateAutoScalingGroup", "ebs:StartSnapshot", "ec2:CopyImage", "ec2:CreateLaunchTemplate", "ec2:RegisterImage", "ec2:RunInstances"}

// bounds is whether an action changes nothing, makes something, tags what one of those makes, or is for what carries our tag.
func (s statement) bounds(action string) bool {
	if on, tagged := s.Condition["Null"]["aws:ResourceTag/release.installation"]; tagged {
		return on == "false" && len(s.Condition) == 1
	}
	if action == "ec2:CreateTags" {
		by, _ := s.Condition["StringEquals"]["ec2:CreateAction"].([]any)
		return len(by) > 0 && !slices.ContainsFunc(by, func(one any) bool { return !slices.Contains(makes, fmt.Sprint("ec2:", one)) })
	}
	_, verb, _ := strings.Cut(action, ":")
	return strings.HasPrefix(verb, "Describe") || slices.Contains(makes, action)
}

// TestPolicyBounds: the test of the policy sees what is allowed too widely.
func TestPolicyBounds(t *testing.T) {
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
		if got := (statement{Condition: tt.condition}).bounds(tt.action); got != tt.want {
			t.Errorf("%s is bounded: %v", name, got)
		}
	}
}

// story is all that can be done, once.
func (c *cloud) story() {
	t := c.t
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	spec := c.spec(2)
	if err := c.driver(func(_ *Options, a *awsapi.Options) { a.Client, a.Tries = &deaf{}, 1 }).Prepare(t.Context(), spec); err == nil {
		t.Fatal("an upload whose end nobody heard ended well")
	}
	d := c.driver()
	for _, f := range d.Examine(t.Context(), fleet.Placement{Groups: []string{awstest.SecurityGroup}}) {
		must(f.Err)
	}
	must(d.Prepare(t.Context(), spec))
	nodes, err := d.Ensure(t.Context(), spec)
	must(err)
	_, err = d.Scope(t.Context())
	must(err)
	must(d.ReportHealth(t.Context(), nodes[0].ID, true))
	must(d.Quarantine(t.Context(), nodes[0].ID))
	must(d.Remove(t.Context(), nodes[1].ID, time.Minute))
	images, err := d.opts.Images.Images(t.Context())
	must(err)
	other, err := d.opts.Images.Copy(t.Context(), images[0], "us-west-2")
	must(err)
	must(d.opts.Images.Share(t.Context(), other, "111122223333"))
	must(d.opts.Images.Remove(t.Context(), other))
	var orphans []ami.Snapshot
	orphans, err = d.opts.Images.Orphans(t.Context())
	must(err)
	if len(orphans) != 0 {
		t.Errorf("orphans: %+v", orphans)
	}
	c.clean()
}

// deaf is a client that dies when it has told a snapshot to complete.
type deaf struct{ dead bool }

func (d *deaf) Do(r *http.Request) (*http.Response, error) {
	if d.dead {
		return nil, awstest.ErrKilled
	}
	answer, err := http.DefaultClient.Do(r)
	if err == nil && strings.Contains(r.URL.Path, "/completion/") {
		d.dead = true
		_ = answer.Body.Close()
		return nil, awstest.ErrKilled
	}
	return answer, err
}
