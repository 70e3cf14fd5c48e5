package embedded

import (
	"net/http"
	"syscall"
	"testing"

	"github.com/bootandshoot/release/router/routertest"
)

// A listener that would give way to one on the same port goes on when the new table is only tried, or does not come into effect.
func TestListenerOnTheSamePort(t *testing.T) {
	e := startEngine(t, nil)
	node := routertest.StartNode(t, "a", nil)
	port := routertest.FreePort(t)
	serves := func(address string) bool {
		t.Helper()
		res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + address + "/")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == 200
	}
	wide, narrow := "0.0.0.0:"+port, "127.0.0.1:"+port
	e.mustApply(t, routertest.TableOf(1, routertest.RouteTo(wide, routertest.FleetOf(1, 100, node))))
	next := routertest.TableOf(2, routertest.RouteTo(narrow, routertest.FleetOf(1, 100, node)))
	if err := e.check(next); err != nil || !serves("127.0.0.2:"+port) {
		t.Fatalf("after a trial: %v; it serves: %t", err, serves("127.0.0.2:"+port))
	}
	put := e.put
	e.put = func(string, []byte) error { return syscall.ENOSPC }
	if err := e.apply(t.Context(), next); err == nil || !serves("127.0.0.2:"+port) {
		t.Fatalf("after a table that could not be kept: %v; it serves: %t", err, serves("127.0.0.2:"+port))
	}
	e.put = put
	e.mustApply(t, next)
	if !serves(narrow) || serves("127.0.0.2:"+port) {
		t.Errorf("it serves %t at the new address, %t at the old one alone", serves(narrow), serves("127.0.0.2:"+port))
	}
}
