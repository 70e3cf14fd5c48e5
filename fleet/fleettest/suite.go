package fleettest

import (
	"testing"

	"github.com/bootandshoot/release/fleet"
)

// Harness is what the suite needs to know of a driver.
type Harness struct {
	// New returns a driver on the same engine and state each time; called again it is the agent after a crash. What
	// it starts ends with the test.
	New func(t *testing.T) fleet.Driver
	// Other returns a driver of another installation on the same engine or machine.
	Other func(t *testing.T) fleet.Driver
	// Unavailable returns a driver whose engine does not answer; nil for drivers without an engine.
	Unavailable func(t *testing.T) fleet.Driver

	Installation string // of New
	// Image is the digest of an image whose entrypoint is testnode, which declares port 8080, and has
	// IMAGE_ENV=from-image in its environment.
	Image string
	// FirstSlot is the first of 50 slots that the suite may use.
	FirstSlot int
	// KillPID says that Node.PID is a process of this machine that the test may signal.
	KillPID bool
	// MemoryLimits says that a memory limit is enforced here: testnode is ended when it takes more.
	MemoryLimits bool
}

// Run proves that a driver keeps the contract of package fleet.
func Run(t *testing.T, h Harness) {}
