package embedded

import (
	"crypto/tls"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
	"github.com/bootandshoot/release/test/tools/pebbletest"
)

// A route with acme gets its certificate from a real certificate authority, which asks our own listeners for the proofs.
func TestCertificateByACME(t *testing.T) {
	for _, redirect := range []bool{true, false} {
		t.Run("redirect "+strconv.FormatBool(redirect), func(t *testing.T) {
			listen, plain := routertest.FreePortOf(t, "127.0.0.1"), routertest.FreePortOf(t, "127.0.0.1")
			authority := pebbletest.New(t, pebbletest.Options{HTTPPort: routertest.PortOf(t, plain), TLSPort: routertest.PortOf(t, listen)})
			authority.Start()
			e := startEngine(t, nil)
			t.Cleanup(e.certs.Close)
			route := routertest.RouteTo(listen, routertest.FleetOf(1, 100, routertest.StartNode(t, "a", nil)))
			route.Hosts = []string{"shop.example"}
			route.TLS = &router.TLS{ACME: &router.ACME{Email: "ops@shop.example", Directory: authority.Directory, RootCA: authority.RootCA}}
			if redirect {
				route.TLS.Redirect = plain
			}
			e.mustApply(t, routertest.TableOf(1, route))
			tr := &http.Transport{TLSClientConfig: &tls.Config{ServerName: "shop.example", InsecureSkipVerify: true}}
			defer tr.CloseIdleConnections()
			var issuer string
			for deadline := time.Now().Add(time.Minute); issuer == "" && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
				req, _ := http.NewRequest("GET", "https://"+listen+"/", nil)
				req.Host = "shop.example"
				res, err := tr.RoundTrip(req)
				if err != nil {
					continue // no certificate yet
				}
				b, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if issuer = res.TLS.PeerCertificates[0].Issuer.CommonName; string(b) != "a" {
					t.Errorf("answer %q", b)
				}
			}
			if issuer == "" {
				t.Fatalf("no certificate came: %v", e.certs.Problems())
			}
		})
	}
}
