package ec2

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/internal/fault"
)

// single is the spec with one of its nodes, as the orchestrator asks for each.
func (c *cloud) single(spec fleet.Spec, i int) fleet.Spec {
	spec.Nodes = spec.Nodes[i : i+1]
	return spec
}

// TestBootedTogether: nodes that are asked for one by one are launched all at once, none after another one runs. What they are launched from
// is made once.
func TestBootedTogether(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Second})
	const nodes = 8
	spec := c.spec(nodes)
	d := c.driver()
	if err := d.Prepare(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range nodes {
		wg.Go(func() {
			if booted, err := d.Ensure(t.Context(), c.single(spec, i)); err != nil || len(booted) != 1 || booted[0].Presence != fleet.Present {
				t.Errorf("node %d: %+v %v", i, booted, err)
			}
		})
	}
	c.eventually("all are launched while the first one is pending", func() error {
		if n := len(c.launched()); n < nodes {
			return fmt.Errorf("%d of %d", n, nodes)
		}
		return nil
	})
	for _, m := range c.machinesOf(d, spec) {
		if m.state != types.InstanceStateNamePending {
			t.Errorf("%s is %s already", m.id, m.state)
		}
	}
	wg.Wait()
	made := map[string]int{}
	for _, call := range c.server.Calls() {
		made[call.Action]++
	}
	if made["CreateLaunchTemplate"] != 1 || made["CreateAutoScalingGroup"] != 1 || made["RunInstances"] != nodes {
		t.Errorf("calls: %v", made)
	}
}

func (c *cloud) machinesOf(d *Driver, spec fleet.Spec) []machine {
	c.t.Helper()
	all, err := d.machines(c.t.Context(), &spec.Fleet)
	if err != nil {
		c.t.Fatal(err)
	}
	return all
}

// doomed is the client of a process that dies when a test says so: no answer reaches it from then on.
type doomed struct{ dead atomic.Bool }

func (d *doomed) Do(r *http.Request) (*http.Response, error) {
	if d.dead.Load() {
		return nil, awstest.ErrKilled
	}
	answer, err := http.DefaultClient.Do(r)
	if err == nil && d.dead.Load() {
		_ = answer.Body.Close()
		return nil, awstest.ErrKilled
	}
	return answer, err
}

// TestTwins: a process dies after AWS had no room at the first site and gave an instance at the second one; the next process finds room at the
// first. One of the two is the node, whatever lists say meanwhile, and it is the one that is in the group; the next Ensure removes the other.
func TestTwins(t *testing.T) {
	c := here(t, awstest.Options{})
	spec := c.spec(1)
	client, refused := &doomed{}, false
	c.server.Intercept(func(call awstest.Call) *awstest.Fault {
		if call.Action != "RunInstances" || client.dead.Load() {
			return nil
		}
		if refused {
			client.dead.Store(true) // it is launched, and nobody hears of it
			return nil
		}
		refused = true
		return &awstest.Fault{Status: 500, Code: "InsufficientInstanceCapacity", Message: "We currently do not have sufficient capacity."}
	})
	_, _ = c.driver(func(_ *Options, a *awsapi.Options) { a.Client, a.Tries = client, 1 }).Ensure(t.Context(), spec)
	if !client.dead.Load() || len(c.server.Living(region)) != 1 {
		t.Fatalf("the first process: dead %v, %v", client.dead.Load(), c.server.Living(region))
	}
	d := c.driver()
	first := c.server.Living(region)[0]
	c.server.Hide(region, first, true)
	nodes, err := d.Ensure(t.Context(), spec) // the list lacks what the first one launched
	c.server.Hide(region, first, false)
	if err != nil || len(nodes) != 1 {
		t.Fatalf("the next process: %+v %v", nodes, err)
	}
	serving := nodes[0].Host
	for _, d := range []*Driver{d, c.driver()} { // who looks removes nothing
		sameNodes(t, nodes, c.nodes(d, spec))
		if fleets, err := d.Fleets(t.Context()); err != nil || len(fleets) != 1 || fleets[0].Nodes != 1 {
			t.Errorf("fleets: %+v %v", fleets, err)
		}
		if err := d.ReportHealth(t.Context(), nodes[0].ID, true); err != nil {
			t.Error(err)
		}
		if living := c.server.Living(region); len(living) != 2 {
			t.Fatalf("a list leaves %v", living)
		}
	}
	if again, err := c.driver().Ensure(t.Context(), spec); err != nil {
		t.Fatal(err)
	} else {
		sameNodes(t, nodes, again)
	}
	c.eventually("one instance is left", func() error {
		sameNodes(t, nodes, c.nodes(d, spec))
		if living := c.server.Living(region); len(living) != 1 {
			return fmt.Errorf("%v", living)
		}
		return nil
	})
	if living := c.server.Living(region); !slices.Equal(living, []string{serving}) {
		t.Errorf("%v stays, and %s serves", living, serving)
	}
	sameNodes(t, nodes, c.nodes(c.driver(), spec))
}

