package orchestrator

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet/fleettest"
)

// A launch whose image takes long says how far it is: in the journal every few seconds, and all the time in what it waits for.
func TestPrepareTellsProgress(t *testing.T) {
	for _, c := range []struct {
		takes time.Duration
		told  int
	}{{0, 0}, {900 * time.Millisecond, 0}, {8 * time.Second, 4}} {
		t.Run(c.takes.String(), func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				r.stop()
				r.driver = fleettest.NewFake(fleettest.FakeOptions{PrepareFor: c.takes})
				r.start()
				op := r.submit(Request{Kind: KindLaunch, Image: image(1), Config: shopConfig(1)})
				if c.told > 0 {
					r.until("half of it", func(s *State) bool {
						return len(s.Operations) == 1 && s.Operations[0].Waits == "the image of r1: unpacking, 50 %"
					})
				}
				r.wait(op)
				events, err := r.o.Events(context.Background(), shop, 0, 1000)
				if err != nil {
					t.Fatal(err)
				}
				var told []string
				for _, e := range events {
					if e.Type == "launch.progress" {
						told = append(told, e.Message)
					}
				}
				if len(told) != c.told || c.told > 0 && !strings.HasPrefix(told[0], "unpacking the image of r1: 1") {
					t.Errorf("told %q", told)
				}
			})
		})
	}
}
