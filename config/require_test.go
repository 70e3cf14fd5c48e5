package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/config"
)

const (
	edKey   = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAKI2C6W7qHO9e4FkEO4JICxKWpZxKvih2syJbVMA93Q8=\n-----END PUBLIC KEY-----\n"
	p256Key = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEwqdici2G2RbI/wO+cEIKKEdsJ9lF\nZow1BJuT9DEYQDDjVRyWZcZp1384YhKld7Vr6r/+hiH5/qz7ppZuppsDmw==\n-----END PUBLIC KEY-----\n"
)

// withKeys writes a release.yaml beside a folder of keys.
func withKeys(t *testing.T, content string, keys map[string]string) string {
	t.Helper()
	path := write(t, content)
	for name, text := range keys {
		file := filepath.Join(filepath.Dir(path), name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestRequireCarriesTheKeys(t *testing.T) {
	src := small + "require: {signed_by: [keys/a.pub, keys/b.pub]}\nenvironments: {staging: {require: {signed_by: []}}, dev: {require: {signed_by: [keys/b.pub]}}}\n"
	path := withKeys(t, src, map[string]string{"keys/a.pub": "made by ann\n" + edKey, "keys/b.pub": p256Key})
	for env, want := range map[string][]string{"production": {edKey, p256Key}, "staging": nil, "dev": {p256Key}} {
		app, err := config.Load(path, env)
		if err != nil {
			t.Fatal(err)
		}
		if got := app.Require.SignedBy; strings.Join(got, "") != strings.Join(want, "") {
			t.Errorf("%s: %q", env, got)
		}
		travel(t, app, env) // the text of the key stands for itself
	}
}

func TestRequireErrors(t *testing.T) {
	for name, c := range map[string]struct{ src, want string }{
		"missing":   {"[nope.pub]", `4:23: require.signed_by[0]: there is no key file "nope.pub"`},
		"empty":     {`[""]`, `4:23: require.signed_by[0]: there is no key file ""`},
		"truncated": {"[half.pub]", `4:23: require.signed_by[0]: half.pub is no PEM file, or a truncated one`},
		"private":   {"[key]", `4:23: require.signed_by[0]: key is a private key, not a public one`},
		"endless":   {"[/dev/zero]", `4:23: require.signed_by[0]: /dev/zero has more than 65536 bytes, so it is no key`},
		"damaged":   {"[odd.pub]", `4:23: require.signed_by[0]: odd.pub is no public key`},
		"twice":     {"[a.pub, a.pub]", `4:30: require.signed_by[1]: a.pub is given twice`},
		"text":      {"a.pub", `4:22: require.signed_by must be a list, not text "a.pub"`},
		"private text": {`["-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"]`,
			`4:23: require.signed_by[0]: the key is a private key, not a public one`},
	} {
		t.Run(name, func(t *testing.T) {
			path := withKeys(t, small+"require: {signed_by: "+c.src+"}\n", map[string]string{
				"a.pub": edKey, "half.pub": edKey[:60], "key": strings.ReplaceAll(edKey, "PUBLIC", "PRIVATE"),
				"odd.pub": "-----BEGIN PUBLIC KEY-----\nc2VjcmV0\n-----END PUBLIC KEY-----\n",
			})
			_, err := config.Load(path, "")
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "c2VjcmV0") {
				t.Fatalf("got %v\nwant %s", err, c.want)
			}
		})
	}
}
