package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/test/harness"
)

// toolbox writes a project of hello whose image has a tool beside it that writes files, and adds more to its fleet.
func toolbox(t *testing.T, in *harness.Installation, driver string, size int, fleet, more string) {
	t.Helper()
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", filepath.Join(in.Project, "bin/tool"), "./fleet/fleettest/testnode")
	build.Dir, build.Env = harness.Root(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build tool: %v\n%s", err, out)
	}
	in.Write("release.yaml", fmt.Sprintf(`app: hello
recipe: recipe.yaml
fleet: {driver: %s, size: %d, stop: {grace: 5s}, %s}
health: {http: {path: /healthz, port: 8080}}
route: {listen: "%s"}
%s`, driver, size, fleet, in.Listen, more))
	in.Write("motd", "welcome")
	in.Write("recipe.yaml", `name: hello
base: scratch
copy: [{from: ./bin/hello, to: /hello}, {from: ./bin/tool, to: /tool}, {from: motd, to: /srv/motd}]
ports: [8080]
entrypoint: [/hello]
`)
}

// A file that somebody edits in a node is told, and the node replaced where the policy says so.
func TestDrift(t *testing.T) {
	for _, driver := range []string{"sandbox", "docker"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			in := suite.New(t, driver)
			toolbox(t, in, driver, 2, "drift: {policy: report, every: 1s, allow: [/srv/allowed]}", "")
			in.Operate("up", in.Bake("v1"))
			node := serving(t, in)[0].ID
			in.Must("exec", node, "--", "/tool", "write", "/srv/allowed", "x")
			var r api.NodeResult
			in.JSON(&r, "status", node)
			if r.Node.ID != node || r.Drift.Total != 0 {
				t.Errorf("an allowed file is drift: %+v", r)
			}
			in.Must("exec", node, "--", "/tool", "write", "/srv/motd", "edited")
			in.Must("exec", node, "--", "/tool", "write", "/srv/new", "x")
			in.Until("the drift to be in the status", 30*time.Second, func() bool {
				n := serving(t, in)
				return n[0].Drift != nil && n[0].Drift.Total == 2 && n[1].Drift == nil
			})
			if out := in.Must("status").Stdout; !strings.Contains(out, "differs from its image: 2 changes: /srv/motd (changed), /srv/new (added)") {
				t.Errorf("status:\n%s", out)
			}
			if out := in.Must("status", node).Stdout; !strings.Contains(out, "2 changes") || !strings.Contains(out, "/srv/new") {
				t.Errorf("status of the node:\n%s", out)
			}
			if out := in.Must("events").Stdout; strings.Count(out, "differs from its image") != 1 {
				t.Errorf("events:\n%s", out)
			}
			toolbox(t, in, driver, 2, "drift: {policy: replace, every: 1s}", "")
			in.Operate("up", in.Bake("v1"))
			nodes := serving(t, in)
			in.Must("exec", nodes[0].ID, "--", "/tool", "write", "/srv/motd", "edited")
			in.Until("the node to be replaced", time.Minute, func() bool {
				after := serving(t, in)
				return len(after) == 2 && !slices.ContainsFunc(after, func(n api.Node) bool { return n.ID == nodes[0].ID || n.State != "healthy" })
			})
			if !slices.ContainsFunc(serving(t, in), func(n api.Node) bool { return n.ID == nodes[1].ID }) {
				t.Error("the other node was replaced too")
			}
		})
	}
}
