package config_test

import (
	"strings"
	"testing"

	"github.com/bootandshoot/release/config"
)

// A fleet of machines has no volumes, which is said before anything is baked; one of another driver has.
func TestMachinesHaveNoVolumes(t *testing.T) {
	const app = "app: a\nrecipe: recipe.yaml\nroute: {listen: \":8080\"}\nfleet: {driver: %, volumes: [{name: data, path: /srv}]}\n"
	const want = "4:23: fleet.volumes: nodes that are machines"
	if _, err := config.Load(write(t, strings.Replace(app, "%", "qemu", 1)), ""); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("machines: %v, want %q", err, want)
	}
	const role = "app: a\nroles: {web: {recipe: recipe.yaml, route: {listen: \":8080\"}, fleet: {driver: qemu, volumes: [{name: data, path: /srv}]}}}\n"
	if _, err := config.Load(write(t, role), ""); err == nil || !strings.Contains(err.Error(), "2:84: roles.web.fleet.volumes: nodes that are machines") {
		t.Errorf("machines of a role: %v", err)
	}
	if _, err := config.Load(write(t, strings.Replace(app, "%", "sandbox", 1)), ""); err != nil {
		t.Error(err)
	}
}
