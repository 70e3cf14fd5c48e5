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

// The comparison of releases is told as it is in effect: what is not written is its default, not nothing.
func TestDiffOfTheVerdict(t *testing.T) {
	const head = "app: shop\nroute: {listen: \":8080\"}\ncutover:\n  steps: [{percent: 10, hold: 1m}, {percent: 100}]\n"
	limit, own, off := "  abort_on: {error_rate: 1%}\n", "  verdict: {enough: 50}\n", "  verdict: off\n"
	for name, c := range map[string]struct {
		from, to string
		want     []config.Change
	}{
		"by default, and written":  {limit, limit + "  verdict: {wait: 5m}\n", nil},
		"another default":          {limit, limit + "  verdict: {wait: 1m}\n", []config.Change{{Path: "cutover.verdict.wait", From: `"5m"`, To: `"1m"`}}},
		"switched off":             {limit, limit + off, []config.Change{{Path: "cutover.verdict", From: `"on"`, To: `"off"`}}},
		"off, and never asked for": {"", off, nil},
		"asked for":                {"", own, []config.Change{{Path: "cutover.verdict", From: `"off"`, To: `"on"`}, {Path: "cutover.verdict.enough", To: "50"}}},
		"taken out":                {own, "", []config.Change{{Path: "cutover.verdict", From: `"on"`, To: `"off"`}, {Path: "cutover.verdict.enough", From: "50"}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, config.Diff(loaded(t, head+c.from), loaded(t, head+c.to))); diff != "" {
				t.Error(diff)
			}
		})
	}
}
