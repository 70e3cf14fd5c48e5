package ec2

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/instance"
)

// TestKilledAtEveryCall kills a boot, a removal and a destruction at each request, before it is sent and after it was carried out. The
// next process ends it; each node is one instance, and what was made is gone in the end.
func TestKilledAtEveryCall(t *testing.T) {
	for _, late := range []bool{false, true} {
		runs := 0
		for at := 1; ; at++ {
			died := false
			t.Run(fmt.Sprintf("at %d, after %v", at, late), func(t *testing.T) {
				c := here(t, awstest.Options{Takes: 2 * time.Millisecond, Lag: 4 * time.Millisecond})
				spec := c.spec(2)
				if err := c.driver().Prepare(t.Context(), spec); err != nil { // kills within it are package ami's
					t.Fatal(err)
				}
				boot := func(d *Driver) error { _, err := d.Ensure(t.Context(), spec); return err }
				remove := func(d *Driver) error {
					return d.Remove(t.Context(), fleet.NodeID{Fleet: spec.Fleet, Node: spec.Nodes[0].Name}, time.Minute)
				}
				destroy := func(d *Driver) error { return d.Destroy(t.Context(), spec.Fleet) }
				killer := &awstest.Killer{At: at, After: late}
				d := c.driver(func(_ *Options, a *awsapi.Options) { a.Client, a.Tries = killer, 1 })
				for _, do := range []func(*Driver) error{boot, remove, destroy} {
					if err := do(d); err != nil && killer.Dead() {
						d = c.driver()
						c.settled() // a new process does not know what an old one launched a moment ago
						if err := do(d); err != nil {
							t.Fatalf("the next process: %v", err)
						}
					} else if err != nil {
						t.Fatal(err)
					}
				}
				died = killer.Dead()
				launched := c.launched()
				if len(launched) != 2 {
					t.Errorf("%d instances for 2 nodes: %v", len(launched), launched)
				}
			})
			if !died || t.Failed() {
				break
			}
			runs++
		}
		if runs < 20 {
			t.Errorf("only %d calls were killed", runs)
		}
	}
}

// settled waits until lists have what was launched.
func (c *cloud) settled() {
	c.t.Helper()
	c.eventually("all instances are listed", func() error {
		out, err := c.driver().ec2.DescribeInstances(c.t.Context(), nil)
		if err == nil && len(out.Reservations) != len(c.launched()) {
			err = fmt.Errorf("%d of %d", len(out.Reservations), len(c.launched()))
		}
		return err
	})
}

// launched are the instances that RunInstances gave, by its client tokens.
func (c *cloud) launched() map[string]bool {
	all := map[string]bool{}
	for _, call := range c.server.Calls() {
		if call.Action == "RunInstances" {
			all[call.Params.Get("ClientToken")] = true
		}
	}
	return all
}

