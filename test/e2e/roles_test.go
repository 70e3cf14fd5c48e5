package e2e

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/test/harness"
)

// writeRoles writes an app of a page that asks an inner service, a worker, and something that stays over releases.
func writeRoles(in *harness.Installation, listen, live, version, store string) {
	in.Write("release.yaml", fmt.Sprintf(`app: hello
recipe: recipe.yaml
fleet: {driver: sandbox, size: 1, stop: {grace: 5s}}
roles:
  web: {needs: [api, store], health: {http: {path: /healthz}}, route: {listen: "%s"}}
  api: {recipe: api.yaml, internal: true, health: {http: {path: /healthz}}}
  worker: {cmd: [/hello, work]}
  store: {recipe: store.yaml, accessory: true, internal: true, fleet: {env: {VERSION: "%s"}}}
cutover: {keep_previous: 10m, drain: {timeout: 2s, close_within: 1s}}
environments:
  live: {promote: production, roles: {web: {route: {listen: "%s"}}}}
`, listen, store, live))
	recipe := "base: scratch\ncopy: [{from: ./bin/hello, to: /hello}]\nports: [8080]\nentrypoint: [/hello]\n"
	in.Write("recipe.yaml", "name: hello\n"+recipe+"env: {VERSION: web-"+version+"}\n")
	in.Write("api.yaml", "name: api\n"+recipe+"env: {VERSION: api-"+version+"}\n")
	in.Write("store.yaml", "name: store\n"+recipe)
}

// TestRoles releases an app of several roles, twice, and goes back.
func TestRoles(t *testing.T) {
	in := suite.New(t, quick)
	live := harness.FreeAddress(t)
	in.BuildHello("v1")
	writeRoles(in, in.Listen, live, "1", "s1")
	if up := in.Operate("up"); up.Release != "r1" || up.Percent != 100 {
		t.Fatalf("up: %+v", up)
	}
	asks(t, in.Listen, "/", "web-1")
	asks(t, in.Listen, "/of/api", "api-1")
	asks(t, in.Listen, "/of/store", "s1")
	asks(t, in.Listen, "/of/web", "no RELEASE_ADDR_WEB")
	stores := nodesOf(in, "r1", "store")
	if again := in.Operate("up"); again.Operation != "" {
		t.Errorf("up with nothing changed: %+v", again)
	}

	writeRoles(in, in.Listen, live, "2", "s1")
	in.Must("bake", "-q")
	in.Operate("launch")
	if got := nodesOf(in, "r2", "store"); len(got) > 0 || len(nodesOf(in, "r2", "worker")) != 1 {
		t.Errorf("the launch booted a store %v, or no worker", got)
	}
	in.Operate("cutover", "--percent", "50")
	for _, r := range in.Status().Routes {
		if r.Role != "store" && (len(r.Weights) != 2 || r.Weights[0].Percent != 50) {
			t.Errorf("the route of %s has %+v", r.Role, r.Weights)
		}
	}
	in.Operate("cutover")
	asks(t, in.Listen, "/", "web-2")
	asks(t, in.Listen, "/of/api", "api-2")
	in.Until("the old worker to end", time.Minute, func() bool { return len(nodesOf(in, "r1", "worker")) == 0 })
	if now := nodesOf(in, "r1", "store"); !slices.Equal(now, stores) {
		t.Errorf("the store ran on %v and runs on %v", stores, now)
	}

	if back := in.Operate("rollback"); back.Release != "r1" {
		t.Errorf("rollback: %+v", back)
	}
	asks(t, in.Listen, "/of/api", "api-1")
	in.Until("the workers to change places", time.Minute, func() bool {
		return len(nodesOf(in, "r1", "worker")) == 1 && len(nodesOf(in, "r2", "worker")) == 0
	})
	accessory(t, in, live)
	scaleRoles(t, in)
	promote(t, in, live)
	in.Must("destroy", "-y", "-e", "live")
}

