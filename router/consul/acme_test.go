package consul

import (
	"crypto/tls"
	"crypto/x509"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
	"github.com/bootandshoot/release/test/tools/consultest"
	"github.com/bootandshoot/release/test/tools/pebbletest"
)

// A certificate that one edge got by ACME is every edge's: another machine shows it although the authority is away.
func TestCertificatesAreShared(t *testing.T) {
	c := consultest.Start(t, consultest.Options{})
	b := newBackend(t, c.Servers[0].Address, "")
	first := startEdge(t, c.Servers[0].Address, DefaultPrefix, false)
	awaitLive(t, b, first)
	listen, plain := routertest.FreePortOf(t, "127.0.0.1"), routertest.FreePortOf(t, "127.0.0.1")
	authority := pebbletest.New(t, pebbletest.Options{HTTPPort: routertest.PortOf(t, plain), TLSPort: routertest.PortOf(t, listen)})
	authority.Start()
	route := routertest.RouteTo(listen, routertest.FleetOf(1, 100, routertest.StartNode(t, "a", nil)))
	route.Hosts = []string{"shop.example"}
	route.TLS = &router.TLS{Redirect: plain, ACME: &router.ACME{Directory: authority.Directory, RootCA: authority.RootCA}}
	mustApply(t, b, routertest.TableOf(1, route))
	got := awaitCertificate(t, listen, "shop.example")
	first.signal(syscall.SIGTERM)
	authority.Stop()

	second := startEdge(t, c.Servers[0].Address, DefaultPrefix, false)
	awaitLive(t, b, second)
	if shown := awaitCertificate(t, listen, "shop.example"); shown.SerialNumber.Cmp(got.SerialNumber) != 0 {
		t.Errorf("the second edge shows %s, the first one got %s", shown.SerialNumber, got.SerialNumber)
	}
	if n := authority.Orders(); n != 1 {
		t.Errorf("%d orders, want 1", n)
	}
}

// awaitCertificate waits until a certificate is shown for a name.
func awaitCertificate(t *testing.T, address, name string) *x509.Certificate {
	t.Helper()
	var conn *tls.Conn
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if conn, err = tls.Dial("tcp", address, &tls.Config{ServerName: name, InsecureSkipVerify: true}); err == nil {
			defer conn.Close()
			return conn.ConnectionState().PeerCertificates[0]
		}
	}
	t.Fatalf("no certificate is shown: %v", err)
	return nil
}
