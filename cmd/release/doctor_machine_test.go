package main

import (
	"testing"

	"github.com/bootandshoot/release/config"
)

// Machines are looked for where a fleet or a recipe of the app wants them, and nowhere else.
func TestWhoWantsMachines(t *testing.T) {
	for name, c := range map[string]struct {
		app, recipe string
		want        bool
	}{
		"sandboxes":  {smallApp, smallRecipe, false},
		"a fleet":    {smallApp + "fleet: {driver: qemu}\n", smallRecipe, true},
		"one role":   {"app: shop\nrecipe: recipe.yaml\nroles: {web: {route: {listen: \":18080\"}}, worker: {fleet: {driver: qemu}}}\n", smallRecipe, true},
		"the recipe": {smallApp, smallRecipe + "machine: {modules: [wireguard]}\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := project(t, map[string]string{"release.yaml": c.app, "recipe.yaml": c.recipe})
			app, err := config.Load(dir+"/release.yaml", config.DefaultEnv)
			if err != nil {
				t.Fatal(err)
			}
			if got := hasMachines(app); got != c.want {
				t.Errorf("it wants machines: %v", got)
			}
		})
	}
}
