package config_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
)

const roles = `app: shop
recipe: recipes/shop.yaml
fleet: {size: 2, env: {LOG: info}}
health: {http: {path: /healthz}, interval: 2s}
roles:
  web: {needs: [api, db], fleet: {size: 4, env: {LOG: debug, TITLE: shop}}, route: {listen: ":8080", sticky: cookie}}
  api: {recipe: recipes/api.yaml, internal: true, health: {tcp: {}}, route: {node_http: h2c}}
  worker: {cmd: [/app, work], fleet: {stop: {grace: 30s}}, start: share}
  db: {recipe: recipes/db.yaml, accessory: true, internal: true, route: {protocol: tcp}}
environments:
  production: {promote: staging}
  staging: {fleet: {size: 1}, roles: {web: {fleet: {size: 1}, health: {exec: {command: [/bin/true]}}, route: {listen: ":8081"}}}}
`

func TestRolesTakeWhatTheAppSays(t *testing.T) {
	app := load(t, roles, "")
	if app.Promote != "staging" || app.Fleet.Size != 0 || app.Route.Listen != "" {
		t.Errorf("the app itself has %+v %+v, promote %q", app.Fleet, app.Route, app.Promote)
	}
	if got := strings.Join(app.RoleNames(), " "); got != "db api web worker" {
		t.Errorf("they boot in the order %s", got)
	}
	web, api, worker, db := app.Role("web"), app.Role("api"), app.Role("worker"), app.Role("db")
	if web.Fleet.Size != 4 || web.Fleet.Env["LOG"] != "debug" || web.Health.HTTP.Path != "/healthz" || web.Health.Interval != seconds(2) ||
		web.Route.Sticky.Cookie != "release_shop" || web.Route.Balance.MaxQueue != 1024 {
		t.Errorf("web is %+v", web)
	}
	if api.Fleet.Size != 2 || api.Fleet.Env["LOG"] != "info" || api.Health.HTTP != nil || api.Health.TCP == nil || api.Route.Listen != "" || api.Route.NodeHTTP != "h2c" {
		t.Errorf("api is %+v", api)
	}
	if worker.Routed() || worker.Fleet.Stop.Grace != seconds(30) || worker.Fleet.Stop.Signal != "TERM" || worker.Start != config.StartShare || worker.Command[1] != "work" {
		t.Errorf("worker is %+v", worker)
	}
	if !db.Accessory || db.Route.Protocol != config.ProtocolTCP || db.Route.NodeHTTP != "" {
		t.Errorf("db is %+v", db)
	}
	one := app.ForRole("api")
	if one.Roles != nil || one.Fleet.Size != 2 || one.Route.NodeHTTP != "h2c" || one.Recipe != "recipes/api.yaml" || one.Cutover.KeepPrevious != app.Cutover.KeepPrevious {
		t.Errorf("the app for api is %+v", one)
	}
	if app.ForRole("worker").Recipe != "recipes/shop.yaml" {
		t.Error("worker has not the recipe of the app")
	}
}

func TestRolesOfAnEnvironment(t *testing.T) {
	app := load(t, roles, "staging")
	web := app.Role("web")
	if web.Fleet.Size != 1 || web.Fleet.Env["TITLE"] != "shop" || web.Health.HTTP != nil || web.Health.Exec == nil || web.Route.Listen != ":8081" ||
		web.Route.Sticky.Cookie != "release_shop_staging" {
		t.Errorf("web is %+v", web)
	}
	if size := app.Role("worker").Fleet.Size; size != 1 {
		t.Errorf("worker has %d nodes", size)
	}
}

// What travels to the agent, and what is shown, reads back equal.
func TestRolesReadBack(t *testing.T) {
	for _, env := range []string{"production", "staging"} {
		app := load(t, roles, env)
		data, err := json.Marshal(app)
		if err != nil {
			t.Fatal(err)
		}
		var back config.App
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		back.Promote = app.Promote
		same(t, app, &back)
		if first := back.ForRole("web"); first != back.ForRole("web") {
			t.Error("the app of a role is made each time")
		}
		text, err := app.YAML()
		if err != nil {
			t.Fatal(err)
		}
		same(t, app, load(t, string(text), env))
	}
}

// An app without roles has one that is what the app says.
func TestRoleOfAnAppWithoutRoles(t *testing.T) {
	app := load(t, small, "")
	if got := app.RoleNames(); !slices.Equal(got, []string{"web"}) || !app.HasRole("web") || app.HasRole("api") {
		t.Errorf("roles are %v", got)
	}
	if r := app.Role("web"); r.Route.Listen != ":8080" || r.Fleet.Size != 1 || app.ForRole("web") != app {
		t.Errorf("web is %+v", r)
	}
}

func TestAddressVariable(t *testing.T) {
	if got := config.AddressVariable("search-api"); got != "RELEASE_ADDR_SEARCH_API" {
		t.Error(got)
	}
}

