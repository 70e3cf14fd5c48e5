package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
)

// Whatever the file holds: an error of class invalid with a place, or an app that its own YAML reads back.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(small))
	f.Add([]byte(full))
	f.Add([]byte(tcp))
	f.Add([]byte(acme))
	f.Add([]byte("app: a\nroute: {listen: \":1\"}\nenvironments: {production: {fleet: {size: 2}}}\n"))
	f.Add([]byte("app: a\nroute: {listen: \":1\", paths: [\"/\\x7f\"]}\nhealth: {exec: {command: [a, \"b\\n\"]}}\n"))
	path := filepath.Join(f.TempDir(), "release.yaml")
	shown := filepath.Join(f.TempDir(), "shown.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		app, err := config.Load(path, "")
		if err != nil {
			for _, e := range fault.All(err) {
				if e.Code != fault.Invalid || e.Line < 1 || e.Column < 1 {
					t.Errorf("error without a good place: %+v", e)
				}
			}
			return
		}
		yaml, err := app.YAML()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(shown, yaml, 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := config.Load(shown, "")
		if err != nil {
			t.Fatalf("%v in\n%s", err, yaml)
		}
		same(t, app, again)
	})
}