// TestChosen: which of several instances a name is.
func TestChosen(t *testing.T) {
	const running, pending, stopped = types.InstanceStateNameRunning, types.InstanceStateNamePending, types.InstanceStateNameStopped
	for name, tt := range map[string]struct {
		states []types.InstanceStateName // by age; ids are their indexes
		in     string                    // id in the group
		want   string
	}{
		"the oldest":               {[]types.InstanceStateName{running, running}, "", "0"},
		"one that runs":            {[]types.InstanceStateName{pending, running}, "", "1"},
		"the one in the group":     {[]types.InstanceStateName{running, pending}, "1", "1"},
		"not one that stopped":     {[]types.InstanceStateName{stopped, pending}, "0", "1"},
		"stopped, and none beside": {[]types.InstanceStateName{stopped, stopped}, "1", "1"},
	} {
		var all []machine
		for i, s := range tt.states {
			all = append(all, machine{id: fmt.Sprint(i), state: s})
		}
		if got := choose(all, map[string]bool{tt.in: true}); got.id != tt.want {
			t.Errorf("%s: %s", name, got.id)
		}
	}
}

// TestListedOnce: a node that was listed, and is missing from the next list, is unknown and not gone, for as long as lists may take; it is
// neither booted again nor forgotten.
func TestListedOnce(t *testing.T) {
	c := here(t, awstest.Options{})
	d := c.driver()
	spec, nodes := c.boot(d, 2)
	c.server.Hide(region, nodes[0].Host, true)
	left := c.nodes(d, spec)
	if len(left) != 2 || left[0].Presence != fleet.Unknown || left[0].ID != nodes[0].ID || left[0].Address != nodes[0].Address || left[1].Presence != fleet.Present {
		t.Errorf("one is missing from a list: %+v", left)
	}
	if again, err := d.Ensure(t.Context(), spec); err != nil || len(again) != 2 || len(c.server.Living(region)) != 2 {
		t.Errorf("ensure: %+v %v, %v", again, err, c.server.Living(region))
	}
	c.server.Hide(region, nodes[0].Host, false)
	sameNodes(t, nodes, c.nodes(d, spec))

	hasty := c.driver(func(o *Options, _ *awsapi.Options) { o.Settles = time.Nanosecond })
	sameNodes(t, nodes, c.nodes(hasty, spec))
	c.server.Hide(region, nodes[0].Host, true)
	sameNodes(t, nodes[1:], c.nodes(hasty, spec)) // its time is over
	c.server.Hide(region, nodes[0].Host, false)

	if err := d.Remove(t.Context(), nodes[0].ID, 0); err != nil {
		t.Fatal(err)
	}
	sameNodes(t, nodes[1:], c.nodes(d, spec)) // what we ended is not missed
}

