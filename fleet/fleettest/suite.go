package fleettest

import (
	"crypto/rand"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet"
)

// Harness is what the suite needs to know of a driver.
type Harness struct {
	// New returns a driver on the same engine and state each time; called again it is the agent after a crash. What
	// it starts ends with the test.
	New func(t *testing.T) fleet.Driver
	// Other returns a driver of another installation on the same engine or machine.
	Other func(t *testing.T) fleet.Driver
	// Keeping is New with a place for the ends of the output of removed nodes; nil when the driver knows none.
	Keeping func(t *testing.T, kept fleet.Tails) fleet.Driver
	// Unavailable returns a driver whose engine does not answer; nil for drivers without an engine.
	Unavailable func(t *testing.T) fleet.Driver

	Installation string // of New
	// Image is the digest of an image whose entrypoint is ["/testnode"], which declares port 8080, and has
	// IMAGE_ENV=from-image in its environment.
	Image string
	// FirstSlot is the first of 100 slots that the suite may use.
	FirstSlot int
	// KillPID says that Node.PID is a process of this machine that the test may signal.
	KillPID bool
	// Closed says that the driver cannot look into nodes: of a command that ended with 127 it can only suppose that it is missing.
	Closed bool
	// Forgets says that the files of a node that has ended are gone with it.
	Forgets bool
	// OneWriter says that a volume is one node's at a time, and one of many writers refused.
	OneWriter bool
	// MemoryLimits says that a memory limit is enforced here: testnode is ended when it takes more.
	MemoryLimits bool
}

// suite is one run.
type suite struct {
	Harness
	tag      string // in every name, so that runs on one engine do not meet
	fleets   atomic.Int64
	nextSlot atomic.Int64
}

// Run proves that a driver keeps the contract of package fleet. What only some drivers can do is tested where they can.
func Run(t *testing.T, h Harness) {
	s := &suite{Harness: h, tag: strings.ToLower(rand.Text()[:6])}
	for _, c := range []struct {
		name string
		test func(t *testing.T)
	}{
		{"PrepareProgress", s.prepareProgress}, // first: an image that is there already has none
		{"Prepare", s.prepare},
		{"MissingImage", s.missingImage},
		{"Ensure", s.ensure},
		{"EnsurePartly", s.ensurePartly},
		{"EnsureAtOnce", s.ensureAtOnce},
		{"EndedContext", s.endedContext},
		{"Environment", s.environment},
		{"NoPort", s.noPort},
		{"Isolation", s.isolation},
		{"Exit", s.exit},
		{"CannotStart", s.cannotStart},
		{"Killed", s.killed},
		{"Once", s.once},
		{"Remove", s.remove},
		{"RemoveStubborn", s.removeStubborn},
		{"StopSignal", s.stopSignal},
		{"Destroy", s.destroy},
		{"Fleets", s.fleetsOfInstallation},
		{"Restart", s.restart},
		{"Watch", s.watch},
		{"Logs", s.logs},
		{"LogsFollow", s.logsFollow},
		{"Tails", s.tails},
		{"CopyOut", s.copyOut},
		{"Exec", s.exec},
		{"ExecTerminal", s.execTerminal},
		{"ExecEnd", s.execEnd},
		{"Drift", s.drift},
		{"DriftOfProcesses", s.driftOfProcesses},
		{"Volumes", s.volumes},
		{"VolumeOfMany", s.volumeOfMany},
		{"MemoryLimit", s.memoryLimit},
		{"Unavailable", s.unavailable},
	} {
		t.Run(c.name, c.test)
	}
}

// spec describes a fresh fleet of n nodes that is destroyed with the test.
func (s *suite) spec(t *testing.T, d fleet.Driver, n int) fleet.Spec {
	t.Helper()
	spec := fleet.Spec{
		Fleet: fleet.FleetID{App: "suite-" + s.tag, Env: "test", Role: "web", Release: fmt.Sprintf("r%d", s.fleets.Add(1)),
			Incarnation: 1},
		Installation: s.Installation, Kind: fleet.Serve, Image: s.Image, Port: 8080,
		Stop: fleet.Stop{Signal: "TERM", Grace: 5 * time.Second},
	}
	for i := range n {
		spec.Nodes = append(spec.Nodes, s.node(spec.Fleet, i))
	}
	t.Cleanup(func() {
		if err := d.Destroy(cleanupContext(t), spec.Fleet); err != nil {
			t.Errorf("destroy %s: %v", spec.Fleet, err)
		}
	})
	return spec
}

func (s *suite) node(id fleet.FleetID, i int) fleet.NodeSpec {
	slot := s.FirstSlot + int(s.nextSlot.Add(1)-1)%100
	return fleet.NodeSpec{Name: fmt.Sprintf("%s-%s-n%d", id.App, id.Release, i), Slot: slot}
}

// boot is a fleet of n nodes that answer, unless it has no port.
func (s *suite) boot(t *testing.T, d fleet.Driver, n int, change ...func(*fleet.Spec)) (fleet.Spec, []fleet.Node) {
	t.Helper()
	spec := s.spec(t, d, n)
	for _, c := range change {
		c(&spec)
	}
	if err := d.Prepare(t.Context(), spec); err != nil {
		t.Fatalf("prepare: %v", err)
	}
	if _, err := d.Ensure(t.Context(), spec); err != nil {
		t.Fatalf("ensure: %v", err)
	}
	if spec.Port == 0 || spec.Kind == fleet.Once || len(spec.Command) > 0 {
		return spec, s.nodes(t, d, spec.Fleet)
	}
	Eventually(t, "all nodes answer", func() error {
		for _, n := range s.nodes(t, d, spec.Fleet) {
			if _, err := get(n, "/healthz"); err != nil {
				return err
			}
		}
		return nil
	})
	return spec, s.nodes(t, d, spec.Fleet)
}

func (s *suite) nodes(t *testing.T, d fleet.Driver, id fleet.FleetID) []fleet.Node {
	t.Helper()
	nodes, err := d.Nodes(t.Context(), id)
	if err != nil {
		t.Fatalf("nodes of %s: %v", id, err)
	}
	return nodes
}

// gone waits until the fleet's first node is gone.
func (s *suite) gone(t *testing.T, d fleet.Driver, id fleet.FleetID) fleet.Node {
	t.Helper()
	var node fleet.Node
	Eventually(t, "the node is gone", func() error {
		nodes := s.nodes(t, d, id)
		if len(nodes) == 0 {
			return fmt.Errorf("no nodes are listed; an ended one is listed until it is removed")
		}
		if node = nodes[0]; node.Presence != fleet.Gone {
			return fmt.Errorf("presence is %s", node.Presence)
		}
		return nil
	})
	return node
}
