package ec2

import (
	"net/http"
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
	awstest.Policies{Document: "../../docs/ec2.md", Tags: "ec2:CreateTags", Created: "ec2:CreateAction", Free: []string{"sts:GetCallerIdentity"},
		Makes: []string{"autoscaling:CreateAutoScalingGroup", "ebs:StartSnapshot", "ec2:CopyImage", "ec2:CreateLaunchTemplate", "ec2:RegisterImage", "ec2:RunInstances"},
	}.Hold(t, c.server.Calls())
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
