// Package hosts plays one agent with several Docker hosts: the built binary, real engines on machines of their own, reached by ssh
// and by TLS, and requests all the while.
package hosts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/test/engines"
	"github.com/bootandshoot/release/test/harness"
)

// suite is set by TestMain, before any test runs.
var suite *harness.Suite

func TestMain(m *testing.M) { harness.Main(m, &suite) }

// cluster is an installation and its hosts. The first is reached by ssh, the others by TLS.
type cluster struct {
	*harness.Installation
	t     *testing.T
	hosts []*engines.Engine
}

func newCluster(t *testing.T, names ...string) *cluster {
	t.Helper()
	net := engines.NewNetwork(t)
	c := &cluster{t: t, hosts: net.Start(names...)}
	ssh := sshServer(t, c.hosts[0])
	c.Installation = suite.New(t, "docker")
	yaml := "docker_hosts:\n" + ssh
	for _, e := range c.hosts[1:] {
		yaml += fmt.Sprintf("  %s: {certs: %q}\n", e.Address, net.Certs())
	}
	settings := filepath.Join(c.Dir, "config", "release")
	if err := os.MkdirAll(settings, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(settings, "agent.yaml"), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Env = append(c.Env, "XDG_CONFIG_HOME="+filepath.Join(c.Dir, "config"))
	c.project(names...)
	return c
}

// project writes release.yaml with these hosts.
func (c *cluster) project(names ...string) {
	c.t.Helper()
	var urls []string
	for i, e := range c.hosts {
		url := e.TCP()
		if i == 0 {
			url = "ssh://root@" + e.Address
		}
		if slices.Contains(names, e.Name) {
			urls = append(urls, strconv.Quote(url))
		}
	}
	c.WriteProject(fmt.Sprintf("docker, hosts: [%s], host_lost_after: 6s", strings.Join(urls, ", ")), len(names),
		"cutover: {keep_previous: 0s, drain: {timeout: 5s}}\n")
}

// sshServer starts one on an engine's machine, and gives the entry of agent.yaml by which only its key opens it.
func sshServer(t *testing.T, e *engines.Engine) string {
	t.Helper()
	if _, err := os.Stat("/usr/sbin/sshd"); err != nil {
		t.Fatal("sshd is missing: apt-get install openssh-server")
	}
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	for _, key := range []string{"host", "user"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file(key)).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v\n%s", err, out)
		}
	}
	public, err := os.ReadFile(file("host.pub"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"known_hosts": e.Address + " " + string(public),
		"sshd_config": fmt.Sprintf("ListenAddress %s\nHostKey %s\nAuthorizedKeysFile %s\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\nMaxStartups 100\n",
			e.Address, file("host"), file("user.pub")),
	} {
		if err := os.WriteFile(file(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Run("mkdir -p /run/sshd; exec /usr/sbin/sshd -D -e -f " + file("sshd_config")); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("  %s: {identity: %q, known_hosts: %q}\n", e.Address, file("user"), file("known_hosts"))
}

// on is how many live nodes of a release a host has, by the host's name.
func (c *cluster) on(release string) map[string]int {
	c.t.Helper()
	found := map[string]int{}
	for _, fl := range c.Status().Fleets {
		for _, n := range fl.Nodes {
			if fl.Release == release && n.State == "healthy" {
				found[n.Host]++
			}
		}
	}
	named := map[string]int{}
	for _, e := range c.hosts {
		if n := found[e.Address]; n > 0 {
			named[e.Name] = n
		}
	}
	return named
}

// containers are those of the installation that an engine has, running or not.
func (c *cluster) containers(e *engines.Engine) []string {
	c.t.Helper()
	out, err := exec.Command("docker", "-H", e.Local(), "ps", "--all", "--filter", "label=release.node", "--format", "{{.Names}} {{.State}}").Output()
	if err != nil {
		c.t.Fatalf("list containers of %s: %v", e.Name, err)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
}

// known is what host list says of a host.
func (c *cluster) known(e *engines.Engine) api.Host {
	c.t.Helper()
	var res struct {
		Hosts []api.Host `json:"hosts"`
	}
	if code := c.JSON(&res, "host", "status", e.Address); code != 0 || len(res.Hosts) != 1 {
		c.t.Fatalf("host status %s: %d, %+v", e.Address, code, res)
	}
	return res.Hosts[0]
}
