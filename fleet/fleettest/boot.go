package fleettest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bootandshoot/release/fleet"
)

const noImage = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

func (s *suite) prepare(t *testing.T) {
	d := s.New(t)
	spec := s.spec(t, d, 1)
	for range 2 {
		if err := d.Prepare(t.Context(), spec); err != nil {
			t.Fatalf("prepare: %v", err)
		}
	}
	if nodes := s.nodes(t, d, spec.Fleet); len(nodes) != 0 {
		t.Errorf("prepare booted %d nodes", len(nodes))
	}
}

// What is said of a Prepare under way never goes back.
func (s *suite) prepareProgress(t *testing.T) {
	d := s.New(t)
	p, ok := d.(fleet.ProgressPreparer)
	if !ok {
		t.Log("the driver does not say how far it is")
		return
	}
	spec := s.spec(t, d, 1)
	var last fleet.Progress
	err := p.PrepareReporting(t.Context(), spec, func(now fleet.Progress) {
		if now.Doing == "" || now.Done < last.Done || now.Done > now.Total || last.Total != 0 && now.Total != last.Total {
			t.Errorf("%+v after %+v", now, last)
		}
		last = now
	})
	if err != nil || last.Done != last.Total {
		t.Errorf("prepare ended at %+v: %v", last, err)
	}
	if err := p.PrepareReporting(t.Context(), spec, nil); err != nil {
		t.Errorf("prepare again, without a report: %v", err)
	}
}

func (s *suite) missingImage(t *testing.T) {
	d := s.New(t)
	spec := s.spec(t, d, 1)
	spec.Image = noImage
	if err := d.Prepare(t.Context(), spec); err == nil {
		t.Error("prepare found an image that does not exist")
	}
	if nodes, err := d.Ensure(t.Context(), spec); err == nil || len(nodes) != 0 {
		t.Errorf("ensure booted an image that does not exist: %v, %v", nodes, err)
	}
	if nodes := s.nodes(t, d, spec.Fleet); len(nodes) != 0 {
		t.Errorf("a failed ensure left %+v", nodes)
	}
}

func (s *suite) ensure(t *testing.T) {
	d := s.New(t)
	spec, first := s.boot(t, d, 2)
	if len(first) != 2 {
		t.Fatalf("%d nodes, want 2", len(first))
	}
	for i, n := range first {
		s.checkNode(t, spec, spec.Nodes[i], n)
	}
	if first[0].Address == first[1].Address {
		t.Errorf("two nodes at %s", first[0].Address)
	}
	again, err := d.Ensure(t.Context(), spec)
	if err != nil {
		t.Fatalf("ensure again: %v", err)
	}
	sameNodes(t, first, again)
	// Naming one more, and only that one, leaves the others alone.
	more := spec
	more.Nodes = []fleet.NodeSpec{s.node(spec.Fleet, 2)}
	added, err := d.Ensure(t.Context(), more)
	if err != nil || len(added) != 1 {
		t.Fatalf("ensure one more: %v, %v", added, err)
	}
	all := s.nodes(t, d, spec.Fleet)
	if len(all) != 3 {
		t.Fatalf("%d nodes, want 3", len(all))
	}
	sameNodes(t, first, all[:2])
}

func (s *suite) checkNode(t *testing.T, spec fleet.Spec, want fleet.NodeSpec, n fleet.Node) {
	t.Helper()
	if n.ID != (fleet.NodeID{Fleet: spec.Fleet, Node: want.Name}) || n.Slot != want.Slot || n.Image != spec.Image {
		t.Errorf("node %+v does not carry what it was booted with: %+v", n, want)
	}
	if n.Presence != fleet.Present || n.Exit != nil || n.Host == "" || n.Since.IsZero() || n.PID <= 0 {
		t.Errorf("running node is described as %+v", n)
	}
	if body := ask(t, n, "/"); !strings.HasPrefix(body, "hello") {
		t.Errorf("node answers %q", body)
	}
}

// sameNodes checks that nodes were neither restarted nor moved. Order counts.
func sameNodes(t *testing.T, want, got []fleet.Node) {
	t.Helper()
	same := func(a, b fleet.Node) bool {
		return a.ID == b.ID && a.PID == b.PID && a.Address == b.Address && a.Slot == b.Slot && a.Since.Equal(b.Since) &&
			a.Presence == b.Presence
	}
	if !slices.EqualFunc(want, got, same) {
		t.Errorf("nodes changed:\n%+v\nwere\n%+v", got, want)
	}
}

