package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bootandshoot/release/config"
)

func loaded(t *testing.T, src string) *config.App {
	t.Helper()
	app, err := config.Load(write(t, src), "production")
	if err != nil {
		t.Fatal(err)
	}
	return app
}

// TestDiff: every value that differs is told, also one that only one side has, and none that is secret.
func TestDiff(t *testing.T) {
	a := loaded(t, `app: shop
route: {listen: ":8080", hosts: [a.example]}
fleet: {size: 2, env: {LOG: info, DB_PASSWORD: swordfish, URL: "http://u:old@h/"}, secrets: {DB: file:/run/s/db}}
cutover: {steps: [{percent: 10, hold: 1m}, {percent: 100}]}
`)
	b := loaded(t, `app: shop
route: {listen: ":8080", hosts: [a.example, b.example]}
fleet: {size: 3, env: {LOG: info, DB_PASSWORD: perch, URL: "http://u:new@h/"}, secrets: {DB: file:/run/s/db2}}
cutover: {steps: [{percent: 10, hold: 2m}, {percent: 100}]}
`)
	changes := config.Diff(a, b)
	want := []config.Change{
		{Path: "cutover.steps[0].hold", From: `"1m"`, To: `"2m"`},
		{Path: "fleet.env.DB_PASSWORD", From: `"***"`, To: `"***"`},
		{Path: "fleet.env.URL", From: `"***"`, To: `"***"`},
		{Path: "fleet.secrets.DB", From: `"file:/run/s/db"`, To: `"file:/run/s/db2"`},
		{Path: "fleet.size", From: "2", To: "3"},
		{Path: "route.hosts[1]", From: "", To: `"b.example"`},
	}
	if diff := cmp.Diff(want, changes); diff != "" {
		t.Error(diff)
	}
	for _, c := range changes {
		for _, secret := range []string{"swordfish", "perch", "old", "new"} {
			if strings.Contains(c.From+c.To, secret) {
				t.Errorf("%s shows %s", c.Path, secret)
			}
		}
	}
	if same := config.Diff(a, a); same != nil {
		t.Errorf("a configuration differs from itself in %v", same)
	}
}
