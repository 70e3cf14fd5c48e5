package ec2

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/ec2/awstest"
)

func sameNodes(t *testing.T, want, got []fleet.Node) {
	t.Helper()
	if !slices.EqualFunc(want, got, func(a, b fleet.Node) bool {
		return a.ID == b.ID && a.Host == b.Host && a.Slot == b.Slot && a.Image == b.Image && a.Address == b.Address && a.Presence == b.Presence
	}) {
		t.Errorf("nodes:\n%+v\nwere\n%+v", got, want)
	}
}

// TestConformanceFleet holds at any endpoint (AWS_ENDPOINT_URL): the contract of a driver, as far as it can be seen without booting anything.
func TestConformanceFleet(t *testing.T) {
	c := anywhere(t)
	d := c.driver()
	spec, first := c.boot(d, 2)
	for i, n := range first {
		if n.ID != (fleet.NodeID{Fleet: spec.Fleet, Node: spec.Nodes[i].Name}) || n.Slot != spec.Nodes[i].Slot || n.Image != spec.Image || n.Presence != fleet.Present ||
			n.Host == "" || n.Address == "" || n.Since.IsZero() || n.Exit != nil {
			t.Errorf("node %+v", n)
		}
	}
	if first[0].Address == first[1].Address {
		t.Errorf("two nodes at %s", first[0].Address)
	}
	sameNodes(t, first, c.nodes(d, spec))
	for _, d := range []*Driver{d, c.driver()} { // again, and by the agent after a crash
		again, err := d.Ensure(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		sameNodes(t, first, again)
	}
	more := spec
	more.Nodes = []fleet.NodeSpec{{Name: c.installation + "-more", Slot: 99}}
	if added, err := d.Ensure(t.Context(), more); err != nil || len(added) != 1 {
		t.Fatalf("one more: %+v %v", added, err)
	}
	if all := c.nodes(d, spec); len(all) != 3 {
		t.Fatalf("%d nodes, want 3", len(all))
	}
	fleets, err := d.Fleets(t.Context())
	if err != nil || len(fleets) != 1 || fleets[0].ID != spec.Fleet || fleets[0].Nodes != 3 {
		t.Errorf("fleets: %+v %v", fleets, err)
	}
	if scope, err := c.driver().Scope(t.Context()); err != nil || scope == "" {
		t.Errorf("scope %q: %v", scope, err)
	}
	for range 2 {
		if err := d.Destroy(t.Context(), spec.Fleet); err != nil {
			t.Fatal(err)
		}
	}
	if left := c.nodes(d, spec); len(left) != 0 {
		t.Errorf("destroyed nodes are listed: %+v", left)
	}
	if fleets, err := c.driver().Fleets(t.Context()); err != nil || len(fleets) != 0 {
		t.Errorf("destroyed fleets are listed: %+v %v", fleets, err)
	}
}

// TestElsewhere: the tests that hold at any endpoint make there what an account lacks: a network, and an image without the EBS direct APIs.
func TestElsewhere(t *testing.T) {
	awstest.Elsewhere(t, awstest.Options{NoBlocks: true}, "^TestConformance(Fleet|Ours)$", "ec2:CreateVolume", "ec2:CreateSnapshot", "ec2:DeleteVolume")
}

func TestConformanceEnsureAtOnce(t *testing.T) {
	c := anywhere(t)
	d := c.driver()
	spec := c.spec(4)
	var wg sync.WaitGroup
	results := make([][]fleet.Node, 3)
	for i := range results {
		wg.Go(func() {
			nodes, err := d.Ensure(t.Context(), spec)
			if err != nil {
				t.Errorf("ensure: %v", err)
			}
			results[i] = nodes
		})
	}
	wg.Wait()
	all := c.nodes(d, spec)
	if len(all) != 4 {
		t.Errorf("%d nodes, want 4", len(all))
	}
	for _, r := range results {
		sameNodes(t, all, r)
	}
}

func TestConformanceRemove(t *testing.T) {
	c := anywhere(t)
	d := c.driver()
	spec, nodes := c.boot(d, 2)
	for _, grace := range []time.Duration{10 * time.Second, 0} { // the second time it is absent
		if err := d.Remove(t.Context(), nodes[0].ID, grace); err != nil {
			t.Fatal(err)
		}
	}
	sameNodes(t, nodes[1:], c.nodes(d, spec))
	if err := d.Remove(t.Context(), fleet.NodeID{Fleet: fleet.FleetID{App: "no", Env: "such", Role: "web", Release: "r1", Incarnation: 1}, Node: "never"}, 0); err != nil {
		t.Errorf("remove of a node that never was: %v", err)
	}
	// One that ended without us is gone, with a reason, and Ensure returns it as it is.
	if _, err := d.ec2.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{nodes[1].Host}}); err != nil {
		t.Fatal(err)
	}
	c.eventually("the node is gone", func() error {
		if left := c.nodes(d, spec); len(left) != 1 || left[0].Presence != fleet.Gone || left[0].Exit == nil || left[0].Exit.Reason == "" {
			return fmt.Errorf("%+v", left)
		}
		return nil
	})
	one := spec
	one.Nodes = spec.Nodes[1:]
	if again, err := d.Ensure(t.Context(), one); err != nil || len(again) != 1 || again[0].Presence != fleet.Gone {
		t.Errorf("ensure of a node that is gone: %+v %v", again, err)
	}
	if err := d.Remove(t.Context(), nodes[1].ID, 0); err != nil {
		t.Fatal(err)
	}
	if left := c.nodes(d, spec); len(left) != 0 {
		t.Errorf("removed nodes are listed: %+v", left)
	}
}

