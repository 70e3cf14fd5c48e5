package config_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
)

func TestHosts(t *testing.T) {
	for _, lines := range []string{
		"fleet: {driver: docker, hosts: [ssh://ops@10.0.0.2, tcp://10.0.0.3:2376], host_lost_after: 5s}\n",
		"fleet:\n  hosts: [\"ssh://ops@10.0.0.2\", \"tcp://10.0.0.3:2376\"]\n  host_lost_after: 5s\n",
	} {
		app, err := config.Load(write(t, "app: shop\nrecipe: r.yaml\nroute: {listen: \":80\"}\n"+lines), "")
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"10.0.0.2": "ssh://ops@10.0.0.2", "10.0.0.3": "tcp://10.0.0.3:2376"}
		if got := app.Fleet.HostNames(); !maps.Equal(got, want) || app.Fleet.DriverName() != config.HostsDriver || app.Fleet.HostLostAfter() != 5*time.Second {
			t.Errorf("%q gives %v, %s", lines, got, app.Fleet.HostLostAfter())
		}
	}
}

func TestHostsRefused(t *testing.T) {
	for lines, want := range map[string]string{
		"hosts: [\"tcp://10.0.0.3\"]":                           "fleet.hosts[0]",
		"hosts: [ssh://10.0.0.3, ssh://ops@10.0.0.3]":           "is on the host 10.0.0.3, as fleet.hosts[0] is",
		"hosts: [\"ssh://ann:secret@10.0.0.3\"]":                "password",
		"hosts: [10.0.0.3]":                                     "ssh://[user@]host",
		"hosts: [{a: b}]":                                       "fleet.hosts[0] must be text",
		"hosts: ssh://a":                                        "must be a list",
		"driver: sandbox, hosts: [ssh://a]":                     "of driver docker",
		"hosts: [ssh://a], host_lost_after: 1s":                 "at least 5s",
		"hosts: [ssh://a], volumes: [{name: data, path: /srv}]": "fleet.volumes",
	} {
		_, err := config.Load(write(t, "app: shop\nrecipe: r.yaml\nroute: {listen: \":80\"}\nfleet: {"+lines+"}\n"), "")
		if !slices.ContainsFunc(fault.All(err), func(e *fault.Error) bool { return strings.Contains(e.Message, want) }) {
			t.Errorf("%s: %v, want %q", lines, err, want)
		}
	}
}
