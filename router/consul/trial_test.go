package consul

import (
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// Before anything boots every edge is asked whether it could serve a route; asking changes nothing, and does not get in the way
// of tables that are tried at the same time.
func TestPrecheck(t *testing.T) {
	s := startTwo(t)
	listen := routertest.FreeListen(t)
	first := quiet(t, 1, listen, 1)
	mustApply(t, s.b, first)
	if err := s.b.Precheck(t.Context(), first.Routes[0]); err != nil {
		t.Errorf("what is served: %v", err)
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	taken := routertest.RouteTo(other.Addr().String(), routertest.FleetOf(1, 1))
	taken.Name = "blog/production/web"
	err = s.b.Precheck(t.Context(), taken)
	if !fault.Is(err, fault.Exists) || !strings.Contains(err.Error(), s.first.id()) || !strings.Contains(err.Error(), taken.Name) {
		t.Errorf("a port that is taken at one edge: %v", err)
	}
	missing := routertest.RouteTo(routertest.FreeListen(t), routertest.FleetOf(1, 1))
	missing.Name, missing.TLS = taken.Name, &router.TLS{Cert: "/none/cert.pem", Key: "/none/key.pem"}
	if err = s.b.Precheck(t.Context(), missing); !fault.Is(err, fault.Invalid) {
		t.Errorf("a certificate that is nowhere: %v", err)
	}
	if a, b := s.first.version(), s.second.version(); a.Seq != 1 || b.Seq != 1 {
		t.Errorf("asking changed what they serve: %s and %s", a, b)
	}
	var both sync.WaitGroup
	for range 3 {
		free := routertest.RouteTo(routertest.FreeListen(t), routertest.FleetOf(1, 1))
		free.Name = taken.Name
		both.Go(func() {
			if err := s.b.Precheck(t.Context(), free); err != nil {
				t.Errorf("a route that can be served: %v", err)
			}
		})
	}
	for seq := range uint64(3) {
		mustApply(t, s.b, quiet(t, 2+seq, routertest.FreeListen(t), 1))
	}
	both.Wait()
}