// TestListsLag: nodes that are not listed yet are unknown, never absent, and are not launched again.
func TestListsLag(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Millisecond, Lag: 200 * time.Millisecond})
	d := c.driver(func(o *Options, _ *awsapi.Options) { o.Poll = 20 * time.Millisecond })
	spec := c.spec(2)
	done := make(chan error, 1)
	go func() { _, err := d.Ensure(t.Context(), spec); done <- err }()
	seen := 0
	for err := error(nil); ; {
		nodes := c.nodes(d, spec)
		if len(nodes) < seen {
			t.Fatalf("%d nodes after %d: %+v", len(nodes), seen, nodes)
		}
		seen = len(nodes)
		select {
		case err = <-done:
			if err != nil || len(c.launched()) != 2 {
				t.Fatalf("%d launches: %v", len(c.launched()), err)
			}
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestPowersOff: a node whose system ends by itself is gone, with what EC2 says of it.
func TestPowersOff(t *testing.T) {
	c := here(t, awstest.Options{})
	d := c.driver()
	spec, nodes := c.boot(d, 2)
	c.server.Shutdown(region, nodes[1].Host)
	left := c.nodes(d, spec)
	if len(left) != 2 || left[0].Presence != fleet.Present || left[1].Presence != fleet.Gone || left[1].Exit == nil || !strings.Contains(left[1].Exit.Reason, "InstanceInitiatedShutdown") {
		t.Errorf("%+v", left)
	}
}

// TestNoCapacity: the next zone, the next type, and on demand when there is no spot instance, each at once: a site is asked once.
func TestNoCapacity(t *testing.T) {
	c := here(t, awstest.Options{})
	var tried []string
	c.server.Intercept(func(call awstest.Call) *awstest.Fault {
		if call.Action != "RunInstances" {
			return nil
		}
		p := call.Params
		tried = append(tried, p.Get("InstanceMarketOptions.MarketType")+" "+p.Get("InstanceType")+" "+p.Get("SubnetId"))
		if p.Get("InstanceType") == "t3.micro" || p.Get("InstanceMarketOptions.MarketType") == "spot" {
			return &awstest.Fault{Status: 500, Code: "InsufficientInstanceCapacity", Message: "We currently do not have sufficient capacity."}
		}
		return nil
	})
	d := c.driver(func(o *Options, _ *awsapi.Options) { o.Place.Spot = 100 })
	spec := c.spec(1)
	nodes, err := d.Ensure(t.Context(), spec)
	if err != nil || len(nodes) != 1 {
		t.Fatalf("%+v %v", nodes, err)
	}
	if n := len(tried); n != 10 || !strings.HasPrefix(tried[0], "spot t3.micro") || !strings.HasPrefix(tried[3], "spot t3a.micro") || !strings.HasPrefix(tried[9], " t3a.micro") ||
		len(slices.Compact(slices.Clone(tried))) != n {
		t.Errorf("%d tries: %q", n, tried)
	}
}

// TestEnsurePartly: one node that cannot be booted does not keep the others from it, and the error names it.
func TestEnsurePartly(t *testing.T) {
	c := here(t, awstest.Options{})
	d := c.driver()
	spec := c.spec(2)
	spec.Nodes[1].Slot = 1 << 30
	nodes, err := d.Ensure(t.Context(), spec)
	if err == nil || !strings.Contains(err.Error(), spec.Nodes[1].Name) || len(nodes) != 1 || len(c.nodes(d, spec)) != 1 {
		t.Errorf("%+v %v", nodes, err)
	}
}

func TestSettings(t *testing.T) {
	c := here(t, awstest.Options{})
	d := c.driver()
	spec, nodes := c.boot(d, 1)
	got, err := instance.Parse([]byte(c.server.UserData(region, nodes[0].Host)))
	want := map[string]string{"LOG": "info", "KEY": "hush", "PORT": "8080"}
	if err != nil || got.Hostname != spec.Nodes[0].Name || !maps.Equal(got.Environment, want) {
		t.Errorf("user data %+v: %v", got, err)
	}
	for _, call := range c.server.Calls() { // secrets go into user data, which is base64, and nowhere else
		if strings.Contains(call.Params.Encode(), "hush") {
			t.Errorf("%s carries the secret in clear", call.Name())
		}
	}
	large := c.spec(1)
	large.Env["LARGE"] = strings.Repeat("x", mostSettings)
	if _, err := d.Ensure(t.Context(), large); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("settings that are too large: %v", err)
	}
}

func TestUnsupported(t *testing.T) {
	c := here(t, awstest.Options{})
	d := c.driver()
	before := len(c.server.Calls())
	for name, tt := range map[string]struct {
		change func(*fleet.Spec)
		want   fault.Code
	}{
		"a job":     {func(s *fleet.Spec) { s.Kind = fleet.Once }, fault.Unsupported},
		"a command": {func(s *fleet.Spec) { s.Command = []string{"/other"} }, fault.Unsupported},
		"a volume":  {func(s *fleet.Spec) { s.Volumes = []fleet.VolumeMount{{}} }, fault.Unsupported},
		"resources": {func(s *fleet.Spec) { s.Resources.CPUs = 1 }, fault.Invalid},
	} {
		spec := c.spec(1)
		tt.change(&spec)
		if err := d.Prepare(t.Context(), spec); fault.CodeOf(err) != tt.want {
			t.Errorf("prepare %s: %v", name, err)
		}
		if _, err := d.Ensure(t.Context(), spec); fault.CodeOf(err) != tt.want {
			t.Errorf("ensure %s: %v", name, err)
		}
	}
	if n := len(c.server.Calls()); n != before {
		t.Errorf("%d calls were made for what is refused", n-before)
	}
	spec := c.spec(1)
	spec.Image = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	if err := d.Prepare(t.Context(), spec); !errors.Is(err, fleet.ErrImageLacksTarget) {
		t.Errorf("an image without a machine: %v", err)
	}
}

func TestUnavailable(t *testing.T) {
	c := here(t, awstest.Options{})
	d := c.driver(func(_ *Options, a *awsapi.Options) { a.Client, a.Tries = &awstest.Killer{At: 1}, 1 })
	if _, err := d.Fleets(t.Context()); !errors.Is(err, fleet.ErrUnavailable) {
		t.Errorf("an endpoint that does not answer: %v", err)
	}
}

func TestSpotSlots(t *testing.T) {
	for _, percent := range []int{0, 1, 33, 50, 99, 100} {
		spot := 0
		for slot := range 300 {
			if spotSlot(slot, percent) {
				spot++
			}
			if want := (slot + 1) * percent / 100; spot != want {
				t.Fatalf("%d of %d slots at %d %%, want %d", spot, slot+1, percent, want)
			}
		}
	}
}
