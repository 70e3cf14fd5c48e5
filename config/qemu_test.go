package config_test

import (
	"strings"
	"testing"

	"github.com/bootandshoot/release/config"
)

// What a machine cannot have is said before anything is baked, and so is what only a machine has.
func TestVolumesOfMachines(t *testing.T) {
	const app = "app: a\nrecipe: recipe.yaml\nroute: {listen: \":8080\"}\nfleet: {driver: DRIVER, volumes: [{name: data, path: /srvMORE}]}\n"
	const role = "app: a\nroles: {web: {recipe: recipe.yaml, route: {listen: \":8080\"}, fleet: {driver: DRIVER, volumes: [{name: data, path: /srvMORE}]}}}\n"
	for _, c := range []struct{ text, driver, more, want string }{
		{app, "qemu", "", ""},
		{app, "qemu", ", size: 20GiB", ""},
		{app, "qemu", ", size: 1MiB", "fleet.volumes[0].size must be at least 16MiB"},
		{app, "qemu", ", writer: many", "4:66: fleet.volumes[0].writer: a machine has the disk of its volume alone"},
		{role, "qemu", ", writer: many", "roles.web.fleet.volumes[0].writer: a machine has the disk of its volume alone"},
		{app, "qemu", "/a b", "visible ASCII"},
		{app, "sandbox", "/a b", ""},
		{app, "sandbox", ", writer: many", ""},
		{app, "sandbox", ", size: 20GiB", "fleet.volumes[0].size: only volumes of machines have a size"},
	} {
		_, err := config.Load(write(t, strings.NewReplacer("DRIVER", c.driver, "MORE", c.more).Replace(c.text)), "")
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s%s: %v, want %q", c.driver, c.more, err, c.want)
		}
	}
}
