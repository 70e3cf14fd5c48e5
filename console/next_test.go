package console_test

import (
	"strings"
	"testing"

	"github.com/bootandshoot/release/orchestrator"
)

// The next command leads to no release that was left since it was bad.
func TestNextOffersNoBadRelease(t *testing.T) {
	for name, c := range map[string]struct {
		old  orchestrator.ReleaseState
		want string
	}{
		"after an up":      {orchestrator.ReleaseCompleted, "release up   (or back: release rollback --to r1)"},
		"after a rollback": {orchestrator.ReleaseRolledBack, "release up"},
		"after an abort":   {orchestrator.ReleaseAborted, "release up"},
		"never at 100 %":   {orchestrator.ReleaseNew, "release up"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			of := func(release string, state orchestrator.FleetState, weight int) *orchestrator.Fleet {
				fl := &orchestrator.Fleet{State: state, Weight: weight}
				fl.ID.App, fl.ID.Env, fl.ID.Role, fl.ID.Release, fl.ID.Incarnation = "shop", "production", "web", release, 1
				return fl
			}
			f.status.State.Operations = nil
			f.status.State.Releases = []*orchestrator.Release{{ID: "r1", State: c.old}, {ID: "r2", State: orchestrator.ReleaseCompleted}}
			f.status.State.Fleets = []*orchestrator.Fleet{of("r1", orchestrator.FleetWarm, 0), of("r2", orchestrator.FleetServing, 100)}
			s, err := serve(t, f, nil, nil).Status(t.Context(), shop())
			if err != nil {
				t.Fatal(err)
			}
			if strings.TrimSpace(s.Next) != c.want {
				t.Errorf("next is %q, want %q", s.Next, c.want)
			}
		})
	}
}