// TestConformanceOurs: another installation sees and touches nothing.
func TestConformanceOurs(t *testing.T) {
	c := anywhere(t)
	spec, nodes := c.boot(c.driver(), 1)
	mine := c.installation
	c.installation += "-other"
	other := c.driver()
	c.installation = mine
	if fleets, err := other.Fleets(t.Context()); err != nil || len(fleets) != 0 {
		t.Errorf("fleets: %+v %v", fleets, err)
	}
	if seen := c.nodes(other, spec); len(seen) != 0 {
		t.Errorf("nodes: %+v", seen)
	}
	if err := errors.Join(other.Destroy(t.Context(), spec.Fleet), other.Remove(t.Context(), nodes[0].ID, 0)); err != nil {
		t.Errorf("what is not there: %v", err)
	}
	sameNodes(t, nodes, c.nodes(c.driver(), spec))
}

// TestConformanceGroup: the group holds the nodes that serve, wants as many as it has, and replaces nothing.
func TestConformanceGroup(t *testing.T) {
	c := anywhere(t)
	d := c.driver()
	spec, nodes := c.boot(d, 3)
	wants := func(what string, n int) {
		t.Helper()
		out, err := d.groups.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{d.nameOf(spec.Fleet)}})
		if err != nil || len(out.AutoScalingGroups) != 1 {
			t.Fatalf("%s: %+v %v", what, out, err)
		}
		g := out.AutoScalingGroups[0]
		if len(g.Instances) != n || aws.ToInt32(g.DesiredCapacity) != int32(n) {
			t.Errorf("%s: %d instances, wants %d; want %d", what, len(g.Instances), aws.ToInt32(g.DesiredCapacity), n)
		}
		if len(g.SuspendedProcesses) != len(suspended) {
			t.Errorf("%s: suspended are %+v", what, g.SuspendedProcesses)
		}
	}
	wants("launched", 3)
	if err := d.ReportHealth(t.Context(), nodes[0].ID, false); err != nil {
		t.Fatal(err)
	}
	wants("one is unhealthy", 3)
	if err := d.ReportHealth(t.Context(), nodes[0].ID, true); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := d.Quarantine(t.Context(), nodes[1].ID); err != nil {
			t.Fatal(err)
		}
	}
	wants("one is in quarantine", 2)
	sameNodes(t, nodes, c.nodes(d, spec)) // it runs on
	if _, err := d.Ensure(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	wants("one is in quarantine and was asked for", 2)
	if err := d.ReportHealth(t.Context(), nodes[1].ID, true); !errors.Is(err, fleet.ErrNoNode) {
		t.Errorf("the health of a node in quarantine: %v", err)
	}
	if err := d.leave(t.Context(), spec.Fleet, nodes[0].Host); err != nil {
		t.Fatal(err)
	}
	if err := d.ReportHealth(t.Context(), nodes[0].ID, true); !errors.Is(err, fleet.ErrNoNode) {
		t.Errorf("the health of a node that somebody took out of the group: %v", err)
	}
	if _, err := d.Ensure(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(t.Context(), nodes[2].ID, 0); err != nil {
		t.Fatal(err)
	}
	wants("one is removed", 1)
}
