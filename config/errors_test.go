package config_test

import (
	"strings"
	"testing"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
)

// Each case is what follows the smallest app (three lines), or a whole file, and the whole error text.
func TestErrors(t *testing.T) {
	for name, c := range map[string]struct{ src, want string }{
		"empty file":         {"=", `1:1: the file must be a mapping, but is empty`},
		"list":               {"=- a\n", `1:1: the file must be a mapping, not a list`},
		"nothing required":   {"={}\n", "1:1: app is missing\n1:1: route is missing"},
		"no listen":          {"=app: a\nroute: {}\n", `2:8: route.listen is missing`},
		"unknown":            {"flet: {}\n", `4:1: unknown key "flet", did you mean "fleet"?`},
		"hooks":              {"hook: {}\n", `4:1: unknown key "hook", did you mean "hooks"?`},
		"app name":           {"=app: Shop\nroute: {listen: \":1\"}\n", `1:6: app "Shop" must be 1 to 20 of a-z, 0-9 and -, beginning with a letter`},
		"app empty":          {"=app: \"\"\nroute: {listen: \":1\"}\n", `1:6: app "" must be 1 to 20 of a-z, 0-9 and -, beginning with a letter`},
		"app long":           {"=app: abcdefghijklmnopqrstu\nroute: {listen: \":1\"}\n", `1:6: app "abcdefghijklmnopqrstu" must be 1 to 20 of a-z, 0-9 and -, beginning with a letter`},
		"app number":         {"=app: 12\nroute: {listen: \":1\"}\n", `1:6: app must be text, not a number 12`},
		"driver":             {"fleet: {driver: dokcer}\n", `4:17: unknown value "dokcer" for fleet.driver, did you mean "docker"?`},
		"size":               {"fleet: {size: 0}\n", `4:15: fleet.size must be at least 1, not 0`},
		"size text":          {"fleet: {size: \"4\"}\n", `4:15: fleet.size must be a whole number, not text "4"`},
		"cpus":               {"fleet: {resources: {cpus: 0}}\n", `4:27: fleet.resources.cpus must be at least 0.01, not 0`},
		"memory small":       {"fleet: {resources: {memory: 1MiB}}\n", `4:29: fleet.resources.memory must be at least 6MiB`},
		"memory zero":        {"fleet: {resources: {memory: 0B}}\n", `4:29: fleet.resources.memory must be at least 6MiB`},
		"memory no unit":     {"fleet: {resources: {memory: 512}}\n", `4:29: fleet.resources.memory: "512" is not an amount such as 512MiB or 2GiB`},
		"signal":             {"fleet: {stop: {signal: SIGTERM}}\n", `4:24: unknown value "SIGTERM" for fleet.stop.signal, did you mean "TERM"?`},
		"grace":              {"fleet: {stop: {grace: 10}}\n", `4:23: fleet.stop.grace: "10" is not a duration such as 500ms, 10s or 1m30s`},
		"negative":           {"fleet: {stop: {grace: -1s}}\n", `4:23: fleet.stop.grace: "-1s" is negative`},
		"env number":         {"fleet: {env: {A: 1}}\n", `4:18: fleet.env.A must be text, not a number 1`},
		"env name":           {"fleet: {env: {1A: x}}\n", `4:15: "1A" in fleet.env is not a name of an environment variable`},
		"env port":           {"fleet: {env: {PORT: \"1\"}}\n", `4:15: PORT in fleet.env: it is given to every node by release`},
		"secret value":       {"fleet: {secrets: {DB: hunter2}}\n", `4:23: fleet.secrets.DB must be a reference, file:/path or env:NAME`},
		"secret relative":    {"fleet: {secrets: {DB: file:run/db}}\n", `4:23: fleet.secrets.DB must be a reference, file:/path or env:NAME`},
		"secret env":         {"fleet: {secrets: {DB: env:A-B}}\n", `4:23: fleet.secrets.DB must be a reference, file:/path or env:NAME`},
		"secret twice":       {"fleet: {env: {A: x}, secrets: {A: env:A}}\n", `4:32: A is in fleet.env and in fleet.secrets`},
		"drift":              {"fleet: {drift: {policy: shoot, every: 1ms, allow: [var, /a/../b, \"/a[\", \"/a**\", /a/**]}}\n", "4:25: unknown value \"shoot\" for fleet.drift.policy\n4:39: fleet.drift.every must be at least 1s, not 1ms\n4:52: fleet.drift.allow[0] \"var\" must be an absolute path or a pattern such as /var/cache/**\n4:57: fleet.drift.allow[1] \"/a/../b\" must be an absolute path or a pattern such as /var/cache/**\n4:66: fleet.drift.allow[2] \"/a[\" must be an absolute path or a pattern such as /var/cache/**\n4:73: fleet.drift.allow[3] \"/a**\" must be an absolute path or a pattern such as /var/cache/**"},
		"volume":             {"fleet: {volumes: [{name: Data, path: srv}, {name: b}, {name: c, path: /dev/shm, writer: two}]}\n", "4:26: fleet.volumes[0].name \"Data\" must be 1 to 20 of a-z, 0-9 and -, beginning with a letter\n4:38: fleet.volumes[0].path \"srv\" must be an absolute path such as /srv/data\n4:44: fleet.volumes[1].path is missing\n4:71: fleet.volumes[2].path \"/dev/shm\": /dev is every node's own\n4:89: unknown value \"two\" for fleet.volumes[2].writer"},
		"volumes":            {"fleet: {volumes: [{name: a, path: /srv/a}, {name: a, path: /srv}]}\n", "4:51: fleet.volumes[1].name \"a\" is given twice\n4:60: fleet.volumes[1].path \"/srv\": the volume a is at /srv/a already"},
		"volume of one":      {"fleet: {size: 2, volumes: [{name: a, path: /srv}]}\n", `4:15: fleet.size must be 1, not 2: of a volume with one writer only one node can have it`},
		"swarm":              {"fleet: {driver: swarm, volumes: [{name: a, path: /srv}], swarm: {constraints: [\"zone=a\"], networks: [\"a b\"], reach: network}}\nhealth: {exec: {command: [/ok]}}\n", "4:24: fleet.volumes: a volume is one host's, and nodes of a Swarm are on any\n4:80: fleet.swarm.constraints[0] \"zone=a\" must be such as node.labels.zone==a or node.role!=manager\n4:102: fleet.swarm.networks[0] \"a b\" must be a name that the Swarm has\n5:10: health.exec: a Swarm runs no commands in its nodes"},
		"swarm by default":   {"fleet: {swarm: {networks: [back]}}\n", "4:9: fleet.swarm is there, but fleet.driver is not"},
		"swarm of a role":    {"=app: a\nfleet: {driver: swarm}\nroles: {w: {fleet: {swarm: {reach: network}}}}\n", "3:36: roles.w.fleet.swarm.reach is network, and fleet.swarm.networks names none"},
		"volume and steps":   {"fleet: {volumes: [{name: a, path: /srv}]}\ncutover: {steps: [{percent: 10}, {percent: 100}]}\n", `5:18: cutover.steps: web hands a volume with one writer over, so it has all of the traffic or none`},
		"volume and share":   {"=app: a\nroles: {w: {start: share, fleet: {volumes: [{name: a, path: /srv}]}}}\n", `2:13: roles.w.start: nodes of a role that has a volume with one writer boot when it is handed over`},
		"two checks":         {"health: {http: {}, tcp: {}}\n", `4:20: health.tcp: there is health.http already; a node has one kind of check`},
		"check path":         {"health: {http: {path: healthz}}\n", `4:23: health.http.path "healthz" must be a path such as /healthz`},
		"check url":          {"health: {http: {path: \"//x/y\"}}\n", `4:23: health.http.path "//x/y" must be a path such as /healthz`},
		"check port":         {"health: {tcp: {port: 65536}}\n", `4:22: health.tcp.port must be at most 65535, not 65536`},
		"check status":       {"health: {http: {status: [200, 99]}}\n", `4:31: health.http.status[1] must be at least 100, not 99`},
		"check command":      {"health: {exec: {command: []}}\n", `4:26: health.exec.command must begin with a program`},
		"check no command":   {"health: {exec: {}}\n", `4:16: health.exec.command is missing`},
		"interval":           {"health: {interval: 1ms}\n", `4:20: health.interval must be at least 10ms, not 1ms`},
		"timeout":            {"health: {timeout: 0s}\n", `4:19: health.timeout must be at least 1ms, not 0s`},
		"healthy_after":      {"health: {healthy_after: 0}\n", `4:25: health.healthy_after must be at least 1, not 0`},
		"listen":             {"=app: a\nroute: {listen: 8080}\n", `2:17: route.listen must be text, not a number 8080`},
		"listen bare":        {"=app: a\nroute: {listen: \"8080\"}\n", `2:17: route.listen "8080" must be host:port or :port, with an IP address or localhost as host`},
		"listen zero":        {"=app: a\nroute: {listen: \":0\"}\n", `2:17: route.listen ":0" must be host:port or :port, with an IP address or localhost as host`},
		"listen name":        {"=app: a\nroute: {listen: \"shop.example:80\"}\n", `2:17: route.listen "shop.example:80" must be host:port or :port, with an IP address or localhost as host`},
		"host":               {"=app: a\nroute: {listen: \":1\", hosts: [Shop.example, a.b, a.b, \"*\", \"x:1\"]}\n", "2:31: route.hosts[0] \"Shop.example\" must be a name such as shop.example or *.shop.example, in lower case, without a port\n2:50: route.hosts[2] \"a.b\" is given twice\n2:55: route.hosts[3] \"*\" must be a name such as shop.example or *.shop.example, in lower case, without a port\n2:60: route.hosts[4] \"x:1\" must be a name such as shop.example or *.shop.example, in lower case, without a port"},
		"paths":              {"=app: a\nroute: {listen: \":1\", paths: [api, /a/../b, /a, /a]}\n", "2:31: route.paths[0] \"api\" must be a clean path that begins with /, such as /api\n2:36: route.paths[1] \"/a/../b\" must be a clean path that begins with /, such as /api\n2:49: route.paths[3] \"/a\" is given twice"},
		"tls":                {"=app: a\nroute: {listen: \":1\", tls: {cert: \"\"}}\n", "2:28: route.tls.key is missing\n2:35: route.tls.cert must be the path of a file"},
		"acme":               {"=app: a\nroute: {listen: \":1\", tls: {cert: a, key: b, acme: {}}}\n", `2:46: route.tls.acme: there is a certificate from a file already; choose one`},
		"tls nothing":        {"=app: a\nroute: {listen: \":1\", tls: {}}\n", `2:28: route.tls needs cert and key, or acme`},
		"tls no cert":        {"=app: a\nroute: {listen: \":1\", tls: {key: k}}\n", `2:28: route.tls.cert is missing`},
		"acme no hosts":      {"=app: a\nroute: {listen: \":1\", tls: {acme: {}}}\n", `2:29: route.tls.acme needs route.hosts: a certificate is for names`},
		"acme wildcard":      {"=app: a\nroute: {listen: \":1\", hosts: [a.b, \"*.b\"], tls: {acme: {email: x, directory: \"http://a\"}}}\n", "2:36: route.hosts[1] \"*.b\": acme has no certificate for it, since all of its names would have to be proven by DNS\n2:64: route.tls.acme.email \"x\" must be an address such as ops@shop.example\n2:78: route.tls.acme.directory \"http://a\" must be an address that begins with https://"},
		"redirect":           {"=app: a\nroute: {listen: \":1\", tls: {cert: a, key: b, redirect: \"80\", client_ca: \"\"}}\n", "2:56: route.tls.redirect \"80\" must be host:port or :port, with an IP address or localhost as host\n2:73: route.tls.client_ca must be the path of a file"},
		"redirect same":      {"=app: a\nroute: {listen: \":1\", tls: {cert: a, key: b, redirect: \":1\", hsts: 1}}\n", "2:56: route.tls.redirect is route.listen: one address serves HTTP or HTTPS\n2:68: route.tls.hsts: \"1\" is not a duration such as 500ms, 10s or 1m30s"},
		"protocol":           {"=app: a\nroute: {listen: \":1\", protocol: udp, node_http: h2}\n", "2:33: unknown value \"udp\" for route.protocol, did you mean \"tcp\"?\n2:49: unknown value \"h2\" for route.node_http, did you mean \"h2c\"?"},
		"tcp":                {"=app: a\nroute: {listen: \":1\", protocol: tcp, hosts: [a.b], node_http: http1, sticky: cookie}\n", "2:38: route.hosts: a tcp route has none; its connections carry no host, path or header that could be read\n2:52: route.node_http: a tcp route has none; its connections carry no host, path or header that could be read\n2:78: route.sticky: a tcp route can only be sticky by client-address"},
		"trusted":            {"=app: a\nroute: {listen: \":1\", trusted: [proxy], proxy_protocol: yes}\n", "2:33: route.trusted[0] \"proxy\" must be an address or a network such as 10.0.0.0/8\n2:57: route.proxy_protocol must be true or false, not text \"yes\""},
		"proxy untrusted":    {"=app: a\nroute: {listen: \":1\", proxy_protocol: true}\n", `2:39: route.proxy_protocol needs route.trusted: the header is taken from proxies that are named, and from nobody else`},
		"rule empty":         {"=app: a\nroute:\n  listen: \":1\"\n  rules:\n  - {to: r8}\n  - {header: {}, path: [], to: r8}\n", "5:5: route.rules[0] needs header, cookie, path or from: without a condition it would take every request\n6:5: route.rules[1] needs header, cookie, path or from: without a condition it would take every request"},
		"rule target":        {"=app: a\nroute:\n  listen: \":1\"\n  rules: [{path: [/a], to: canary}, {path: [/a]}, {path: [/a], to: r0}]\n", "4:28: route.rules[0].to \"canary\" must be candidate, serving, previous or a release such as r8\n4:37: route.rules[1].to is missing\n4:68: route.rules[2].to \"r0\" must be candidate, serving, previous or a release such as r8"},
		"rule conditions":    {"=app: a\nroute:\n  listen: \":1\"\n  rules:\n  - header: {\"X Y\": a, host: b, x-a: c, X-A: d}\n    cookie: {\"a b\": c}\n    path: [b, /c, /c]\n    from: [10.0.0.0/99]\n    to: previous\n", "5:14: \"X Y\" in route.rules[0].header is not the name of a header\n5:24: route.rules[0].header: Host is what route.hosts are for\n5:33: \"x-a\" in route.rules[0].header is given twice: header names ignore case\n6:14: \"a b\" in route.rules[0].cookie is not the name of a cookie\n7:12: route.rules[0].path[0] \"b\" must be a clean path that begins with /, such as /api\n7:19: route.rules[0].path[2] \"/c\" is given twice\n8:12: route.rules[0].from[0] \"10.0.0.0/99\" must be an address or a network such as 10.0.0.0/8"},
		"rule kind":          {"=app: a\nroute:\n  listen: \":1\"\n  rules: [{header: X-A, to: r8}]\n", `4:20: route.rules[0].header must be a mapping, not text "X-A"`},
		"sticky word":        {"=app: a\nroute: {listen: \":1\", sticky: cookies}\n", `2:31: unknown value "cookies" for route.sticky, did you mean "cookie"?`},
		"sticky kind":        {"=app: a\nroute: {listen: \":1\", sticky: [cookie]}\n", `2:31: route.sticky must be cookie, client-address or a mapping, not a list`},
		"sticky empty":       {"=app: a\nroute: {listen: \":1\", sticky: {}}\n", `2:31: route.sticky needs cookie or header`},
		"sticky both":        {"=app: a\nroute: {listen: \":1\", sticky: {cookie: a, header: b}}\n", `2:43: route.sticky.header: there is route.sticky.cookie already; a client is known by one of them`},
		"sticky cookie name": {"=app: a\nroute: {listen: \":1\", sticky: {cookie: \"a b\"}}\n", `2:40: route.sticky.cookie "a b" must be 1 to 64 of A-Z, a-z, 0-9, _, . and -`},
		"sticky header name": {"=app: a\nroute: {listen: \":1\", sticky: {header: \"a:\"}}\n", `2:40: route.sticky.header "a:" must be the name of a header such as X-User`},
		"sticky header age":  {"=app: a\nroute: {listen: \":1\", sticky: {header: x-user, max_age: 1h}}\n", `2:48: route.sticky.max_age is that of a cookie, and there is none`},
		"sticky age":         {"=app: a\nroute: {listen: \":1\", sticky: {cookie: a, max_age: 1}}\ncutover: {drain: {sessions: 1h}}\n", `2:52: route.sticky.max_age: "1" is not a duration such as 500ms, 10s or 1m30s`},
		"sessions":           {"cutover: {drain: {sessions: 1h}}\n", `4:29: cutover.drain.sessions needs route.sticky: cookie, which tells who was on the old release`},
		"sessions by header": {"=app: a\nroute: {listen: \":1\", sticky: {header: X-User}}\ncutover: {drain: {sessions: 1h}}\n", `3:29: cutover.drain.sessions needs route.sticky: cookie, which tells who was on the old release`},
		"hedging":            {"=app: a\nroute: {listen: \":1\", balance: {timeout: 1s, hedge_after: 1s}}\n", "2:59: route.balance.hedge_after must be below route.balance.timeout, after which nobody waits for an answer"},
		"hedging of tcp":     {"=app: a\nroute: {listen: \":1\", protocol: tcp, balance: {hedge_after: 1s}}\n", "2:61: route.balance.hedge_after: a tcp route has none; who knows whether its bytes may be sent twice"},
		"balance":            {"=app: a\nroute: {listen: \":1\", balance: {eject_after: -1, max_in_flight: 0, max_queue: 0, queue_wait: 0s, timeout: 1us, hedge_after: 0s}}\n", "2:46: route.balance.eject_after must be at least 0, not -1\n2:65: route.balance.max_in_flight must be at least 1, not 0\n2:79: route.balance.max_queue must be at least 1, not 0\n2:94: route.balance.queue_wait must be at least 1ms, not 0s\n2:107: route.balance.timeout must be at least 1ms, not 1µs\n2:125: route.balance.hedge_after must be at least 1ms, not 0s"},
		"long connections":   {"cutover: {drain: {long_connections: 10}}\n", `4:37: cutover.drain.long_connections: "10" is not a duration such as 500ms, 10s or 1m30s`},
		"preview":            {"=app: a\nroute: {listen: \":1\", preview: {from: [10.0.0.0/33, x], key: abc}}\n", "2:40: route.preview.from[0] \"10.0.0.0/33\" must be an address or a network such as 10.0.0.0/8\n2:53: route.preview.from[1] \"x\" must be an address or a network such as 10.0.0.0/8\n2:62: route.preview.key must be a reference, file:/path or env:NAME"},
		"no steps":           {"cutover: {steps: []}\n", `4:18: cutover.steps must have at least one step`},
		"steps fall":         {"cutover:\n  steps:\n    - percent: 50\n    - percent: 50\n    - percent: 100\n", `7:16: cutover.steps[1].percent must be above the step before it, 50`},
		"steps end":          {"cutover: {steps: [{percent: 50}]}\n", `4:29: cutover.steps[0].percent is the last and must be 100`},
		"steps bounds":       {"cutover: {steps: [{percent: 0}, {percent: 101}]}\n", "4:29: cutover.steps[0].percent must be at least 1, not 0\n4:43: cutover.steps[1].percent must be at most 100, not 101"},
		"steps hold":         {"cutover: {steps: [{percent: 100, hold: 2}]}\n", `4:40: cutover.steps[0].hold: "2" is not a duration such as 500ms, 10s or 1m30s`},
		"steps share":        {"cutover: {steps: [{hold: 2s}]}\n", `4:19: cutover.steps[0].percent is missing`},
		"abort on nothing":   {"cutover: {abort_on: {min_requests: 5}}\n", `4:21: cutover.abort_on needs error_rate, p99_over_old, prometheus or command`},
		"abort rate":         {"cutover: {abort_on: {error_rate: 1}}\n", `4:34: cutover.abort_on.error_rate: "1" is not a percentage such as 1% or 0.5%`},
		"abort rate zero":    {"cutover: {abort_on: {error_rate: 0%}}\n", `4:34: cutover.abort_on.error_rate must be above 0%`},
		"abort ratio":        {"cutover: {abort_on: {p99_over_old: 0.5x}}\n", `4:36: cutover.abort_on.p99_over_old must be at least 1x`},
		"abort ratio no x":   {"cutover: {abort_on: {p99_over_old: 1.5}}\n", `4:36: cutover.abort_on.p99_over_old: "1.5" is not a ratio such as 1.5x`},
		"verdict word":       {"cutover: {verdict: never}\n", `4:20: unknown value "never" for cutover.verdict`},
		"verdict list":       {"cutover: {verdict: []}\n", `4:20: cutover.verdict must be off or a mapping, not a list`},
		"verdict key":        {"cutover: {verdict: {false_alarm: 1%}}\n", `4:21: unknown key "false_alarm" in cutover.verdict, did you mean "false_alarms"?`},
		"verdict sure":       {"cutover: {verdict: {false_alarms: 0%, good_within: {slow: 60%}}}\n", "4:35: cutover.verdict.false_alarms must be above 0% and at most 50%, not 0%\n4:59: cutover.verdict.good_within.slow must be above 0% and at most 50%, not 60%"},
		"verdict ratio":      {"cutover: {verdict: {worse_from: {latency: 0.9x}}}\n", `4:43: cutover.verdict.worse_from.latency must be at least 1x`},
		"overlay key":        {"environments: {staging: {flett: {}, app: x}}\n", "4:26: unknown key \"flett\" in environments.staging, did you mean \"fleet\"?\n4:37: unknown key \"app\" in environments.staging"},
		"overlay inner":      {"environments:\n  staging:\n    fleet: {sizes: 2}\n", `6:13: unknown key "sizes" in environments.staging.fleet, did you mean "size"?`},
		"overlay meaning":    {"environments:\n  staging:\n    cutover: {steps: [{percent: 5}]}\n", `6:33: environments.staging.cutover.steps[0].percent is the last and must be 100`},
		"overlay value":      {"environments: {staging: {route: {protocol: route, hosts: [\"fleet:1\"]}}}\n", "4:44: unknown value \"route\" for environments.staging.route.protocol\n4:59: environments.staging.route.hosts[0] \"fleet:1\" must be a name such as shop.example or *.shop.example, in lower case, without a port"},
		"overlay of two":     {"environments: {a: {fleet: {size: x}}, b: {fleet: {env: {1A: x}}, health: {http: {}, tcp: {}}}}\n", "4:34: environments.a.fleet.size must be a whole number, not text \"x\"\n4:57: \"1A\" in environments.b.fleet.env is not a name of an environment variable\n4:85: environments.b.health.tcp: there is health.http already; a node has one kind of check"},
		"overlay name":       {"environments: {Stage: {}}\n", `4:16: environment "Stage" must be 1 to 20 of a-z, 0-9 and -, beginning with a letter`},
		"overlay list":       {"environments: [staging]\n", `4:15: environments must be a mapping, not a list`},
		"overlay text":       {"environments: {staging: x}\n", `4:25: environments.staging must be a mapping, not text "x"`},
		"base and overlay":   {"fleet: {size: x}\nenvironments: {staging: {}}\n", `4:15: fleet.size must be a whole number, not text "x"`},
		"overlay duplicates": {"environments: {a: {}, a: {}}\n", `4:23: key "a" is given twice, first in line 4`},
	} {
		t.Run(name, func(t *testing.T) {
			src, whole := strings.CutPrefix(c.src, "=")
			if !whole {
				src = small + src
			}
			path := write(t, src)
			app, err := config.Load(path, "")
			if err == nil {
				t.Fatalf("no error: %+v", app)
			}
			if got := strings.ReplaceAll(err.Error(), path+":", ""); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
			if fault.CodeOf(err).ExitCode() != 2 {
				t.Errorf("exit code %d", fault.CodeOf(err).ExitCode())
			}
		})
	}
}

func TestUnknownEnvironment(t *testing.T) {
	path := write(t, full)
	_, err := config.Load(path, "stagin")
	all := fault.All(err)
	if len(all) != 1 {
		t.Fatalf("got %v", err)
	}
	if got, want := all[0].Message, `unknown environment "stagin", did you mean "staging"?`; got != want {
		t.Errorf("got %s", got)
	}
	if got, want := all[0].Hint, "valid here: dev, production, staging"; got != want {
		t.Errorf("got %s", got)
	}
	if all[0].Line != 23 || all[0].Column != 1 {
		t.Errorf("at %d:%d", all[0].Line, all[0].Column)
	}
	if _, err := config.Load(write(t, small), "staging"); !strings.Contains(fault.All(err)[0].Hint, "no environments") {
		t.Errorf("got %v", err)
	}
}

// A secret that stands in the file by mistake is not shown by the error.
func TestErrorsHideSecrets(t *testing.T) {
	_, err := config.Load(write(t, small+"fleet: {secrets: {DB: hunter2}}\n"), "")
	if err == nil || strings.Contains(err.Error()+fault.All(err)[0].Hint, "hunter2") {
		t.Errorf("got %v", err)
	}
}
