package fleettest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bootandshoot/release/fleet"
)

// changesOf are what a drift lists, as "what how path".
func changesOf(d fleet.Drift) []string {
	var list []string
	for _, c := range d.Changes {
		list = append(list, strings.Join([]string{c.What, c.How, c.Path}, " "))
	}
	return list
}

func (s *suite) drift(t *testing.T) {
	d := s.New(t)
	x, ok := d.(fleet.Drifter)
	if !ok {
		t.Log("the driver cannot tell how nodes differ from their image")
		return
	}
	spec, nodes := s.boot(t, d, 1, func(spec *fleet.Spec) { spec.Env = map[string]string{"NODE_ENV": "of node"} })
	n := nodes[0]
	look := func(limit int) fleet.Drift {
		t.Helper()
		drift, err := x.Drift(t.Context(), n.ID, fleet.DriftSpec{Spec: spec, Allow: []string{"/cache/**", "/log/*.log"}, Limit: limit})
		if err != nil {
			t.Fatalf("drift: %v", err)
		}
		return drift
	}
	if drift := look(0); drift.Total != 0 {
		t.Fatalf("a fresh node differs from its image: %+v", drift)
	}
	for _, path := range []string{"/tmp/scratch", "/run/app/pid", "/cache/deep/down", "/log/a.log"} {
		ask(t, n, "/write", "path", path, "text", "x")
	}
	files := func() []string {
		return slices.DeleteFunc(changesOf(look(0)), func(c string) bool { return !strings.HasPrefix(c, "file ") })
	}
	// The folder is new, and nothing in it is listed that would say so.
	if got := files(); len(got) > 1 || len(got) == 1 && got[0] != "file added /log" {
		t.Errorf("what may differ is listed: %q", got)
	}
	ask(t, n, "/write", "path", "/log/b.txt", "text", "x")
	ask(t, n, "/write", "path", "/srv/deep/app.conf", "text", "x")
	ask(t, n, "/chmod", "path", "/testnode")
	want := []string{"file added /log/b.txt", "file added /srv/deep/app.conf", "file changed /testnode"}
	if got := files(); !slices.Equal(got, want) {
		t.Errorf("files that differ: %q, want %q", got, want)
	}
	if drift := look(2); len(drift.Changes) != 2 || drift.Total < 3 {
		t.Errorf("two changes were asked for: %+v", drift)
	}
	if _, err := x.Drift(t.Context(), fleet.NodeID{Fleet: spec.Fleet, Node: "never-there"}, fleet.DriftSpec{Spec: spec}); !errors.Is(err, fleet.ErrNoNode) {
		t.Errorf("drift of no node: %v, want ErrNoNode", err)
	}
	end(n, "0")
	s.gone(t, d, spec.Fleet)
	if _, err := x.Drift(t.Context(), n.ID, fleet.DriftSpec{Spec: spec}); !errors.Is(err, fleet.ErrNoNode) {
		t.Errorf("drift of a node that ended: %v, want ErrNoNode", err)
	}
}

// A process is drift when its program is not the image's, wherever it lies.
func (s *suite) driftOfProcesses(t *testing.T) {
	d := s.New(t)
	x, ok := d.(fleet.Drifter)
	if !ok {
		t.Log("the driver cannot tell how nodes differ from their image")
		return
	}
	spec, nodes := s.boot(t, d, 2)
	processes := func(n fleet.Node, allow ...string) []string {
		t.Helper()
		drift, err := x.Drift(t.Context(), n.ID, fleet.DriftSpec{Spec: spec, Allow: allow})
		if err != nil {
			t.Fatalf("drift: %v", err)
		}
		return slices.DeleteFunc(changesOf(drift), func(c string) bool { return !strings.HasPrefix(c, "process ") })
	}
	ask(t, nodes[0], "/spawn", "path", "/tmp/tool")
	Eventually(t, "the strange program is found", func() error {
		if got := processes(nodes[0]); !slices.Equal(got, []string{"process added /tmp/tool"}) {
			return fmt.Errorf("processes %q", got)
		}
		return nil
	})
	if got := processes(nodes[0], "/tmp/tool"); len(got) != 0 {
		t.Errorf("an allowed program is listed: %q", got)
	}
	ask(t, nodes[1], "/remove", "path", "/testnode")
	if got := processes(nodes[1]); !slices.Equal(got, []string{"process removed /testnode"}) {
		t.Errorf("after the program was removed: %q", got)
	}
}
