package config_test

import (
	"testing"

	"github.com/bootandshoot/release/config"
)

// Each role has volumes of its own; one writer is what holds when nothing is said.
func TestVolumesOfRoles(t *testing.T) {
	app := load(t, `app: shop
recipe: recipes/shop.yaml
roles:
  web: {fleet: {size: 3, volumes: [{name: uploads, path: /srv/uploads, writer: many}]}, route: {listen: ":8080"}}
  queue: {fleet: {volumes: [{name: data, path: /srv/data}]}}
cutover: {steps: [{percent: 10}, {percent: 100}]}
`, "")
	web, queue := app.Role("web").Fleet, app.Role("queue").Fleet
	if web.OneWriter() || len(web.Volumes) != 1 || web.Volumes[0] != (config.Volume{Name: "uploads", Path: "/srv/uploads", Writer: config.WriterMany}) {
		t.Errorf("web has %+v", web.Volumes)
	}
	if !queue.OneWriter() || queue.Volumes[0].Writer != config.WriterOne {
		t.Errorf("queue has %+v", queue.Volumes)
	}
}