// One node that cannot be booted does not keep the others from it, and the error names it.
func (s *suite) ensurePartly(t *testing.T) {
	d := s.New(t)
	spec := s.spec(t, d, 2)
	spec.Nodes[1].Slot = 1 << 30 // no address can be derived from it
	nodes, err := d.Ensure(t.Context(), spec)
	if err == nil || !strings.Contains(err.Error(), spec.Nodes[1].Name) {
		t.Errorf("ensure with an impossible slot: %v; want an error that names %s", err, spec.Nodes[1].Name)
	}
	if len(nodes) != 1 || nodes[0].ID.Node != spec.Nodes[0].Name {
		t.Errorf("ensure returned %+v; want the one node that can be booted", nodes)
	}
	if all := s.nodes(t, d, spec.Fleet); len(all) != 1 {
		t.Errorf("listed are %+v; want one node", all)
	}
}

// The same call several times at once boots each node once.
func (s *suite) ensureAtOnce(t *testing.T) {
	d := s.New(t)
	spec := s.spec(t, d, 6)
	var wg sync.WaitGroup
	results := make([][]fleet.Node, 4)
	for i := range results {
		wg.Go(func() {
			nodes, err := d.Ensure(t.Context(), spec)
			if err != nil {
				t.Errorf("ensure: %v", err)
			}
			results[i] = nodes
		})
	}
	wg.Wait()
	all := s.nodes(t, d, spec.Fleet)
	for _, r := range results {
		sameNodes(t, all, r)
	}
}

func (s *suite) endedContext(t *testing.T) {
	d := s.New(t)
	spec := s.spec(t, d, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Ensure(ctx, spec); err == nil {
		t.Error("ensure went on after the end of its context")
	}
	if nodes := s.nodes(t, d, spec.Fleet); len(nodes) != 0 {
		t.Errorf("it left %+v", nodes)
	}
	// What a call that was cut off may have left is no obstacle for the next.
	if _, err := d.Ensure(t.Context(), spec); err != nil {
		t.Errorf("ensure afterwards: %v", err)
	}
}

func (s *suite) environment(t *testing.T) {
	d := s.New(t)
	_, nodes := s.boot(t, d, 1, func(spec *fleet.Spec) {
		spec.Env = map[string]string{"PLAIN": "a b=c", "EMPTY": ""}
		spec.Secrets = map[string]string{"SECRET": "hush"}
	})
	for name, want := range map[string]string{"PLAIN": "a b=c", "SECRET": "hush", "IMAGE_ENV": "from-image", "EMPTY": ""} {
		if got := ask(t, nodes[0], "/env", "name", name); got != want {
			t.Errorf("%s is %q in the node, want %q", name, got, want)
		}
	}
	if port := ask(t, nodes[0], "/env", "name", "PORT"); port == "" {
		t.Error("PORT is not set")
	}
	_, nodes = s.boot(t, d, 1, func(spec *fleet.Spec) { spec.Env = map[string]string{"IMAGE_ENV": "from-spec"} })
	if got := ask(t, nodes[0], "/env", "name", "IMAGE_ENV"); got != "from-spec" {
		t.Errorf("the spec's environment does not win: %q", got)
	}
}

func (s *suite) noPort(t *testing.T) {
	d := s.New(t)
	_, nodes := s.boot(t, d, 1, func(spec *fleet.Spec) { spec.Port = 0 })
	if len(nodes) != 1 || nodes[0].Address != "" || nodes[0].Presence != fleet.Present {
		t.Errorf("a node without port is %+v; want it present, without address", nodes)
	}
}

// What a node writes is seen by no other, and gone with it.
func (s *suite) isolation(t *testing.T) {
	d := s.New(t)
	_, nodes := s.boot(t, d, 2)
	ask(t, nodes[0], "/write", "path", "/mine", "text", "x")
	if got := ask(t, nodes[0], "/read", "path", "/mine"); got != "x" {
		t.Errorf("the node reads %q", got)
	}
	if _, err := get(nodes[1], "/read", "path", "/mine"); err == nil {
		t.Error("a node reads what another wrote")
	}
}
