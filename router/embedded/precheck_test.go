package embedded

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// What stands in a route's way is found without a table: another program's address, files that do not load.
func TestPrecheck(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = free.Close()
	dir := t.TempDir()
	text := filepath.Join(dir, "text.pem")
	if err := os.WriteFile(text, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	client := startRouter(t, t.TempDir())
	own := router.Route{Name: "a/b/web", Listen: "127.0.0.1:0"}
	own.Listen = free.Addr().String()
	for name, c := range map[string]struct {
		route router.Route
		code  fault.Code
	}{
		"free":        {own, ""},
		"taken":       {router.Route{Name: "a/b/web", Listen: taken.Addr().String()}, fault.Exists},
		"redirect":    {router.Route{Name: "a/b/web", Listen: own.Listen, TLS: &router.TLS{ACME: &router.ACME{}, Redirect: taken.Addr().String()}}, fault.Exists},
		"certificate": {router.Route{Name: "a/b/web", Listen: own.Listen, TLS: &router.TLS{Cert: text, Key: text}}, fault.Invalid},
		"client ca":   {router.Route{Name: "a/b/web", Listen: own.Listen, TLS: &router.TLS{ACME: &router.ACME{}, ClientCA: text}}, fault.Invalid},
		"no file":     {router.Route{Name: "a/b/web", Listen: own.Listen, TLS: &router.TLS{ACME: &router.ACME{}, ClientCA: text + "0"}}, fault.Invalid},
	} {
		if err := client.Precheck(t.Context(), c.route); fault.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := client.Apply(t.Context(), router.Table{Schema: router.Schema, Version: router.Version{Epoch: 1, Seq: 1}, Routes: []router.Route{own}}); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(own.Listen)
	for _, listen := range []string{own.Listen, ":" + port} {
		if err := client.Precheck(t.Context(), router.Route{Name: "a/b/web", Listen: listen}); err != nil {
			t.Errorf("%s, which the router has: %v", listen, err)
		}
	}
}
