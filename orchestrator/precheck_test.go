package orchestrator

import (
	"context"
	"strings"
	"testing"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
)

// A route that cannot be is refused before a node boots, and nothing of the app is known afterwards.
func TestRouteIsCheckedBeforeTheLaunch(t *testing.T) {
	listen := func(address string, hosts ...string) func(*config.App) {
		return func(c *config.App) { c.Route.Listen, c.Route.Hosts = address, hosts }
	}
	for name, c := range map[string]struct {
		change func(*config.App)
		code   fault.Code // "" is fine
		says   string
	}{
		"other address": {listen(":9090"), "", ""},
		"other host":    {listen(":8080", "b.example"), "", ""},
		"same":          {listen(":8080", "a.example"), fault.Invalid, `is already that of route "shop/production/web"`},
		"all hosts":     {listen(":8080"), "", ""}, // what no other route has
		"tls beside":    {func(c *config.App) { listen(":8080", "b.example")(c); c.Route.TLS = &config.TLS{Cert: "/c", Key: "/k"} }, fault.Invalid, "only one of them has tls"},
		"taken":         {listen(":7070"), fault.Exists, "listen on :7070: the port is taken"},
	} {
		t.Run(name, func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				r.router.TakePort(":7070", true)
				r.up(1, 1, listen(":8080", "a.example"))
				booted := len(r.driver.All())
				cfg := shopConfig(1, c.change)
				cfg.App = "other"
				key := Key{App: "other", Env: "production"}
				op, err := r.o.Submit(context.Background(), Request{Kind: KindUp, Key: key, By: "ann", Image: image(2), Config: cfg})
				if fault.CodeOf(err) != c.code {
					t.Fatalf("got %v", err)
				}
				if c.code == "" {
					r.until("the route", func(*State) bool {
						op, err := r.o.Operation(context.Background(), key, op.ID)
						return err == nil && !op.Ended.IsZero() && op.Failure == nil
					})
					return
				}
				if !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "other/production") {
					t.Errorf("says %v", err)
				}
				if len(r.driver.All()) != booted || len(r.o.Keys()) != 1 {
					t.Errorf("%d nodes, known are %v", len(r.driver.All()), r.o.Keys())
				}
			})
		})
	}
}

// What an app serves already is not checked again: the address is its own listener's.
func TestServedRouteIsNotCheckedAgain(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		r.router.TakePort(":8080", true)
		ask := asked{Request: Request{Kind: KindUp, Key: shop, Config: shopConfig(1)}}
		if err := r.o.askRoute(context.Background(), ask); err != nil {
			t.Errorf("its own address: %v", err)
		}
		ask.Config = shopConfig(1, func(c *config.App) { c.Route.TLS = &config.TLS{Cert: "/c", Key: "/k"} })
		if err := r.o.askRoute(context.Background(), ask); err == nil {
			t.Error("a new certificate is not looked at")
		}
	})
}
