package ec2

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/test/harness"
	"github.com/bootandshoot/release/test/load"
)

// suite is set by TestMain, before any test runs.
var suite *harness.Suite

func TestMain(m *testing.M) { harness.Main(m, &suite) }

// patience bounds every wait: bakes of machines on a busy machine are slow.
const patience = 4 * time.Minute

// TestStory lives a day of an app on EC2 behind a load balancer, under load: bake, upload, launch, a canary at 10 % that is aborted, cutover,
// rollback, a node that ends and one that falls ill, the end. The agent is killed at the first call of each kind to AWS, before or after it was
// carried out, and started again as a service manager does it; commands are repeated as a person does it. No request is lost but those that the
// balancer sent to a node that had died, each node is one instance, nothing is left over.
func TestStory(t *testing.T) {
	c := balance(t, begin(t))
	v1, v2 := c.bake("v1"), c.bake("v2")
	keeper := keep(t, c.cloud)
	c.server.Intercept(keeper.kills)
	c.operate(0, "launch", v1)
	c.operate(0, "cutover")
	var dead death
	report, err := load.During(t.Context(), load.Options{URL: "http://" + c.Listen + "/", Rate: 30, Duration: 15 * patience}, func() {
		c.ill(v2, true)
		c.operate(3, "launch", v2) // its gate fails: users stay where they are
		c.serves("r1")
		c.ill(v2, false)
		c.operate(0, "launch", v2)
		c.operate(0, "cutover", "--percent", "10")
		c.share("v2", 10)
		c.operate(0, "rollback", "--to", "r1")
		c.serves("r1")
		c.operate(0, "cutover", "r3")
		c.serves("r3")
		c.operate(0, "rollback")
		c.serves("r1")
		c.replaced("an instance that ends", func(n api.Node) {
			dead = death{address: n.Address, at: time.Now()}
			c.server.Shutdown(region, n.Host)
		})
		dead.until = time.Now()
		c.replaced("an instance that falls ill", func(n api.Node) { c.ill(n.ID, true) })
		c.replaced("an instance that a person has replaced", func(n api.Node) { c.operate(0, "replace", n.ID) })
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(report)
	if report.ByRelease["v1"] == 0 || report.ByRelease["v2"] == 0 {
		t.Errorf("by release %v", report.ByRelease)
	}
	c.lostOnly(report, dead)
	c.eachOnce()
	if out := c.Must("doctor", "--orphans"); !strings.Contains(out.Stdout, "accounted for") {
		t.Errorf("doctor finds\n%s", out.Stdout)
	}
	c.operate(0, "destroy", "-y")
	c.server.Intercept(nil)
	c.cleared()
	c.collected(v1, v2)
	if died := keeper.died(); len(died) < leastKills {
		t.Errorf("the agent was killed at %d calls: %v", len(died), died)
	} else {
		t.Logf("the agent was killed at %v", died)
	}
}

// leastKills is how many kinds of calls a day has at least.
const leastKills = 25

// replaced does something to a node that serves and waits until another one serves in its place.
func (c *cloud) replaced(what string, do func(api.Node)) {
	c.t.Helper()
	victim := harness.Serving(c.status())[0]
	do(victim)
	c.Until(what+" to be replaced", patience, func() bool {
		nodes := harness.Serving(c.status())
		return len(nodes) == size && !slices.ContainsFunc(nodes, func(n api.Node) bool { return n.ID == victim.ID })
	})
}

// eachOnce holds that each node is one instance, and each instance that lives a node.
func (c *cloud) eachOnce() {
	c.t.Helper()
	var hosts []string
	c.Until("each node to be one instance", patience, func() bool {
		hosts = nil
		for _, fl := range c.status().Fleets {
			for _, n := range fl.Nodes {
				hosts = append(hosts, n.Host)
			}
		}
		slices.Sort(hosts)
		return slices.Equal(hosts, c.server.Living(region))
	})
	if len(hosts) < 2*size {
		c.t.Errorf("%d nodes of a serving and a warm fleet", len(hosts))
	}
}

// collected removes the images, and holds that nothing is left at AWS.
func (c *cloud) collected(images ...string) {
	c.t.Helper()
	if living := c.server.Living(region); len(living) != 0 {
		c.t.Errorf("instances are left: %v", living)
	}
	if out := c.Must("images", "gc"); strings.Contains(out.Stdout, "removed  AMI") {
		c.t.Errorf("AMIs went whose images are there:\n%s", out.Stdout)
	}
	c.server.Age(2 * time.Hour)
	for _, image := range images {
		c.Must("images", "rm", image)
	}
	if out := c.Must("doctor", "--orphans"); !strings.Contains(out.Stdout, "release images gc") {
		c.t.Errorf("doctor does not find AMIs without an image:\n%s", out.Stdout)
	}
	c.Must("images", "gc")
	if left := c.server.Left(region); len(left) != 0 {
		c.t.Errorf("left at AWS: %s", fmt.Sprint(left))
	}
}

// TestNothingIsAsked: an agent without an app on EC2 asks nobody at AWS, and needs no credentials.
func TestNothingIsAsked(t *testing.T) {
	c := begin(t)
	c.WriteProject("sandbox", 1, "")
	c.Operate("up", "--timeout", "2m", c.container())
	c.Must("doctor")
	c.Must("images", "gc")
	if calls := c.server.Calls(); len(calls) != 0 {
		t.Errorf("%d calls, the first: %s", len(calls), calls[0].Name())
	}
}

// TestRefusedEarly: what is missing is said before a release is made.
func TestRefusedEarly(t *testing.T) {
	c := begin(t)
	c.server.Intercept(func(call awstest.Call) *awstest.Fault {
		if call.Action != "GetCallerIdentity" {
			return nil
		}
		return &awstest.Fault{Status: 403, Code: "ExpiredToken", Message: "The security token included in the request is expired"}
	})
	var res api.OperationResult
	if code := c.JSON(&res, "launch", c.container()); code != 1 || res.Error == nil || !strings.Contains(res.Error.Hint, "expired") {
		t.Errorf("expired credentials: %d %+v", code, res.Error)
	}
	c.server.Intercept(nil)
	if code := c.JSON(&res, "launch", c.container()); code != 3 && code != 1 || res.Error == nil || !strings.Contains(res.Error.Message+res.Error.Hint, "container") {
		t.Errorf("a container: %d %+v", code, res.Error)
	}
	c.Write("release.yaml", strings.Replace(c.Read("release.yaml"), "types: [t3.micro, t3a.micro]", "types: [t2.micro]", 1))
	if out := c.Run("doctor"); out.Code != 1 || !strings.Contains(out.Stdout, "UEFI") {
		t.Errorf("doctor of a type without UEFI: %d\n%s", out.Code, out.Stdout)
	}
}
