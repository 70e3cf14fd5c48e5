package haproxy

import (
	"fmt"
	"testing"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// BenchmarkApply changes one weight of a table, as a cutover does.
func BenchmarkApply(b *testing.B) {
	for _, size := range []struct{ routes, nodes int }{{1, 4}, {100, 1000}} {
		b.Run(fmt.Sprintf("%d routes, %d nodes", size.routes, size.nodes), func(b *testing.B) {
			_, backend := newProxy(b, "")
			t := router.Table{Schema: router.Schema}
			listen := routertest.FreeListen(b)
			for r := range size.routes {
				route := router.Route{Name: fmt.Sprintf("app%d/production/web", r), Listen: listen, Hosts: []string{fmt.Sprintf("app%d.example", r)}}
				for f := range 2 {
					fleet := router.Fleet{ID: fmt.Sprintf("app%d/production/web/r%d/1", r, f), Release: fmt.Sprintf("r%d", f), Weight: 50}
					for n := range size.nodes / size.routes / 2 {
						fleet.Nodes = append(fleet.Nodes, router.Node{Name: fmt.Sprintf("n%d", n), Address: fmt.Sprintf("127.0.%d.%d:%d", f, n+1, 20000+r)})
					}
					route.Fleets = append(route.Fleets, fleet)
				}
				t.Routes = append(t.Routes, route)
			}
			t.Version.Seq = 1
			if err := backend.Apply(b.Context(), t); err != nil {
				b.Fatal(err)
			}
			b.Run("apply", func(b *testing.B) {
				for b.Loop() {
					t.Version.Seq++
					t.Routes[0].Fleets[0].Weight = int(t.Version.Seq % 100)
					if err := backend.Apply(b.Context(), t); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("observe", func(b *testing.B) {
				for b.Loop() {
					if _, err := backend.Observe(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
