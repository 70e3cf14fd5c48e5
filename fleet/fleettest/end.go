package fleettest

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet"
)

func (s *suite) exit(t *testing.T) {
	d := s.New(t)
	spec, nodes := s.boot(t, d, 2)
	before := time.Now().Add(-time.Minute)
	end(nodes[0], "3")
	gone := s.gone(t, d, spec.Fleet)
	if gone.Exit == nil || gone.Exit.Code != 3 || gone.Exit.Signal != "" || gone.Exit.At.Before(before) {
		t.Errorf("exit is %+v, want code 3", gone.Exit)
	}
	again, err := d.Ensure(t.Context(), spec)
	if err != nil || len(again) != 2 || again[0].Presence != fleet.Gone || again[1].Presence != fleet.Present {
		t.Errorf("ensure of a node that ended: %+v, %v; want it as it is", again, err)
	}
}

// A program that is not there is an end like any other, with a reason for people, or an error of Ensure: never a hang.
func (s *suite) cannotStart(t *testing.T) {
	d := s.New(t)
	spec := s.spec(t, d, 1)
	spec.Command = []string{"/no-such-program"}
	if _, err := d.Ensure(t.Context(), spec); err != nil {
		if !strings.Contains(err.Error(), "no-such-program") {
			t.Errorf("the error does not name the program: %v", err)
		}
		return
	}
	want := "the program /no-such-program is not in the image"
	if s.Closed {
		want = "as a rule /no-such-program, or a program it runs, is missing in the image"
	}
	gone := s.gone(t, d, spec.Fleet)
	if gone.Exit == nil || gone.Exit.Code == 0 || !strings.Contains(gone.Exit.Reason, want) {
		t.Errorf("exit is %+v; want a reason that names the program", gone.Exit)
	}
}

func (s *suite) killed(t *testing.T) {
	if !s.KillPID {
		t.Log("the nodes' processes are not this machine's")
		return
	}
	d := s.New(t)
	spec, nodes := s.boot(t, d, 1)
	if err := syscall.Kill(nodes[0].PID, syscall.SIGKILL); err != nil {
		t.Fatalf("kill %d: %v", nodes[0].PID, err)
	}
	gone := s.gone(t, d, spec.Fleet)
	if gone.Exit == nil || gone.Exit.Code != 137 {
		t.Errorf("exit is %+v, want 137", gone.Exit)
	}
}

// A job's exit is kept, also over a restart, and the job is not run again.
func (s *suite) once(t *testing.T) {
	d := s.New(t)
	spec, _ := s.boot(t, d, 1, func(spec *fleet.Spec) {
		spec.Kind, spec.Command, spec.Port = fleet.Once, []string{"/testnode", "exit", "5"}, 0
	})
	first := s.gone(t, d, spec.Fleet)
	if first.Exit == nil || first.Exit.Code != 5 {
		t.Fatalf("exit is %+v, want 5", first.Exit)
	}
	for _, d := range []fleet.Driver{d, s.New(t)} {
		again, err := d.Ensure(t.Context(), spec)
		if err != nil || len(again) != 1 || again[0].Exit == nil || !again[0].Exit.At.Equal(first.Exit.At) {
			t.Errorf("ensure of a job that is done: %+v, %v; want it as it was: %+v", again, err, first)
		}
	}
}

func (s *suite) remove(t *testing.T) {
	d := s.New(t)
	spec, nodes := s.boot(t, d, 2)
	start := time.Now()
	if err := d.Remove(t.Context(), nodes[0].ID, 20*time.Second); err != nil {
		t.Fatalf("remove: %v", err)
	}
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("remove took %s though the node stops when asked", took)
	}
	left := s.nodes(t, d, spec.Fleet)
	sameNodes(t, nodes[1:], left)
	if _, err := get(nodes[0], "/healthz"); err == nil {
		t.Error("a removed node answers")
	}
	// Absent is success: removed before, never there, and with its fleet unknown.
	absent := []fleet.NodeID{nodes[0].ID, {Fleet: spec.Fleet, Node: "never-there"},
		{Fleet: fleet.FleetID{App: "no", Env: "such", Role: "web", Release: "r1", Incarnation: 1}, Node: "never-there"}}
	for _, id := range absent {
		if err := d.Remove(t.Context(), id, time.Second); err != nil {
			t.Errorf("remove absent %s: %v", id.Node, err)
		}
	}
	// One that ended by itself is removed too.
	end(nodes[1], "0")
	s.gone(t, d, spec.Fleet)
	if err := d.Remove(t.Context(), nodes[1].ID, time.Second); err != nil {
		t.Errorf("remove ended node: %v", err)
	}
	if left := s.nodes(t, d, spec.Fleet); len(left) != 0 {
		t.Errorf("removed nodes are listed: %+v", left)
	}
}

