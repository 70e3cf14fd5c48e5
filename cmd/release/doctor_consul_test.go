package main

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/router/consul"
	"github.com/bootandshoot/release/test/tools/consultest"
)

func TestMinorOf(t *testing.T) {
	for version, want := range map[string][2]int{"1.20.6": {1, 20}, "1.14.0+ent": {1, 14}, "2.0.0": {2, 0}} {
		if major, minor, ok := minorOf(version); !ok || [2]int{major, minor} != want {
			t.Errorf("%s: %d %d %v", version, major, minor, ok)
		}
	}
	for _, version := range []string{"", "dev", "1", "a.b"} {
		if _, _, ok := minorOf(version); ok {
			t.Errorf("%q has a minor version", version)
		}
	}
}

// The way to a Consul elsewhere is to be encrypted, and our certificate is to last.
func TestWayToConsul(t *testing.T) {
	for _, name := range []string{"CONSUL_HTTP_SSL", "CONSUL_CLIENT_CERT", "CONSUL_HTTP_ADDR"} {
		t.Setenv(name, "")
	}
	a := consultest.NewAuthority(t, "ca")
	a.Issue("client", &x509.Certificate{})
	cert := a.File("client.pem")
	now := time.Now()
	for name, test := range map[string]struct {
		address string
		c       config.Consul
		at      time.Time
		want    string // "": nothing to say
	}{
		"this machine":        {"127.0.0.1:8500", config.Consul{}, now, ""},
		"this machine, URL":   {"http://localhost:8500", config.Consul{}, now, ""},
		"a socket":            {"unix:///run/consul.sock", config.Consul{}, now, ""},
		"elsewhere":           {"consul.internal:8500", config.Consul{}, now, "warn"},
		"elsewhere, URL":      {"http://10.0.0.1:8500", config.Consul{}, now, "warn"},
		"with TLS":            {"https://consul.internal:8501", config.Consul{}, now, "ok"},
		"by a CA":             {"consul.internal:8501", config.Consul{CA: a.File("ca.pem")}, now, "ok"},
		"a certificate lasts": {"https://10.0.0.1:8501", config.Consul{Cert: cert}, now.Add(-30 * 24 * time.Hour), "ok"},
		"it ends soon":        {"https://10.0.0.1:8501", config.Consul{Cert: cert}, now, "warn"},
		"it is over":          {"https://10.0.0.1:8501", config.Consul{Cert: cert}, now.Add(2 * time.Hour), "fail"},
		"it is a key":         {"https://10.0.0.1:8501", config.Consul{Cert: a.File("client.key")}, now, "fail"},
		"it is nowhere":       {"https://10.0.0.1:8501", config.Consul{Cert: "/none.pem"}, now, "fail"},
	} {
		t.Run(name, func(t *testing.T) {
			x := &consulExam{opts: consul.Options{Settings: consulapi.Settings{Address: test.address}}}
			got := ""
			for _, c := range x.tls(&test.c, test.at) {
				got = c.State
			}
			if got != test.want {
				t.Errorf("it is %q, want %q", got, test.want)
			}
		})
	}
}
