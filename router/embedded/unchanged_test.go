package embedded

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// After a restart, what one route lacks is no reason to refuse a table that changes another one. Only who needs it anew is
// refused.
func TestWhatFailsAlreadyBlocksNothingElse(t *testing.T) {
	tests := map[string]struct {
		lose func(t *testing.T, b *router.Route) (bring func())
		code fault.Code // for a new route that needs the same
		says string     // in the state of its listen address
	}{
		"certificate": {loseCertificate, fault.Invalid, "does not load"},
		"port":        {losePort, fault.Exists, "address already in use"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir, node := t.TempDir(), routertest.StartNode(t, "node", nil)
			files := routertest.Certificate(t, t.TempDir(), 1, "b.example")
			a, b := routertest.RouteTo(routertest.FreeListen(t), routertest.FleetOf(1, 100, routertest.DeadNode(t, "dead"))), routertest.RouteTo(routertest.FreeListen(t), routertest.FleetOf(2, 100, node))
			b.Name, b.Hosts, b.TLS = "shop/production/b", []string{"b.example"}, &files
			before := startEngine(t, func(c *Config) { c.Dir = dir })
			before.mustApply(t, routertest.TableOf(1, a, b))
			before.listeners.shutdown(0)

			bring := tt.lose(t, &b)
			e := startEngine(t, func(c *Config) { c.Dir = dir })
			if err := e.restore(); err != nil {
				t.Fatal(err)
			}
			a.Fleets[0] = routertest.FleetOf(1, 100, node)
			e.mustApply(t, routertest.TableOf(2, a, b))
			if res, body := fetch(t, "GET", "http://"+a.Listen+"/", "", nil); res.StatusCode != 200 || body != "node" {
				t.Errorf("the route in order: %d %q", res.StatusCode, body)
			}
			b.Fleets = append(b.Fleets, routertest.FleetOf(3, 0, node)) // its own change of something else, too
			if err := e.check(routertest.TableOf(3, a, b)); err != nil {
				t.Error(err)
			}
			e.mustApply(t, routertest.TableOf(3, a, b))
			if state := e.listenerState(b.Listen); !strings.Contains(state.Error+state.Warning, tt.says) {
				t.Errorf("state %+v", state)
			}

			other := b
			other.Name, other.Hosts = "shop/production/other", []string{"other.example"}
			if err := e.apply(context.Background(), routertest.TableOf(4, a, b, other)); !fault.Is(err, tt.code) || !strings.Contains(err.Error(), other.Name) || strings.Contains(err.Error(), b.Name) {
				t.Errorf("a route that needs the same anew: %v", err)
			}

			bring()
			e.tidy()
			routertest.Eventually(t, "the route serves again", func() bool { // a lost file is looked for once a second
				c, err := tls.Dial("tcp", b.Listen, &tls.Config{ServerName: "b.example", InsecureSkipVerify: true})
				if err == nil {
					_ = c.Close()
				}
				return err == nil
			})
			if state := e.listenerState(b.Listen); state.Error != "" {
				t.Errorf("state %+v", state)
			}
		})
	}
}

func loseCertificate(t *testing.T, b *router.Route) (bring func()) {
	aside := filepath.Join(t.TempDir(), "aside")
	if err := os.Rename(b.TLS.Cert, aside); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Rename(aside, b.TLS.Cert); err != nil {
			t.Fatal(err)
		}
	}
}

func losePort(t *testing.T, b *router.Route) (bring func()) {
	l, err := net.Listen("tcp", b.Listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return func() { _ = l.Close() }
}

func (e *engine) listenerState(listen string) router.ListenerState {
	for _, s := range e.listeners.states() {
		if s.Listen == listen {
			return s
		}
	}
	return router.ListenerState{}
}
