package ec2

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/internal/fault"
)

func TestExamine(t *testing.T) {
	c := here(t, awstest.Options{})
	fine := fleet.Placement{Types: []string{"t3.small"}, Subnets: c.subnets, Groups: []string{awstest.SecurityGroup}}
	for name, tt := range map[string]struct {
		change func(*fleet.Placement)
		deny   string
		with   awstest.Fault // no permission, if empty
		what   string        // the finding that is bad
		hint   string
	}{
		"all is well":            {},
		"the default network":    {change: func(p *fleet.Placement) { p.Subnets, p.Groups = nil, nil }},
		"a strange subnet":       {change: func(p *fleet.Placement) { p.Subnets = []string{"subnet-0"} }, what: "network", hint: "fleet.ec2.subnets"},
		"a strange group":        {change: func(p *fleet.Placement) { p.Groups = []string{"sg-0"} }, what: "network", hint: "security_groups"},
		"a strange type":         {change: func(p *fleet.Placement) { p.Types = []string{"huge"} }, what: "types", hint: "fleet.ec2.types"},
		"a type without UEFI":    {change: func(p *fleet.Placement) { p.Types = []string{"t2.small"} }, what: "types", hint: "Nitro"},
		"a type of arm64":        {change: func(p *fleet.Placement) { p.Types = []string{"t4g.small"} }, what: "types", hint: "without a g"},
		"no right to launch":     {deny: "RunInstances", what: "permissions", hint: `"ec2:RunInstances"`},
		"there is no such image": {deny: "RunInstances", with: awstest.Fault{Status: http.StatusBadRequest, Code: "InvalidAMIID.NotFound", Message: "The image id does not exist"}},
		"AWS cannot tell":        {deny: "RegisterImage", with: awstest.Fault{Status: http.StatusServiceUnavailable, Code: "Unavailable", Message: "The service is down."}, what: "permissions"},
		"it is not understood":   {deny: "CreateLaunchTemplate", with: awstest.Fault{Status: http.StatusBadRequest, Code: "InvalidParameterValue", Message: "A parameter is wrong."}, what: "permissions"},
		"the lists do not come":  {deny: "DescribeSnapshots", with: awstest.Fault{Status: http.StatusBadRequest, Code: "InvalidRequest", Message: "It is wrong."}, what: "permissions"},
		"no right to look":       {deny: "DescribeAutoScalingGroups", what: "permissions", hint: `"autoscaling:DescribeAutoScalingGroups"`},
		"expired, or nobody":     {deny: "GetCallerIdentity", what: "account", hint: "sts:GetCallerIdentity"},
		"no right to see a type": {deny: "DescribeInstanceTypes", what: "types", hint: "ec2:DescribeInstanceTypes"},
	} {
		c.server.Intercept(func(call awstest.Call) *awstest.Fault {
			if call.Action != tt.deny {
				return nil
			}
			if tt.with != (awstest.Fault{}) {
				return &tt.with
			}
			return &awstest.Fault{Status: http.StatusForbidden, Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation."}
		})
		p := fine
		if tt.change != nil {
			tt.change(&p)
		}
		before := len(c.server.Calls())
		for _, f := range c.driver(func(o *Options, _ *awsapi.Options) { o.Place = fleet.Placement{} }).Examine(t.Context(), p) {
			if (f.Err != nil) != (f.What == tt.what) {
				t.Errorf("%s: %s: %q %v", name, f.What, f.Is, f.Err)
			}
			if f.Err != nil && !strings.Contains(fault.All(f.Err)[0].Hint, tt.hint) {
				t.Errorf("%s: hint %q", name, fault.All(f.Err)[0].Hint)
			}
		}
		for _, call := range c.server.Calls()[before:] {
			if !strings.HasPrefix(call.Action, "Describe") && call.Action != "GetCallerIdentity" && call.Params.Get("DryRun") != "true" {
				t.Errorf("%s: %s was called", name, call.Name())
			}
		}
	}
}

// TestCollect: AMIs go by the rules of images, never one that a fleet is made of, and all that is tagged is found.
func TestCollect(t *testing.T) {
	c := here(t, awstest.Options{})
	d := c.driver(func(o *Options, _ *awsapi.Options) {
		o.CopyTo, o.ShareWith = []string{"us-west-2"}, []string{"111122223333"}
	})
	spec, _ := c.boot(d, 1)
	// An upload that died leaves a snapshot.
	kinds := func() map[string]int {
		all, err := d.Tagged(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n := map[string]int{}
		for _, one := range all {
			n[one.Kind]++
			if one.Installation != c.installation || one.Kind != "snapshot" && one.Image == "" && one.Kind != "auto scaling group" || one.Since.IsZero() {
				t.Errorf("%+v", one)
			}
		}
		return n
	}
	if n := kinds(); n["instance"] != 1 || n["launch template"] != 1 || n["auto scaling group"] != 1 || n["AMI"] != 1 || n["snapshot"] != 1 {
		t.Errorf("tagged: %v", n)
	}
	collect := func(what string, stays bool, has, dry bool) {
		t.Helper()
		all, err := d.Collect(t.Context(), func(image string) (bool, error) { return has && image == image1, nil }, dry)
		if err != nil || len(all) != 2 {
			t.Fatalf("%s: %+v %v", what, all, err)
		}
		for _, one := range all {
			if one.Kind != "AMI" || one.Keep != stays || one.Reason == "" {
				t.Errorf("%s: %+v", what, one)
			}
		}
	}
	collect("young", true, false, false)
	c.server.Age(2 * time.Hour)
	collect("a fleet is made of it", true, false, false)
	if err := d.Destroy(t.Context(), spec.Fleet); err != nil {
		t.Fatal(err)
	}
	collect("it is in the store", true, true, false)
	collect("a dry run", false, false, true)
	doubt := errors.New("the store cannot be read")
	if all, err := d.Collect(t.Context(), func(string) (bool, error) { return false, doubt }, false); !errors.Is(err, doubt) || len(all) != 0 {
		t.Errorf("what nobody can tell: %+v %v", all, err)
	}
	collect("nobody needs it", false, false, false)
	if n := kinds(); len(n) != 0 {
		t.Errorf("left: %v", n)
	}
	if all, err := d.Collect(t.Context(), func(string) (bool, error) { return false, nil }, false); err != nil || len(all) != 0 {
		t.Errorf("again: %+v %v", all, err)
	}
}