// TestRolesOnDocker: containers reach each other's roles at the address of their own network, over releases, and no other one
// listens for them.
func TestRolesOnDocker(t *testing.T) {
	t.Parallel()
	in := suite.New(t, "docker")
	in.BuildHello("v1")
	write := func(version string) {
		writeRoles(in, in.Listen, harness.FreeAddress(t), version, "s1")
		in.Write("release.yaml", strings.Replace(in.Read("release.yaml"), "driver: sandbox", "driver: docker", 1))
	}
	write("1")
	in.Operate("up")
	asks(t, in.Listen, "/of/api", "api-1")
	asks(t, in.Listen, "/of/store", "s1")
	before := internals(in)
	for role, listen := range before {
		host, _, err := net.SplitHostPort(listen)
		if ip := net.ParseIP(host); err != nil || !ip.IsPrivate() {
			t.Errorf("%s listens at %s for the other roles", role, listen)
		}
	}
	if len(before) != 3 {
		t.Errorf("the addresses for roles are %v", before)
	}
	write("2")
	in.Operate("up")
	asks(t, in.Listen, "/", "web-2")
	asks(t, in.Listen, "/of/api", "api-2")
	asks(t, in.Listen, "/of/store", "s1")
	if now := internals(in); !maps.Equal(now, before) {
		t.Errorf("the addresses for roles were %v and are %v", before, now)
	}
}

// internals are where roles are reached by the others.
func internals(in *harness.Installation) map[string]string {
	list := map[string]string{}
	for _, r := range in.Status().Routes {
		if r.Internal {
			list[r.Role] = r.Listen
		}
	}
	return list
}

// accessory changes what stays over releases.
func accessory(t *testing.T, in *harness.Installation, live string) {
	t.Helper()
	writeRoles(in, in.Listen, live, "3", "s2")
	in.Operate("up")
	asks(t, in.Listen, "/of/store", "s2")
	if left := nodesOf(in, "r1", "store"); len(left) > 0 {
		t.Errorf("the old store still runs: %v", left)
	}
}

func scaleRoles(t *testing.T, in *harness.Installation) {
	t.Helper()
	wants(t, in.Run("scale", "2"), 2, "store, api, web, worker", "release scale worker=2")
	wants(t, in.Run("scale", "nobody=2"), 1, `no role "nobody"`)
	in.Operate("scale", "worker=2")
	if got := nodesOf(in, "r3", "worker"); len(got) != 2 {
		t.Errorf("the workers are %v", got)
	}
	if out := in.Must("status").Stdout; !strings.Contains(out, "r3 worker") || !strings.Contains(out, "api (for roles)") {
		t.Errorf("status:\n%s", out)
	}
}

// promote takes the images of one environment to another.
func promote(t *testing.T, in *harness.Installation, live string) {
	t.Helper()
	wants(t, in.Run("up", "-e", "live"), 2, "release promote -e live")
	wants(t, in.Run("promote"), 2, "from which environment")
	in.Write("bin/hello", "another program") // nothing is baked
	if got := in.Operate("promote", "-e", "live"); got.Percent != 100 || got.Release != "r1" {
		t.Errorf("promote: %+v", got)
	}
	asks(t, live, "/of/api", "api-3")
	var here, there api.HistoryResult
	in.JSON(&here, "history")
	in.JSON(&there, "history", "-e", "live")
	last := here.Releases[len(here.Releases)-1]
	if len(there.Releases) != 1 || fmt.Sprint(there.Releases[0].Images) != fmt.Sprint(last.Images) || len(last.Images) != 4 {
		t.Errorf("live runs %+v, production %+v", there.Releases, last)
	}
	if again := in.Operate("promote", "-e", "live"); again.Operation != "" {
		t.Errorf("promote with nothing changed: %+v", again)
	}
}

// asks expects a text in an answer.
func asks(t *testing.T, listen, path, want string) {
	t.Helper()
	resp, err := http.Get("http://" + listen + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(body), want) {
		t.Errorf("%s%s answers %d %s, want %s (%v)", listen, path, resp.StatusCode, body, want, err)
	}
}

// nodesOf are the nodes of a release's role that live.
func nodesOf(in *harness.Installation, release, role string) []string {
	var names []string
	for _, fl := range in.Status().Fleets {
		for _, n := range fl.Nodes {
			if fl.Release == release && fl.Role == role && n.State != "dead" {
				names = append(names, n.ID)
			}
		}
	}
	return names
}