// Each case is what follows "app: shop" in a file, and the whole error text.
func TestRoleErrors(t *testing.T) {
	for name, c := range map[string]struct{ src, want string }{
		"route beside":   {"route: {listen: \":1\"}\nroles: {web: {}}\n", `2:1: route: with roles each has its own`},
		"none":           {"roles: {}\n", `2:8: roles must have at least one role`},
		"list":           {"roles: [web]\n", `2:8: roles must be a mapping, not a list`},
		"name":           {"roles: {Web: {}, api-internal: {}}\n", "2:9: role \"Web\" must be 1 to 20 of a-z, 0-9 and -, beginning with a letter and not ending in -internal\n2:18: role \"api-internal\" must be 1 to 20 of a-z, 0-9 and -, beginning with a letter and not ending in -internal"},
		"unknown":        {"roles: {web: {sizes: 1}}\n", `2:15: unknown key "sizes" in roles.web`},
		"size":           {"roles: {web: {fleet: {size: 0}}}\n", `2:29: roles.web.fleet.size must be at least 1, not 0`},
		"common once":    {"fleet: {size: 0, env: {PORT: a}}\nroles: {web: {}, api: {}}\n", "2:15: fleet.size must be at least 1, not 0\n2:24: PORT in fleet.env: it is given to every node by release"},
		"role's own":     {"roles: {web: {fleet: {env: {PORT: a}}}}\n", `2:29: PORT in roles.web.fleet.env: it is given to every node by release`},
		"across":         {"fleet: {secrets: {A: env:A}}\nroles: {web: {fleet: {env: {A: x}}}}\n", `2:19: A is in fleet.env and in fleet.secrets`},
		"address":        {"roles: {web: {fleet: {env: {RELEASE_ADDR_API: a}}}}\n", `2:29: RELEASE_ADDR_API in roles.web.fleet.env: such variables are given to nodes by release`},
		"two checks":     {"roles: {web: {health: {http: {}, tcp: {}}}}\n", `2:34: roles.web.health.tcp: there is health.http already; a node has one kind of check`},
		"no listen":      {"roles: {web: {route: {}}}\n", `2:22: roles.web.route.listen is missing`},
		"listen":         {"roles: {web: {route: {listen: 8080}}}\n", `2:31: roles.web.route.listen must be text, not a number 8080`},
		"internal":       {"roles: {web: {internal: true, route: {listen: \":1\"}}}\n", `2:39: roles.web.route.listen: an internal role is reached by the other roles only, at an address of release's choice`},
		"needs nobody":   {"roles: {web: {needs: [ap]}, api: {}}\n", `2:23: unknown role "ap" in roles.web.needs[0], did you mean "api"?`},
		"needs itself":   {"roles: {web: {needs: [web]}}\n", `2:23: roles.web.needs[0]: a role cannot need itself`},
		"needs twice":    {"roles: {web: {needs: [api, api]}, api: {}}\n", `2:28: roles.web.needs[1]: "api" is given twice`},
		"cycle":          {"roles: {a: {needs: [b]}, b: {needs: [c]}, c: {needs: [a]}}\n", `2:20: roles.a.needs: a → b → c → a need each other, so none of them could boot first`},
		"two cycles":     {"roles: {a: {needs: [b]}, b: {needs: [a]}, c: {needs: [a]}}\n", `2:20: roles.a.needs: a → b → a need each other, so none of them could boot first`},
		"accessory":      {"roles: {db: {accessory: true, needs: [web]}, web: {}}\n", `2:39: roles.db.needs[0]: an accessory boots before the other roles, so it cannot need "web"`},
		"verdict":        {"roles: {web: {verdict: of}}\n", `2:24: unknown value "of" for roles.web.verdict, did you mean "off"?`},
		"verdict alone":  {"roles: {web: {verdict: off}}\n", `2:15: roles.web.verdict: nothing is compared of a role without a route`},
		"start":          {"roles: {web: {start: hole}}\n", `2:22: unknown value "hole" for roles.web.start, did you mean "whole"?`},
		"start routed":   {"roles: {web: {start: share, route: {listen: \":1\"}}}\n", `2:15: roles.web.start: nodes of a role with a route boot at the launch, all of them`},
		"cmd":            {"roles: {web: {cmd: []}}\n", `2:20: roles.web.cmd must begin with a program`},
		"environment":    {"roles: {web: {}}\nenvironments: {dev: {roles: {web: {fleet: {env: {PORT: a}}}}}}\n", `3:50: PORT in environments.dev.roles.web.fleet.env: it is given to every node by release`},
		"promote":        {"roles: {web: {}}\nenvironments: {production: {promote: stagin}, staging: {}}\n", `3:38: unknown environment "stagin" in environments.production.promote, did you mean "staging"?`},
		"promote itself": {"roles: {web: {}}\nenvironments: {staging: {promote: staging}}\n", `3:35: environments.staging.promote: an environment cannot take images from itself`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Load(write(t, "app: shop\n"+c.src), "")
			var got []string
			for _, e := range fault.All(err) {
				text := e.Error()
				_, text, _ = strings.Cut(text, "release.yaml:")
				got = append(got, text)
			}
			if strings.Join(got, "\n") != c.want {
				t.Errorf("got  %s\nwant %s", strings.Join(got, "\n"), c.want)
			}
		})
	}
}

// An app that an earlier version has recorded has no roles, and one with roles that a later key was added to gets its default.
func TestRecordedRoleIsComplete(t *testing.T) {
	var app config.App
	if err := json.Unmarshal([]byte(`{"app":"shop","roles":{"web":{"fleet":{"size":3},"route":{"listen":":80"}}}}`), &app); err != nil {
		t.Fatal(err)
	}
	web := app.Role("web")
	if web.Fleet.Size != 3 || web.Health.Interval.Std() != time.Second || web.Route.Protocol != "http" || web.Route.Balance.MaxQueue != 1024 {
		t.Errorf("web is %+v", web)
	}
}
