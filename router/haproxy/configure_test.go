package haproxy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
)

// everything is a table with all that can be said of a route.
func everything() router.Table {
	key := strings.Repeat("0a", 32)
	fleets := []router.Fleet{
		{ID: "shop/production/web/r1/1", Release: "r1", Weight: 90, Sessions: true, Nodes: []router.Node{{Name: "a", Address: "127.0.0.1:20001"}, {Name: "b", Address: "[::1]:20002"}}},
		{ID: "shop/production/web/r2/1", Release: "r2", Weight: 10, Nodes: []router.Node{{Name: "c", Address: "127.0.0.1:20003"}}},
		{ID: "shop/production/web/r0/1", Release: "r0", Standby: true, Nodes: []router.Node{{Name: "d", Address: "127.0.0.1:20004"}}},
	}
	preview := router.Preview{From: []string{"127.0.0.0/8", "::1/128"}, KeySHA256: strings.Repeat("ab", 32)}
	return router.Table{Schema: router.Schema, Version: router.Version{Epoch: 3, Seq: 7}, Routes: []router.Route{
		{Name: "shop/production/web", Listen: "127.0.0.1:18080", Hosts: []string{"shop.example", "*.shop.example", "::1"}, Paths: []string{"/", "/it's/"}, Preview: preview,
			Trusted: []string{"10.0.0.0/8", "2001:db8::/32"}, ProxyProtocol: true, Fleets: fleets, Nodes: router.NodeH2C,
			Sticky:  &router.Sticky{By: router.StickyCookie, Cookie: "release_shop", Key: key, MaxAge: time.Hour},
			Rules:   []router.Rule{{Headers: map[string]string{"X-Team": "it's \"us\" 100%", "X-Any": ""}, Cookies: map[string]string{"beta": "1"}, Paths: []string{"/a", "/b/"}, From: []string{"192.0.2.0/24"}, Fleet: fleets[1].ID}},
			Balance: router.Balance{SlowStart: time.Second, EjectAfter: 5, MaxInFlight: 10, MaxQueue: 20, QueueWait: time.Second, Timeout: 2 * time.Second}},
		{Name: "shop/staging/web", Listen: "127.0.0.1:18080", Preview: preview, Trusted: []string{"10.0.0.0/8", "2001:db8::/32"}, ProxyProtocol: true, Fleets: fleets[:1],
			Sticky: &router.Sticky{By: router.StickyHeader, Header: "X-User"}},
		{Name: "shop/dev/web", Listen: "127.0.0.1:18081", Fleets: fleets[:1], Sticky: &router.Sticky{By: router.StickyAddress}},
		{Name: "db/production/web", Protocol: router.TCP, Listen: "127.0.0.1:18082", Fleets: fleets[:2], Sticky: &router.Sticky{By: router.StickyAddress}, Trusted: []string{"127.0.0.0/8"}, ProxyProtocol: true},
		{Name: "queue/production/web", Protocol: router.TCP, Listen: ":18083"},
	}}
}

// TestHAProxyTakesTheConfiguration gives everything that can be configured to the real thing.
func TestHAProxyTakesTheConfiguration(t *testing.T) {
	f := folder{t.TempDir()}
	if err := f.make(); err != nil {
		t.Fatal(err)
	}
	table := everything()
	cert, key := certificate(t, "secure.example")
	table.Routes = append(table.Routes, router.Route{Name: "tls/production/web", Listen: "127.0.0.1:18443", Hosts: []string{"secure.example"},
		TLS: &router.TLS{Cert: cert, Key: key, Redirect: "127.0.0.1:18081", HSTS: time.Hour, ClientCA: cert}})
	table = table.Canonical()
	if err := table.Validate(); err != nil {
		t.Fatal(err)
	}
	s := f.setting()
	l := newLayout()
	p := arrange(&l, table).anew()
	if err := s.tls.write(p); err != nil {
		t.Fatal(err)
	}
	packed, err := pack(table)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.commit(s.configure(p), p.decide(packed, kept{}), "3.7"); err != nil {
		t.Fatal(err)
	}
	global := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(global, []byte("global\n    maxconn 1000\n    log 127.0.0.1:514 local0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("haproxy", "-c", "-f", global, "-f", f.file(configName)).CombinedOutput()
	if err != nil || strings.Contains(string(out), "WARNING") {
		text, _ := os.ReadFile(f.file(configName))
		t.Fatalf("%v\n%s\n%s", err, out, text)
	}
}
