package orchestrator

import (
	"errors"
	"testing"

	"github.com/bootandshoot/release/fleet"
)

// An action's end gives a round to the app whose it is: of a hook, which is of no fleet, too.
func TestPerformedTouchesItsApp(t *testing.T) {
	for name, a := range map[string]Action{
		"boot": {Kind: ActBoot, Fleet: fleet.FleetID{App: shop.App, Env: shop.Env, Role: Role, Release: "r1", Incarnation: 1}, Node: "n"},
		"hook": {Kind: ActHook, App: shop, Subject: shop.String() + "/op-1", Point: "before_launch#0"},
	} {
		t.Run(name, func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				r.up(1, 1)
				touched := false
				if err := r.o.call(t.Context(), func() {
					of := r.o.apps[shop]
					of.touched = false
					r.o.performed(a, Result{Err: errors.New("no luck")}, nil)
					touched = of.touched
				}); err != nil {
					t.Fatal(err)
				}
				if !touched {
					t.Error("its app has no round")
				}
			})
		})
	}
}