// TestDestroyedMeanwhile: a fleet that is destroyed while its nodes are launched leaves nothing, and nothing is launched for it again.
func TestDestroyedMeanwhile(t *testing.T) {
	for _, lag := range []time.Duration{0, 20 * time.Millisecond} {
		c := here(t, awstest.Options{Takes: 20 * time.Millisecond, Lag: lag})
		spec := c.spec(16)
		d := c.driver()
		if err := d.Prepare(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		begun := make(chan struct{})
		var once sync.Once
		c.server.Intercept(func(call awstest.Call) *awstest.Fault {
			if call.Action == "RunInstances" {
				once.Do(func() { close(begun) })
			}
			return nil
		})
		var wg sync.WaitGroup
		for i := range spec.Nodes {
			wg.Go(func() { _, _ = d.Ensure(t.Context(), c.single(spec, i)) })
		}
		<-begun
		if err := d.Destroy(t.Context(), spec.Fleet); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if living := c.server.Living(region); len(living) != 0 {
			t.Errorf("%d instances live in a destroyed fleet", len(living))
		}
		if _, err := d.Ensure(t.Context(), spec); !fault.Is(err, fault.Conflict) {
			t.Errorf("ensure of a destroyed fleet: %v", err)
		}
		if _, err := c.driver().Ensure(t.Context(), fleet.Spec{}); err != nil {
			t.Error(err)
		}
	}
}

// TestChangedSecret: a launch that nobody heard of counts, though a secret is another one when it is tried again.
func TestChangedSecret(t *testing.T) {
	c := here(t, awstest.Options{Lag: 30 * time.Millisecond})
	spec := c.spec(1)
	if err := c.driver().Prepare(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	client := &doomed{}
	c.server.Intercept(func(call awstest.Call) *awstest.Fault {
		if call.Action == "RunInstances" {
			client.dead.Store(true)
		}
		return nil
	})
	_, _ = c.driver(func(_ *Options, a *awsapi.Options) { a.Client, a.Tries = client, 1 }).Ensure(t.Context(), spec)
	spec.Secrets = map[string]string{"KEY": "another"}
	d := c.driver()
	c.eventually("the node runs", func() error {
		nodes, err := d.Ensure(t.Context(), spec)
		if err != nil && !errors.Is(err, fleet.ErrUnavailable) {
			t.Fatal(err)
		}
		if err == nil && len(nodes) != 1 {
			err = fmt.Errorf("%+v", nodes)
		}
		return err
	})
	if living := c.server.Living(region); len(living) != 1 {
		t.Errorf("%v for one node", living)
	}
}

// TestPrepareReports: progress is in bytes and rises; an image that is there needs no disk.
func TestPrepareReports(t *testing.T) {
	c := here(t, awstest.Options{})
	var told []fleet.Progress
	spec := c.spec(1)
	if err := c.driver().PrepareReporting(t.Context(), spec, func(p fleet.Progress) { told = append(told, p) }); err != nil {
		t.Fatal(err)
	}
	if last := told[len(told)-1]; last.Done != last.Total || last.Total == 0 || last.Doing == "" {
		t.Errorf("the last word is %+v", last)
	}
	without := c.driver(func(o *Options, _ *awsapi.Options) {
		o.Disk = func(context.Context, string) (Disk, error) {
			return Disk{}, errors.New("the disk is on another machine")
		}
	})
	if nodes, err := without.Ensure(t.Context(), spec); err != nil || len(nodes) != 1 {
		t.Errorf("by an agent that does not have the disk: %+v %v", nodes, err)
	}
}

// TestPlacement: what a spec says comes before what the options say, and the default network before nothing.
func TestPlacement(t *testing.T) {
	c := here(t, awstest.Options{})
	d := c.driver(func(o *Options, _ *awsapi.Options) { o.Place = fleet.Placement{Groups: []string{"sg-1"}} })
	spec := c.spec(1)
	if err := d.Prepare(t.Context(), spec); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "instance type") {
		t.Errorf("no type: %v", err)
	}
	spec.Placement = fleet.Placement{Types: []string{"m5.large"}, Groups: []string{awstest.SecurityGroup}, Profile: "node"}
	if err := d.Prepare(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Ensure(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	for _, call := range c.server.Calls() {
		p := call.Params
		switch call.Action {
		case "RunInstances":
			if p.Get("InstanceType") != "m5.large" || p.Get("SubnetId") == "" {
				t.Errorf("launched as %v", p)
			}
		case "CreateLaunchTemplate":
			if p.Get("LaunchTemplateData.SecurityGroupId.1") != awstest.SecurityGroup || p.Get("LaunchTemplateData.IamInstanceProfile.Name") != "node" {
				t.Errorf("template %v", p)
			}
		}
	}
}
