package config_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
)

func sameAgent(t *testing.T, want, got *config.Agent) {
	t.Helper()
	prefixes := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if diff := cmp.Diff(want, got, prefixes, cmpopts.IgnoreUnexported(config.Agent{})); diff != "" {
		t.Error(diff)
	}
}

func defaultAgent() *config.Agent {
	return &config.Agent{
		Ports:        config.PortRange{First: 20000, Last: 29999},
		DockerSubnet: config.Subnet{Prefix: netip.MustParsePrefix("10.214.0.0/16")},
		Swarm:        config.AgentSwarm{LostAfter: config.Duration(2 * time.Minute)},
		Router:       config.AgentRouter{Backend: config.RouterEmbedded, LogSample: 100},
		Logs:         config.AgentLogs{Size: 10 << 20, Previous: 20, Keep: 2}, Limits: config.AgentLimits{Boots: 16, Quarantine: 2, Pids: 4096},
		History: config.AgentHistory{Keep: config.Age(365 * 24 * time.Hour), Operations: 5000},
	}
}

func TestAgentDefaults(t *testing.T) {
	for _, path := range []string{"", write(t, ""), write(t, "# nothing\n"), write(t, "router:\n")} {
		got, err := config.LoadAgent(path)
		if err != nil {
			t.Fatal(err)
		}
		sameAgent(t, defaultAgent(), got)
	}
}

func TestAgent(t *testing.T) {
	path := write(t, "images: ../images\nports: 21000-21999\nsubnet: 10.9.0.0/24\nrouter: {metrics: \"127.0.0.1:9464\", access_log: access.log, access_log_sample: 2.5%, trace: {otlp: \"http://127.0.0.1:4318\", sample: 1%}}\nlogs: {size: 1MiB, keep: 5}\nlimits: {boots: 4}\nhistory: {keep: 90d, operations: 200}\n")
	got, err := config.LoadAgent(path)
	if err != nil {
		t.Fatal(err)
	}
	want := defaultAgent()
	want.Images = filepath.Join(filepath.Dir(path), "../images")
	want.Ports = config.PortRange{First: 21000, Last: 21999}
	want.Subnet.Prefix = netip.MustParsePrefix("10.9.0.0/24")
	want.Router = config.AgentRouter{Backend: config.RouterEmbedded, Metrics: "127.0.0.1:9464", AccessLog: filepath.Join(filepath.Dir(path), "access.log"), LogSample: 2.5,
		Trace: config.Trace{OTLP: "http://127.0.0.1:4318", Sample: 1}}
	want.Logs = config.AgentLogs{Size: 1 << 20, Previous: 20, Keep: 5}
	want.Limits.Boots = 4
	want.History = config.AgentHistory{Keep: config.Age(90 * 24 * time.Hour), Operations: 200}
	sameAgent(t, want, got)
}

func TestAgentStore(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "agent.yaml")
	for src, want := range map[string]*config.Consul{
		"store: embedded\n": nil,
		"store:\n":          nil,
		"store: consul\n":   {Prefix: "release/"},
		"store: {consul: {address: \"10.0.0.1:8500\"}}\n": {Prefix: "release/", Address: "10.0.0.1:8500"},
		"store: {consul: {address: \"https://consul.internal:8501\", prefix: shop/, token: file:/run/token, ca: ca.pem, cert: /c.pem, key: k.pem}}\n": {
			Address: "https://consul.internal:8501", Prefix: "shop/", Token: "file:/run/token", CA: filepath.Join(dir, "ca.pem"),
			Cert: "/c.pem", Key: filepath.Join(dir, "k.pem")},
	} {
		if err := os.WriteFile(path, []byte(src), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := config.LoadAgent(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.Store.Consul); diff != "" {
			t.Errorf("%s%s", src, diff)
		}
	}
}

