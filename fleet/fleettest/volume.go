package fleettest

import (
	"fmt"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

// keeper is a driver, and the same as a keeper of volumes if it is one.
func (s *suite) keeper(t *testing.T) (fleet.Driver, fleet.VolumeKeeper) {
	t.Helper()
	d := s.New(t)
	k, ok := d.(fleet.VolumeKeeper)
	if !ok {
		t.Log("the driver keeps no volumes")
	}
	return d, k
}

// volume is one that goes with the test.
func (s *suite) volume(t *testing.T, k fleet.VolumeKeeper, one bool) fleet.VolumeMount {
	t.Helper()
	v := fleet.VolumeMount{Path: "/srv/data", OneWriter: one,
		Volume: fleet.VolumeID{App: "suite-" + s.tag, Env: "test", Role: "web", Name: fmt.Sprintf("v%d", s.fleets.Add(1))}}
	t.Cleanup(func() {
		if err := k.RemoveVolume(cleanupContext(t), v.Volume); err != nil {
			t.Errorf("remove volume: %v", err)
		}
	})
	return v
}

// with is a spec with a volume.
func with(v fleet.VolumeMount) func(*fleet.Spec) {
	return func(spec *fleet.Spec) { spec.Volumes = []fleet.VolumeMount{v} }
}

// havers are the nodes that a driver says have a volume; false when it knows none such.
func havers(t *testing.T, k fleet.VolumeKeeper, id fleet.VolumeID) ([]string, bool) {
	t.Helper()
	list, err := k.Volumes(t.Context())
	if err != nil {
		t.Fatalf("volumes: %v", err)
	}
	for _, v := range list {
		if v.ID == id {
			return v.Nodes, true
		}
	}
	return nil, false
}

// What is in a volume of one writer goes from node to node, and never two have it.
func (s *suite) volumes(t *testing.T) {
	d, k := s.keeper(t)
	if k == nil {
		return
	}
	v := s.volume(t, k, true)
	first, nodes := s.boot(t, d, 1, with(v))
	ask(t, nodes[0], "/write", "path", "/srv/data/deep/file", "text", "of the first")
	if x, ok := d.(fleet.Drifter); ok {
		if drift, err := x.Drift(t.Context(), nodes[0].ID, fleet.DriftSpec{Spec: first}); err != nil || drift.Total != 0 {
			t.Errorf("a volume is drift: %+v, %v", drift, err)
		}
	}
	if names, known := havers(t, k, v.Volume); !known || len(names) != 1 || names[0] != nodes[0].ID.Node {
		t.Errorf("%q have the volume", names)
	}
	second := s.spec(t, d, 1)
	with(v)(&second)
	refuse := func(what string, d fleet.Driver) {
		t.Helper()
		if booted, err := d.Ensure(t.Context(), second); !fault.Is(err, fault.Busy) || len(booted) != 0 {
			t.Errorf("%s: booted %v, %v", what, booted, err)
		}
		if list := s.nodes(t, d, second.Fleet); len(list) != 0 {
			t.Errorf("%s: nodes are %v", what, list)
		}
	}
	refuse("while another node has the volume", d)
	refuse("after a restart", s.New(t))
	if err := k.RemoveVolume(t.Context(), v.Volume); !fault.Is(err, fault.Busy) {
		t.Errorf("remove a volume that a node has: %v", err)
	}
	if again, err := d.Ensure(t.Context(), first); err != nil || len(again) != 1 || again[0].ID != nodes[0].ID {
		t.Errorf("the node that has it is ensured again: %v, %v", again, err)
	}
	if err := d.Remove(t.Context(), nodes[0].ID, time.Second); err != nil {
		t.Fatal(err)
	}
	other := s.Other(t)
	if _, known := havers(t, other.(fleet.VolumeKeeper), v.Volume); known {
		t.Error("another installation sees the volume")
	}
	if err := other.(fleet.VolumeKeeper).RemoveVolume(t.Context(), v.Volume); err != nil {
		t.Errorf("remove another installation's volume: %v", err)
	}
	n := s.ensureAnswering(t, d, second)
	if text := ask(t, n, "/read", "path", "/srv/data/deep/file"); text != "of the first" {
		t.Errorf("the second node reads %q", text)
	}
	s.volumeEnds(t, d, k, v, n)
}

// volumeEnds: a node that has ended is in nobody's way, and a volume that is removed takes its data along.
func (s *suite) volumeEnds(t *testing.T, d fleet.Driver, k fleet.VolumeKeeper, v fleet.VolumeMount, n fleet.Node) {
	t.Helper()
	end(n, "0")
	s.gone(t, d, n.ID.Fleet)
	third, nodes := s.boot(t, d, 1, with(v))
	if text := ask(t, nodes[0], "/read", "path", "/srv/data/deep/file"); text != "of the first" {
		t.Errorf("the third node reads %q", text)
	}
	for _, id := range []fleet.FleetID{n.ID.Fleet, third.Fleet} {
		if err := d.Destroy(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if names, known := havers(t, k, v.Volume); !known || len(names) != 0 {
		t.Errorf("without nodes there is the volume: %v, of %q", known, names)
	}
	for range 2 {
		if err := k.RemoveVolume(t.Context(), v.Volume); err != nil {
			t.Fatalf("remove volume: %v", err)
		}
	}
	_, nodes = s.boot(t, d, 1, with(v))
	if text, err := get(nodes[0], "/read", "path", "/srv/data/deep/file"); err == nil {
		t.Errorf("a new volume has %q", text)
	}
}

// volumeOfMany: all nodes that mount it see what each of them writes.
func (s *suite) volumeOfMany(t *testing.T) {
	d, k := s.keeper(t)
	if k == nil {
		return
	}
	v := s.volume(t, k, false)
	if s.OneWriter {
		refused := s.spec(t, d, 1)
		with(v)(&refused)
		if _, err := d.Ensure(t.Context(), refused); !fault.Is(err, fault.Unsupported) {
			t.Errorf("a volume of many writers: %v", err)
		}
		return
	}
	_, nodes := s.boot(t, d, 2, with(v))
	ask(t, nodes[0], "/write", "path", "/srv/data/file", "text", "to all")
	if text := ask(t, nodes[1], "/read", "path", "/srv/data/file"); text != "to all" {
		t.Errorf("the other node reads %q", text)
	}
	alone := s.spec(t, d, 1)
	v.OneWriter = true
	with(v)(&alone)
	if _, err := d.Ensure(t.Context(), alone); !fault.Is(err, fault.Busy) {
		t.Errorf("a node that wants it alone boots beside them: %v", err)
	}
}

// ensureAnswering boots a fleet of one node and waits until it answers.
func (s *suite) ensureAnswering(t *testing.T, d fleet.Driver, spec fleet.Spec) fleet.Node {
	t.Helper()
	if err := d.Prepare(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	nodes, err := d.Ensure(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	Eventually(t, "the node answers", func() error {
		_, err := get(s.nodes(t, d, spec.Fleet)[0], "/healthz")
		return err
	})
	return nodes[0]
}
