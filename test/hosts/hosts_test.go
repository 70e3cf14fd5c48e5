package hosts

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/test/load"
)

// TestHosts is a bad day of three hosts, with requests all the while: one loses its power and a release goes out without it, the
// engine of another is killed, a host is drained, and what came back is cleaned up.
func TestHosts(t *testing.T) {
	c := newCluster(t, "alpha", "beta", "gamma")
	alpha, beta, gamma := c.hosts[0], c.hosts[1], c.hosts[2]
	c.Bake("v1")
	c.examined(map[string]string{alpha.Address: "ok", beta.Address: "ok", gamma.Address: "ok"})
	c.Operate("up")
	c.spread("r1", map[string]int{"alpha": 1, "beta": 1, "gamma": 1})
	if h := c.known(beta); h.State != api.HostAnswers || len(h.Nodes) != 1 || h.Nodes[0].State != "healthy" {
		t.Errorf("host status says %+v", h)
	}

	c.Bake("v2")
	c.loaded("a host without power, and a cutover", func() {
		gamma.PowerOff()
		c.Operate("up")
		c.settled("r2", map[string]int{"alpha": 2, "beta": 1}, map[string]int{"alpha": 1, "beta": 2})
	})
	c.Until("the host to be known as away", 30*time.Second, func() bool { return c.known(gamma).State == api.HostAway })
	c.examined(map[string]string{gamma.Address: "fail"})
	gamma.PowerOn()
	c.Until("what was left on it to be removed, and the host to be known as back", time.Minute, func() bool {
		return len(c.containers(gamma)) == 0 && c.known(gamma).State == api.HostAnswers // else nodes go to the others
	})

	c.loaded("an engine killed", func() {
		beta.Kill()
		c.settled("r2", map[string]int{"alpha": 2, "gamma": 1}, map[string]int{"alpha": 1, "gamma": 2})
	})
	beta.Restart()
	c.Until("what was left at it to be removed, and the host to be known as back", time.Minute, func() bool {
		return len(c.containers(beta)) == 0 && c.known(beta).State == api.HostAnswers // else nodes go to the others
	})

	c.loaded("a host drained", func() {
		c.Must("host", "drain", alpha.Address)
		c.settled("r2", map[string]int{"beta": 1, "gamma": 2}, map[string]int{"beta": 2, "gamma": 1})
		c.Until("the host to be empty", time.Minute, func() bool { return len(c.known(alpha).Nodes) == 0 && len(c.containers(alpha)) == 0 })
	})
	c.Must("host", "drain", alpha.Address, "--undo")
	if h := c.known(alpha); h.Drained {
		t.Errorf("it is still drained: %+v", h)
	}
	c.Bake("v3")
	c.Operate("up")
	c.spread("r3", map[string]int{"alpha": 1, "beta": 1, "gamma": 1})
}

// TestUnplugged cuts the network line of a host that serves: what runs there runs on, unseen, and calls of it hang instead of failing.
// Its node is made up for elsewhere; when the line is mended the one that was left is removed. Requests that went there before its node
// had left the route are answered by the other one.
func TestUnplugged(t *testing.T) {
	c := newCluster(t, "alpha", "beta")
	beta := c.hosts[1]
	c.Bake("v1")
	c.Operate("up")
	c.spread("r1", map[string]int{"alpha": 1, "beta": 1})
	left := c.containers(beta)
	c.loaded("a host unplugged", func() {
		beta.Unplug()
		c.settled("r1", map[string]int{"alpha": 2})
	})
	if h := c.known(beta); h.State != api.HostAway || len(h.Nodes) != 0 {
		t.Errorf("host status says %+v", h)
	}
	if now := c.containers(beta); len(left) != 1 || !slices.Equal(now, left) {
		t.Errorf("the host had %v, and has %v", left, now)
	}
	beta.Plug()
	c.Until("what was left on it to be removed, and the host to be known as back", time.Minute, func() bool {
		return len(c.containers(beta)) == 0 && c.known(beta).State == api.HostAnswers
	})
	c.spread("r1", map[string]int{"alpha": 2})
}

// loaded lets something happen while users ask, who must not notice.
func (c *cluster) loaded(what string, happens func()) {
	c.t.Helper()
	report, err := load.During(context.Background(), load.Options{URL: "http://" + c.Listen + "/", Rate: 50}, happens)
	if err != nil {
		c.t.Error(err)
	}
	c.t.Logf("%s: %s", what, report)
	if len(report.Failures) > 0 || report.Sent < 10 {
		c.t.Errorf("%s: %d of %d requests failed, the first: %+v", what, len(report.Failures), report.Sent, report.Failures)
	}
}

// spread says where the healthy nodes of a release must be.
func (c *cluster) spread(release string, want map[string]int) {
	c.t.Helper()
	if got := c.on(release); !maps.Equal(got, want) {
		c.t.Errorf("nodes of %s are on %v, want %v\n%s", release, got, want, c.Run("status").Stdout)
	}
}

// settled waits until a release has its nodes in one of these ways, and nothing is under way.
func (c *cluster) settled(release string, ways ...map[string]int) {
	c.t.Helper()
	c.Until("the nodes to be elsewhere", time.Minute, func() bool {
		got := c.on(release)
		s := c.Status()
		for _, want := range ways {
			if maps.Equal(got, want) && s.Operation == nil && len(s.Fleets) == 1 {
				return true
			}
		}
		return false
	})
}

// examined says what doctor must find of hosts.
func (c *cluster) examined(want map[string]string) {
	c.t.Helper()
	var res api.DoctorResult
	c.JSON(&res, "doctor")
	found := map[string]string{}
	for _, ch := range res.Checks {
		if name, ok := strings.CutPrefix(ch.Name, "host "); ok && found[name] == "" {
			found[name] = ch.State
			c.t.Logf("doctor: %s: %s", name, ch.Message)
		}
	}
	for name, state := range want {
		if found[name] != state {
			c.t.Errorf("doctor finds %s to be %q, want %q", name, found[name], state)
		}
	}
}