func TestAgentHAProxy(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "agent.yaml")
	for src, want := range map[string][]config.HAProxyEdge{
		"router: {backend: haproxy}\n":                         nil,
		"router: {backend: haproxy, haproxy: {edges: [{}]}}\n": {{Name: "haproxy", Socket: "/run/haproxy-master.sock"}},
		"router: {backend: haproxy, haproxy: {edges: [{name: a, socket: \"127.0.0.1:9999\", folder: a}, {name: b, socket: /b.sock, folder: /b}]}}\n": {
			{Name: "a", Socket: "127.0.0.1:9999", Folder: filepath.Join(dir, "a")}, {Name: "b", Socket: "/b.sock", Folder: "/b"}},
	} {
		if err := os.WriteFile(path, []byte(src), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := config.LoadAgent(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.Router.HAProxy.Edges); diff != "" || got.Router.Backend != config.RouterHAProxy {
			t.Errorf("%s%s%s", src, got.Router.Backend, diff)
		}
	}
}

func TestAgentALB(t *testing.T) {
	got, err := config.LoadAgent(write(t, "router: {backend: alb, alb: {name: front, region: eu-central-1, drain: 1m}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := &config.ALB{Name: "front", Region: "eu-central-1", Priority: 1000, Drain: config.Duration(time.Minute), CheckPath: "/", HealthyWithin: config.Duration(2 * time.Minute)}
	if diff := cmp.Diff(want, got.Router.ALB); diff != "" || got.Router.Backend != config.RouterALB {
		t.Errorf("%s%s", got.Router.Backend, diff)
	}
}

func TestAgentErrors(t *testing.T) {
	for src, want := range map[string]string{
		"port: 1-2\n":             `1:1: unknown key "port", did you mean "ports"?`,
		"ports: 80-90\n":          `1:8: ports: "80-90" is not a range of ports from 1024 to 65535 such as 20000-29999`,
		"subnet: 10.0.0.1/24\n":   `1:9: subnet: "10.0.0.1/24" is not an IPv4 network of 16 to 28 bits such as 10.213.0.0/16`,
		"subnet: 10.214.3.0/24\n": `1:9: subnet overlaps: subnet is 10.214.3.0/24, docker_subnet is 10.214.0.0/16`,
		"docker_subnet: 10.213.3.0/24\nsubnet: 10.213.0.0/16\n":                                 `1:16: docker_subnet overlaps: subnet is 10.213.0.0/16, docker_subnet is 10.213.3.0/24`,
		"router: {access_log: x, access_log_sample: 0.5%}\n":                                    `1:44: router.access_log_sample 0.5% must be at least 1%`,
		"router: {access_log_sample: 5%}\n":                                                     `1:29: router.access_log_sample is there, but router.access_log is not`,
		"router: {trace: {otlp: \"127.0.0.1:4318\"}}\n":                                         `1:24: router.trace.otlp "127.0.0.1:4318" must be http://host:port`,
		"router: {trace: {sample: 5%}}\n":                                                       `1:17: router.trace.otlp is missing`,
		"router: {metrics: 9464}\n":                                                             `1:19: router.metrics must be text, not a number 9464`,
		"router: {metrics: \"9464\"}\n":                                                         `1:19: router.metrics "9464" must be host:port or :port, with an IP address or localhost as host`,
		"swarm: {repository: \"registry.example/team:v1\"}\n":                                   `1:21: swarm.repository "registry.example/team:v1" must be a registry and a name in it, without a tag, such as registry.example/team/releases`,
		"swarm: {plain_http: true}\n":                                                           `1:9: swarm.plain_http is there, but swarm.repository is not`,
		"swarm: {host_lost_after: 4s}\n":                                                        `1:26: swarm.host_lost_after 4s must be at least 5s`,
		"swarm: {engines: [\"ssh://10.0.0.1\"]}\n":                                              `1:19: swarm.engines[0] "ssh://10.0.0.1" must be unix:///path or tcp://host:port`,
		"swarm: {managers: [\"10.0.0.1\"]}\n":                                                   `1:20: swarm.managers[0] "10.0.0.1" must be unix:///path or tcp://host:port`,
		"router: {backend: nginx}\n":                                                            `1:19: unknown value "nginx" for router.backend`,
		"router: {haproxy: {edges: [{name: a}]}}\n":                                             `1:10: router.haproxy is there, but router.backend is embedded`,
		"router: {backend: haproxy, haproxy: {edges: [{socket: \"10.0.0.1:9999\"}]}}\n":         `1:55: router.haproxy.edges[0].socket "10.0.0.1:9999" must be an absolute path or host:port on loopback: whoever reaches it owns HAProxy`,
		"router: {backend: haproxy, haproxy: {edges: [{socket: /a}, {name: b, socket: /a}]}}\n": `1:78: router.haproxy.edges[1].socket "/a" is another edge's too`,
		"router: {backend: haproxy, access_log: x}\n":                                           `1:28: router.access_log is there, but router.backend is haproxy`,
		"router: {backend: alb}\n":                                                              `1:19: router.backend is alb, but router.alb is not there`,
		"router: {alb: {name: front}}\n":                                                        `1:10: router.alb is there, but router.backend is embedded`,
		"router: {backend: alb, alb: {name: a_b}}\n":                                            `1:36: router.alb.name "a_b" must be the name of a load balancer: at most 32 letters, digits and hyphens`,
		"router: {backend: alb, alb: {name: a, drain: 2h}}\n":                                   `1:46: router.alb.drain 2h must be from 1s to 1h`,
		"router: {backend: alb, alb: {name: a}, metrics: \":9464\"}\n":                          `1:40: router.metrics is there, but router.backend is alb`,
		"router: {backend: alb, alb: {name: a, healthy_within: 1s}}\n":                          `1:55: router.alb.healthy_within 1s must be at least 10s`,
		"router: {backend: consul, trace: {otlp: \"http://127.0.0.1:4318\"}}\n":                 `1:27: router.trace is there, but router.backend is consul`,
		"logs: {size: 1B}\n":                                                                    `1:14: logs.size must be at least 64KiB`,
		"history: {keep: 2h}\n":                                                                 `1:17: history.keep must be at least 1d`,
		"history: {keep: 1month}\n":                                                             `1:17: history.keep: "1month" is not a span of time such as 1y, 90d or 36h`,
		"history: {operations: 3}\n":                                                            `1:23: history.operations must be at least 100, not 3`,
		"limits: {pids: 1}\n":                                                                   `1:16: limits.pids must be at least 16, not 1`,
		"store: etcd\n":                                                                         `1:8: unknown value "etcd" for store`,
		"store: {}\n":                                                                           `1:8: store needs consul`,
		"store: 3\n":                                                                            `1:8: store must be embedded, consul or a mapping, not a number 3`,
		"store: {consul: {prefix: /a}}\n":                                                       `1:26: store.consul.prefix "/a" must be a path that ends in a slash and does not begin with one, such as release/`,
		"store: {consul: {token: 5c1a-secret}}\n":                                               `1:25: store.consul.token must be a reference, file:/path or env:NAME`,
		"store: {consul: {cert: a.pem}}\n":                                                      `1:17: store.consul.cert and store.consul.key belong together; one of them is missing`,
		"store: {consul: {adress: x}}\n":                                                        `1:18: unknown key "adress" in store.consul, did you mean "address"?`,
		"[]\n":                                                                                  `1:1: the file must be a mapping, not a list`,
	} {
		path := write(t, src)
		_, err := config.LoadAgent(path)
		if err == nil || strings.ReplaceAll(err.Error(), path+":", "") != want {
			t.Errorf("%s: got %v", src, err)
		}
	}
	if _, err := config.LoadAgent(filepath.Join(t.TempDir(), "agent.yaml")); !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v", err)
	}
}

func TestFindAgent(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	path := filepath.Join(dir, "release", "agent.yaml")
	if got := config.FindAgent(); got == path {
		t.Errorf("found %s before it was there", got)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := config.FindAgent(); got != path {
		t.Errorf("got %q", got)
	}
}
