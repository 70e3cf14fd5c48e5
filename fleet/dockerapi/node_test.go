package dockerapi

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bootandshoot/release/fleet"
)

func TestNodeLabelsComeBack(t *testing.T) {
	spec := fleet.Spec{Fleet: fleet.FleetID{App: "shop", Env: "test", Role: "web", Release: "r1", Incarnation: 2}, Kind: fleet.Once, Image: "sha256:11", Port: 8080}
	labels := NodeLabels("here", spec, fleet.NodeSpec{Name: "shop-test-r1-abcde", Slot: 7})
	want := map[string]string{"release.installation": "here", "release.fleet": "shop/test/web/r1/2", "release.node": "shop-test-r1-abcde", "release.slot": "7",
		"release.image": "sha256:11", "release.kind": "once", "release.port": "8080", "release.spec": "1"}
	if diff := cmp.Diff(want, labels); diff != "" {
		t.Errorf("what older versions wrote is read no more:\n%s", diff)
	}
	n, err := NodeOf(labels)
	if err != nil || n.ID != (fleet.NodeID{Fleet: spec.Fleet, Node: "shop-test-r1-abcde"}) || n.Slot != 7 || n.Image != "sha256:11" {
		t.Errorf("read %+v, %v", n, err)
	}
	for _, lacks := range []string{LabelFleet, LabelNode, LabelSlot} {
		some := NodeLabels("here", spec, fleet.NodeSpec{Name: "a"})
		delete(some, lacks)
		if n, err := NodeOf(some); err == nil {
			t.Errorf("without %s it is %+v", lacks, n)
		}
	}
}

func TestEnvironment(t *testing.T) {
	spec := fleet.Spec{Port: 80, Env: map[string]string{"B": "env", "A": "1", "PORT": "9"}, Secrets: map[string]string{"B": "secret"}}
	if env := Environment(spec); !slices.Equal(env, []string{"A=1", "B=secret", "PORT=80"}) {
		t.Errorf("the environment is %q", env)
	}
}

func TestSignal(t *testing.T) {
	for name, want := range map[string]string{"": "", "TERM": "SIGTERM", "SIGTERM": "SIGTERM"} {
		if got := Signal(name); got != want {
			t.Errorf("%q is %q", name, got)
		}
	}
}

func TestExit(t *testing.T) {
	for _, c := range []struct {
		code           int
		memory         int64
		signal, reason string
	}{
		{0, 0, "", ""}, {1, 1 << 20, "", ""}, {137, 0, "KILL", ""}, {143, 1 << 20, "TERM", ""}, {137, 64 << 20, "KILL", "out of memory: it may have 67.1 MB"},
		{126, 0, "", "/app, or a program it runs, may not be executed"}, {127, 0, "", "/app, or a program it runs, is missing"}, {255, 0, "", ""},
	} {
		why := ExitReason(c.code, "/app", c.memory)
		if ExitSignal(c.code) != c.signal || !strings.Contains(why, c.reason) || (why == "") != (c.reason == "") {
			t.Errorf("%d with %d bytes: signal %q, %q", c.code, c.memory, ExitSignal(c.code), why)
		}
	}
}