func (s *suite) removeStubborn(t *testing.T) {
	d := s.New(t)
	spec, nodes := s.boot(t, d, 1)
	ask(t, nodes[0], "/stubborn")
	start := time.Now()
	if err := d.Remove(t.Context(), nodes[0].ID, time.Second); err != nil {
		t.Fatalf("remove: %v", err)
	}
	if took := time.Since(start); took < 900*time.Millisecond || took > 15*time.Second {
		t.Errorf("remove of a node that does not stop took %s, want the grace of 1 s and a kill", took)
	}
	if left := s.nodes(t, d, spec.Fleet); len(left) != 0 {
		t.Errorf("removed nodes are listed: %+v", left)
	}
}

// The node is stopped with the signal that it was booted with, also by a driver that did not boot it.
func (s *suite) stopSignal(t *testing.T) {
	if !s.KillPID {
		t.Log("the fake knows one way to stop")
		return
	}
	_, nodes := s.boot(t, s.New(t), 1, func(spec *fleet.Spec) { spec.Stop.Signal = "USR1" })
	ask(t, nodes[0], "/stubborn") // to SIGTERM only
	start := time.Now()
	if err := s.New(t).Remove(t.Context(), nodes[0].ID, 20*time.Second); err != nil {
		t.Fatalf("remove: %v", err)
	}
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("remove took %s: the node did not get its signal", took)
	}
}

func (s *suite) destroy(t *testing.T) {
	d := s.New(t)
	spec, nodes := s.boot(t, d, 2)
	other, _ := s.boot(t, d, 1)
	ask(t, nodes[0], "/stubborn")
	start := time.Now()
	for range 2 {
		if err := d.Destroy(t.Context(), spec.Fleet); err != nil {
			t.Fatalf("destroy: %v", err)
		}
	}
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("destroy took %s; it gives no grace", took)
	}
	if left := s.nodes(t, d, spec.Fleet); len(left) != 0 {
		t.Errorf("destroyed nodes are listed: %+v", left)
	}
	if left := s.nodes(t, d, other.Fleet); len(left) != 1 || left[0].Presence != fleet.Present {
		t.Errorf("another fleet was touched: %+v", left)
	}
}

// Each installation sees and touches only what is its own.
func (s *suite) fleetsOfInstallation(t *testing.T) {
	d, other := s.New(t), s.Other(t)
	spec, nodes := s.boot(t, d, 2)
	has := func(d fleet.Driver) int {
		fleets, err := d.Fleets(t.Context())
		if err != nil {
			t.Fatalf("fleets: %v", err)
		}
		if i := slices.IndexFunc(fleets, func(f fleet.Fleet) bool { return f.ID == spec.Fleet }); i >= 0 {
			return fleets[i].Nodes
		}
		return 0
	}
	if n := has(d); n != 2 {
		t.Errorf("fleets says %d nodes of ours, want 2", n)
	}
	if n := has(other); n != 0 {
		t.Errorf("another installation sees %d nodes of our fleet", n)
	}
	if seen := s.nodes(t, other, spec.Fleet); len(seen) != 0 {
		t.Errorf("another installation lists our nodes: %+v", seen)
	}
	if err := other.Destroy(t.Context(), spec.Fleet); err != nil {
		t.Errorf("destroy of a fleet that is not one's own: %v; want it absent", err)
	}
	if err := other.Remove(t.Context(), nodes[0].ID, 0); err != nil {
		t.Errorf("remove of a node that is not one's own: %v; want it absent", err)
	}
	sameNodes(t, nodes, s.nodes(t, d, spec.Fleet))
}

// A driver that is made anew finds the nodes running and deals with them as with its own.
func (s *suite) restart(t *testing.T) {
	spec, nodes := s.boot(t, s.New(t), 2)
	d := s.New(t)
	sameNodes(t, nodes, s.nodes(t, d, spec.Fleet))
	again, err := d.Ensure(t.Context(), spec)
	if err != nil {
		t.Fatalf("ensure after restart: %v", err)
	}
	sameNodes(t, nodes, again)
	ask(t, nodes[1], "/")
	end(nodes[0], "4")
	if gone := s.gone(t, d, spec.Fleet); gone.Exit == nil || gone.Exit.Code != 4 {
		t.Errorf("exit is %+v, want 4", gone.Exit)
	}
	for _, n := range nodes {
		if err := d.Remove(t.Context(), n.ID, 5*time.Second); err != nil {
			t.Errorf("remove after restart: %v", err)
		}
	}
	if left := s.nodes(t, d, spec.Fleet); len(left) != 0 {
		t.Errorf("removed nodes are listed: %+v", left)
	}
}

func (s *suite) memoryLimit(t *testing.T) {
	if !s.MemoryLimits {
		t.Log("memory is not limited here")
		return
	}
	d := s.New(t)
	spec, nodes := s.boot(t, d, 1, func(spec *fleet.Spec) { spec.Resources.Memory = 64 << 20 })
	_, _ = get(nodes[0], "/eat", "mb", "200")
	gone := s.gone(t, d, spec.Fleet)
	if gone.Exit == nil || gone.Exit.Code != 137 || !strings.Contains(gone.Exit.Reason, "out of memory") {
		t.Errorf("exit is %+v, want 137 and something of \"out of memory\"", gone.Exit)
	}
}
