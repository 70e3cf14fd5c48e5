package docker

import (
	"testing"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
)

func TestConformance(t *testing.T) {
	w := newWorld(t)
	fleettest.Run(t, fleettest.Harness{
		New: func(t *testing.T) fleet.Driver { return w.driver() },
		Other: func(t *testing.T) fleet.Driver {
			return w.driver(func(o *Options) { o.Installation = w.installation + "-other" })
		},
		Keeping: func(_ *testing.T, kept fleet.Tails) fleet.Driver {
			return w.driver(func(o *Options) { o.Tails = kept })
		},
		Unavailable: func(t *testing.T) fleet.Driver {
			return w.driver(func(o *Options) { o.Host = "unix:///nonexistent/docker.sock" })
		},
		Installation: w.installation,
		Image:        w.imageOf("testnode", testnode),
		KillPID:      true,
		MemoryLimits: true,
	})
}
