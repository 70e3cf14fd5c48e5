// Package agents plays several agents with one store in Consul: the built binary, real Consul servers, real containers. Each
// agent has folders of its own and a router of its own, as on a machine of its own; the engine is one that all of them reach.
package agents

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/test/harness"
	"github.com/bootandshoot/release/test/tools/consultest"
)

// suite is set by TestMain, before any test runs.
var suite *harness.Suite

func TestMain(m *testing.M) { harness.Main(m, &suite) }

// cluster is some agents that share a store. They end in the order of their leads, which the test cares for.
type cluster struct {
	t      *testing.T
	consul *consultest.Cluster
	client *consultest.Member
}

func newCluster(t *testing.T, servers int) *cluster {
	t.Helper()
	return clusterOf(t, consultest.Options{Servers: servers})
}

func clusterOf(t *testing.T, opts consultest.Options) *cluster {
	t.Helper()
	c := &cluster{t: t, consul: consultest.Start(t, opts)}
	host := ""
	if opts.Host != nil {
		host = opts.Host()
	}
	c.client = c.consul.ClientAt(host)
	return c
}

// agent makes an installation's folders and settings, with more of them; its agent starts with the first command.
func (c *cluster) agent(driver string, more ...string) *harness.Installation {
	c.t.Helper()
	in := suite.New(c.t, driver)
	settings := filepath.Join(in.Dir, "config", "release")
	if err := os.MkdirAll(settings, 0o755); err != nil {
		c.t.Fatal(err)
	}
	yaml := storeAt(c.client) + strings.Join(more, "")
	if err := os.WriteFile(filepath.Join(settings, "agent.yaml"), []byte(yaml), 0o600); err != nil {
		c.t.Fatal(err)
	}
	in.Env = append(in.Env, "XDG_CONFIG_HOME="+filepath.Join(in.Dir, "config"))
	return in
}

// storeAt are the settings of a store at a member of Consul.
func storeAt(m *consultest.Member) string {
	return fmt.Sprintf("store: {consul: {address: %q}}\n", m.Address)
}

// edge runs a router that follows Consul, as on a machine of its own with more variables, until the test ends.
func (c *cluster) edge(in *harness.Installation, variables ...string) {
	c.edgeIn(in, "edge", append([]string{"env"}, variables...)...)
}

// edgeIn is edge with a folder of that name, settings in NAME.yaml beside it if there are any, started by a command before its own if enter has one.
func (c *cluster) edgeIn(in *harness.Installation, name string, enter ...string) {
	c.t.Helper()
	command := append(slices.Clone(enter), in.Binary, "router", "run", "--consul", "--dir", filepath.Join(in.Dir, name))
	if settings := filepath.Join(in.Dir, name+".yaml"); exists(settings) {
		command = append(command, "--settings", settings)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env, cmd.Dir = in.Env, in.Dir
	log := &bytes.Buffer{}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if c.t.Failed() {
			c.t.Logf("%s said:\n%s", name, log)
		}
	})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// standBy starts an agent that does not lead.
func standBy(t *testing.T, in *harness.Installation, leader string) {
	t.Helper()
	var res api.StatusResult
	if code := in.JSON(&res, "status"); code != 1 || res.Error == nil || res.Error.Code != "unavailable" || !strings.Contains(res.Error.Message, leader+" leads") {
		t.Fatalf("status of a standby: exit code %d, %+v", code, res.Error)
	}
	a := in.Agent()
	if a.Role != api.RoleStandby || a.Leader != leader || a.Why != "" {
		t.Fatalf("standby: %+v", a)
	}
	if out := in.Must("agent", "status").Stdout; !strings.Contains(out, "stands by as "+a.Name+": "+leader+" leads") {
		t.Errorf("agent status says:\n%s", out)
	}
}

// leads waits until an agent leads, and says how long that took.
func leads(t *testing.T, in *harness.Installation, within time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	for time.Since(began) < within {
		if in.Agent().Role == api.RoleLeader {
			return time.Since(began)
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("it does not lead within %s: %+v\n%s", within, in.Agent(), in.Run("agent", "logs").Stdout)
	return 0
}

// kill ends a process as a crash does.
func kill(t *testing.T, pid int) {
	t.Helper()
	if pid == 0 {
		t.Fatal("no process to kill")
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// containers are the names of the installation's containers at the engine, sorted.
func containers(t *testing.T, installation string) []string {
	t.Helper()
	out, err := exec.Command("docker", "ps", "--all", "--filter", "label=release.installation="+installation, "--format", "{{.Names}}").Output()
	if err != nil {
		t.Fatalf("list containers: %v", err)
	}
	names := strings.Fields(string(out))
	slices.Sort(names)
	return names
}

// nodes are the names of the nodes in a status, sorted; all of them must be healthy.
func nodes(t *testing.T, s api.StatusResult) []string {
	t.Helper()
	var names []string
	for _, fl := range s.Fleets {
		for _, n := range fl.Nodes {
			if n.State != "healthy" {
				t.Errorf("node %s is %s", n.ID, n.State)
			}
			names = append(names, n.ID)
		}
	}
	slices.Sort(names)
	return names
}
