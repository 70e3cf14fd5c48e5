package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/test/harness"
)

// kept are the nodes in quarantine.
func kept(in *harness.Installation) []api.Node {
	var nodes []api.Node
	for _, fl := range in.Status().Fleets {
		for _, n := range fl.Nodes {
			if n.State == "quarantined" {
				nodes = append(nodes, n)
			}
		}
	}
	return nodes
}

// A node in quarantine is out of the route and made up for, can be looked at, stays over a cutover and a new agent, and is
// shot at its time; its last words stay.
func TestQuarantine(t *testing.T) {
	in := suite.New(t, quick)
	in.WriteProject(quick, 2, "cutover: {keep_previous: 0s, drain: {timeout: 2s}}\n")
	in.Operate("up", in.Bake("v1"))
	victim := serving(t, in)[0]
	in.Operate("quarantine", victim.ID, "--for", "1h")
	if nodes := kept(in); len(nodes) != 1 || nodes[0].ID != victim.ID || nodes[0].PID != victim.PID || nodes[0].Address != victim.Address {
		t.Fatalf("in quarantine: %+v, want %+v as it was", nodes, victim)
	}
	healthy := slices.DeleteFunc(serving(t, in), func(n api.Node) bool { return n.State != "healthy" })
	if len(healthy) != 2 || get(t, in, "") != "v1" {
		t.Errorf("serving: %+v", healthy)
	}
	if out := in.Must("quarantine").Stdout; !strings.Contains(out, victim.ID) {
		t.Errorf("listed:\n%s", out)
	}
	look := func() {
		t.Helper()
		// hello knows no commands: it starts, and ends because the port is taken by the node's own.
		if out := in.Run("exec", "-i=false", victim.ID, "--", "/hello"); strings.Contains(out.Stderr, "has ended") || out.Code == 0 {
			t.Errorf("exec: exit code %d\n%s", out.Code, out.Stderr)
		}
		if out := in.Must("logs", victim.ID).Stdout; out == "" {
			t.Error("it has no output")
		}
		to := filepath.Join(t.TempDir(), "copied")
		in.Must("cp", victim.ID+":/hello", to)
		want, err := os.ReadFile(filepath.Join(in.Project, "bin/hello"))
		got, gotErr := os.ReadFile(to)
		if err != nil || gotErr != nil || len(got) != len(want) {
			t.Errorf("copied %d bytes, want %d: %v, %v", len(got), len(want), err, gotErr)
		}
	}
	look()
	in.Must("agent", "stop")
	in.BuildHello("v2")
	in.Operate("up")
	in.Until("only what is in quarantine is left of r1", time.Minute, func() bool {
		s := in.Status()
		return len(s.Fleets) == 2 && len(s.Fleets[0].Nodes) == 1
	})
	if len(kept(in)) != 1 {
		t.Fatalf("after the cutover %+v are in quarantine", kept(in))
	}
	in.BuildHello("v1") // what cp is held against
	look()
	in.Operate("quarantine", victim.ID, "--for", "1s")
	in.Until("it is shot at its time", time.Minute, func() bool { return len(in.Status().Fleets) == 1 })
	if out := in.Must("logs", "--previous", victim.ID).Stdout; out == "" {
		t.Error("nothing is kept of what it printed")
	}
	wants(t, in.Run("logs", "--previous", "nosuch"), 1, "nothing is kept")
	wants(t, in.Run("quarantine", victim.ID), 1)
	wants(t, in.Run("cp", "x"), 2, "NODE:PATH")
}

// A release whose nodes end at once is shot but for the first of them, whose output and files are there.
func TestQuarantineOnFailure(t *testing.T) {
	in := suite.New(t, quick)
	in.WriteProject(quick, 1, "")
	release, err := os.ReadFile(filepath.Join(in.Project, "release.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	in.Write("release.yaml", strings.Replace(string(release), "fleet: {", "fleet: {quarantine_on_failure: 1, ", 1))
	in.BuildHello("v1")
	in.Write("recipe.yaml", "name: hello\nbase: scratch\ncopy: [{from: ./bin/hello, to: /hello}]\nports: [8080]\nentrypoint: [/hello, -version]\n")
	if out := in.Run("up"); out.Code != 3 {
		t.Fatalf("up ended with %d\n%s", out.Code, out.Stderr)
	}
	nodes := kept(in)
	if len(nodes) != 1 || nodes[0].Present != "gone" {
		t.Fatalf("in quarantine: %+v", nodes)
	}
	in.Must("cp", nodes[0].ID+":/hello", filepath.Join(t.TempDir(), "hello"))
	in.Until("the others are shot", time.Minute, func() bool {
		s := in.Status()
		return len(s.Fleets) == 1 && len(s.Fleets[0].Nodes) == 1
	})
	in.Operate("replace", nodes[0].ID)
	in.Until("nothing is left", time.Minute, func() bool { return len(in.Status().Fleets) == 0 })
}
