package certs

import (
	"crypto/tls"
	"fmt"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
)

// BenchmarkPrepare is what certificates cost at each table: 100 routes, each with a pair of files of its own.
func BenchmarkPrepare(b *testing.B) {
	m := New(Options{})
	defer m.Close()
	var routes []router.Route
	for i := range 100 {
		host := fmt.Sprintf("shop%d.example", i)
		routes = append(routes, route(host, issue(b, nil, int64(i), later(), host).write(b, b.TempDir()), host))
	}
	for b.Loop() {
		s, err := m.Prepare(routes)
		if err != nil {
			b.Fatal(err)
		}
		m.Use(s)
	}
}

// BenchmarkFind is what choosing a certificate adds to a handshake.
func BenchmarkFind(b *testing.B) {
	m := New(Options{Now: func() time.Time { return time.Unix(1e9, 0) }})
	defer m.Close()
	s, err := m.Prepare([]router.Route{route("a", issue(b, nil, 1, later(), "*.example").write(b, b.TempDir()), "*.shop.example")})
	if err != nil {
		b.Fatal(err)
	}
	m.Use(s)
	hello := &tls.ClientHelloInfo{ServerName: "a.b.shop.example"}
	b.ReportAllocs()
	for b.Loop() {
		c, err := s.configFor(address, hello)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.GetCertificate(hello); err != nil {
			b.Fatal(err)
		}
	}
}
