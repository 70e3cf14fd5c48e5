// Package swarm plays an app on a Docker Swarm of several engines: the built binary, real engines on machines of their own.
package swarm

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/filters"
	dockerswarm "github.com/docker/docker/api/types/swarm"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/test/engines"
	"github.com/bootandshoot/release/test/harness"
	"github.com/bootandshoot/release/test/load"
)

// suite is set by TestMain, before any test runs.
var suite *harness.Suite

func TestMain(m *testing.M) { harness.Main(m, &suite) }

const (
	// patience is how long anything may take that a person would wait for.
	patience = time.Minute
	// lost is how long a host must be down until its nodes are replaced.
	lost = 5 * time.Second
)

// TestSwarm moves traffic between two fleets on a Swarm of three managers, kills the engine of one, the manager that the agent asks,
// and rolls back, and loses no request.
func TestSwarm(t *testing.T) {
	n := engines.NewNetwork(t)
	registry := n.Registry()
	list := n.Start("alpha", "beta", "gamma")
	n.Swarm(3, list...)
	in := suite.New(t, "swarm")
	settings(t, in, registry, list)
	in.WriteProject("swarm", 3, "cutover: {keep_previous: 30m, drain: {timeout: 5s}}\n")
	images := []string{in.Bake("v1"), in.Bake("v2")}
	in.Operate("launch", images[0])
	in.Operate("cutover")
	if on := hosts(in.Status()); len(on) != 3 {
		t.Errorf("three nodes are on %v", on)
	}
	report, err := load.During(t.Context(), load.Options{URL: "http://" + in.Listen + "/", Rate: 50, Duration: 3*patience + lost}, func() {
		in.Operate("launch", images[1])
		in.Operate("cutover", "--percent", "50")
		in.Operate("cutover")
		list[0].Kill()
		in.Until("nodes of alpha to be replaced", patience+lost, func() bool { return whole(in.Status(), 3, "alpha") })
		in.Operate("rollback")
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(report)
	if len(report.Failures) > 0 || report.Sent < 20 {
		t.Errorf("%d of %d requests failed, the first: %+v", len(report.Failures), report.Sent, report.Failures)
	}
	for _, version := range []string{"v1", "v2"} {
		if report.ByRelease[version] == 0 {
			t.Errorf("%s answered no request", version)
		}
	}
	named := names(in.Status())
	if at := services(t, list[1]); !slices.Equal(at, named) {
		t.Errorf("the nodes are %v, the Swarm's services %v", named, at)
	}
	if out := in.Must("logs", named[0]).Stdout; !strings.Contains(out, "hello listens") {
		t.Errorf("a node says:\n%s", out)
	}
	if out := in.Run("doctor").Stdout; !strings.Contains(out, "3 hosts, 3 managers; down: alpha") || !strings.Contains(out, registry+"/test/releases answers") {
		t.Errorf("doctor says:\n%s", out)
	}
	in.Must("destroy", "-y")
	if at := services(t, list[1]); len(at) > 0 {
		t.Errorf("services are left: %v", at)
	}
}

// settings names the managers and the registry to the agent.
func settings(t *testing.T, in *harness.Installation, registry string, list []*engines.Engine) {
	t.Helper()
	dir := filepath.Join(in.Dir, "config", "release")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var managers []string
	for _, e := range list {
		managers = append(managers, e.Local())
	}
	yaml := fmt.Sprintf("swarm: {managers: [%s], repository: %s/test/releases, plain_http: true, host_lost_after: %s}\n", strings.Join(managers, ", "), registry, lost)
	if err := os.WriteFile(filepath.Join(dir, "agent.yaml"), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	in.Env = append(in.Env, "XDG_CONFIG_HOME="+filepath.Join(in.Dir, "config"))
}

// hosts are those that nodes of the serving fleet are on.
func hosts(s api.StatusResult) map[string]int {
	on := map[string]int{}
	for _, fl := range s.Fleets {
		for _, n := range fl.Nodes {
			if fl.State == "serving" && n.State == "healthy" {
				on[n.Host]++
			}
		}
	}
	return on
}

// whole says whether every fleet has so many healthy nodes and no other, and none on a host.
func whole(s api.StatusResult, size int, without string) bool {
	for _, fl := range s.Fleets {
		if len(fl.Nodes) != size {
			return false
		}
		for _, n := range fl.Nodes {
			if n.State != "healthy" || n.Host == without {
				return false
			}
		}
	}
	return len(s.Fleets) > 0
}

// names are those of all nodes, sorted.
func names(s api.StatusResult) (list []string) {
	for _, fl := range s.Fleets {
		for _, n := range fl.Nodes {
			list = append(list, n.ID)
		}
	}
	slices.Sort(list)
	return list
}

// services are the names of those of ours that the Swarm has, sorted.
func services(t *testing.T, e *engines.Engine) (list []string) {
	t.Helper()
	found, err := e.Client().ServiceList(t.Context(), dockerswarm.ServiceListOptions{Filters: filters.NewArgs(filters.Arg("label", "release.installation"))})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range found {
		list = append(list, s.Spec.Name)
	}
	slices.Sort(list)
	return list
}
