package config

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/strictyaml"
)

// Agent is an agent.yaml: what belongs to the machine and not to an app. Everything has a default.
type Agent struct {
	Images       string                     `yaml:"images,omitempty" json:"images,omitempty" doc:"Folder of the image store. Default: RELEASE_IMAGES_DIR, else the user's own."`
	Ports        PortRange                  `yaml:"ports" json:"ports" doc:"Ports that nodes on the machine's own network get, first-last; keep it below the kernel's ephemeral range." default:"20000-29999"`
	Subnet       Subnet                     `yaml:"subnet,omitempty" json:"subnet,omitzero" doc:"IPv4 network of the bridge of sandbox nodes, from /16 to /28. Default: a free /16 of 10.0.0.0/8, chosen once."`
	DockerSubnet Subnet                     `yaml:"docker_subnet" json:"docker_subnet" doc:"IPv4 network of the bridge of docker nodes, from /16 to /28." default:"10.214.0.0/16"`
	DockerHosts  map[string]AgentDockerHost `yaml:"docker_hosts,omitempty" json:"docker_hosts,omitempty" doc:"How the engines of fleet.hosts are reached, by the host of their address. Default: as ssh and DOCKER_CERT_PATH say."`
	Store        AgentStore                 `yaml:"store" json:"store,omitzero" doc:"Where the agent keeps its state: embedded, a file of its own (the default), or consul, which several agents may share."`
	Swarm        AgentSwarm                 `yaml:"swarm,omitempty" json:"swarm,omitzero" doc:"The Docker Swarm that fleets may run on."`
	Router       AgentRouter                `yaml:"router" json:"router" doc:"What users' requests go through."`
	EC2          AgentEC2                   `yaml:"ec2,omitempty" json:"ec2,omitzero" doc:"What holds for all fleets on Amazon EC2. Credentials are those of AWS's own tools."`
	Logs         AgentLogs                  `yaml:"logs" json:"logs" doc:"Output of nodes that is kept on disk."`
	Hooks        AgentHooks                 `yaml:"hooks,omitempty" json:"hooks,omitzero" doc:"How the commands of apps are run that hooks name."`
	Limits       AgentLimits                `yaml:"limits" json:"limits" doc:"Bounds of what the agent does at once."`
	History      AgentHistory               `yaml:"history" json:"history" doc:"How much of what was done is kept, of each app and environment."`
	Prometheus   AgentPrometheus            `yaml:"prometheus,omitempty" json:"prometheus,omitzero" doc:"The Prometheus server that cutover.abort_on asks, unless an app names another one."`
	Approvers    map[string][]string        `yaml:"approvers,omitempty" json:"approvers,omitempty" doc:"Users who may approve for each group that cutover.steps names. For a group that is not there everybody may who can use the agent."`

	root *strictyaml.Node
}

// At is the place of the value at a path of keys, or of the nearest value above it that the file has.
func (a *Agent) At(path ...any) Position { return a.root.Locate(path...) }

// AgentRouter configures what users' requests go through.
type AgentRouter struct {
	Backend   string  `yaml:"backend" json:"backend" doc:"What users' requests go through: embedded, release's own router; consul, edges on any number of machines that follow Consul; haproxy, one that runs already; or alb, an Application Load Balancer of AWS." default:"embedded" enum:"embedded,consul,haproxy,alb"`
	HAProxy   HAProxy `yaml:"haproxy" json:"haproxy,omitzero" doc:"The HAProxys that obey, where backend is haproxy."`
	ALB       *ALB    `yaml:"alb,omitempty" json:"alb,omitempty" doc:"The load balancer that obeys, where backend is alb."`
	Metrics   string  `yaml:"metrics,omitempty" json:"metrics,omitempty" doc:"Address of the router's Prometheus metrics, host:port. Default: none."`
	AccessLog string  `yaml:"access_log,omitempty" json:"access_log,omitempty" doc:"File of the access log, JSON lines; relative to this file. Default: none."`
	LogSample Percent `yaml:"access_log_sample" json:"access_log_sample" doc:"Share of requests that get a line in it, from 1%; failed ones all do." default:"100%"`
	Trace     Trace   `yaml:"trace" json:"trace,omitzero" doc:"Spans of requests, for a collector. Default: none."`
}

// Trace says where the router exports the spans of requests to.
type Trace struct {
	OTLP   string  `yaml:"otlp,required" json:"otlp" doc:"Collector that takes OTLP over HTTP, http://host:port."`
	Sample Percent `yaml:"sample" json:"sample" doc:"Share of the requests without a trace that get one; those that are traced already are exported anyway." default:"0%"`
}

// AgentLogs bounds the output that is kept of each sandbox node, and of nodes that are gone.
type AgentLogs struct {
	Size     Bytes `yaml:"size" json:"size" doc:"A node's log file is turned over at this size." default:"10MiB"`
	Previous int   `yaml:"previous" json:"previous" doc:"Nodes of each app and environment whose last output, 256KiB, is kept after they are gone, and as many of jobs: release logs --previous." default:"20" minimum:"1" maximum:"1000"`
	Keep     int   `yaml:"keep" json:"keep" doc:"Turned-over files that are kept of each node." default:"2" minimum:"1" maximum:"100"`
}

// AgentHooks says how hooks are run.
type AgentHooks struct {
	User string `yaml:"user,omitempty" json:"user,omitempty" doc:"User of this machine that runs hooks. Default: the agent's own. Another one needs an agent that runs as root."`
}

// AgentPrometheus is a Prometheus server, or what speaks its API.
type AgentPrometheus struct {
	URL     string            `yaml:"url,omitempty" json:"url,omitempty" doc:"Its address, without /api/v1: http://127.0.0.1:9090."`
	Token   string            `yaml:"token,omitempty" json:"token,omitempty" doc:"Bearer token, which the agent reads at each question: file:/path or env:NAME." pattern:"^(file:/.+|env:[A-Za-z_][A-Za-z0-9_]*)$"`
	Headers map[string]string `yaml:"headers,omitempty" json:"headers,omitempty" doc:"Headers, whose values the agent reads likewise." pattern:"^(file:/.+|env:[A-Za-z_][A-Za-z0-9_]*)$"`
}

// AgentLimits bounds work and nodes.
type AgentLimits struct {
	Boots      int `yaml:"boots" json:"boots" doc:"Nodes that are booted at the same time." default:"16" minimum:"1" maximum:"1000"`
	Quarantine int `yaml:"quarantine" json:"quarantine" doc:"Nodes of each app and environment that may be kept in quarantine at the same time." default:"2" minimum:"1" maximum:"1000"`
	Pids       int `yaml:"pids" json:"pids" doc:"Processes and threads that one sandbox node may have." default:"4096" minimum:"16" maximum:"4194304"`
}

// AgentHistory bounds what is kept of the past. The numbers of releases, with their images, who made them and what became of
// them, stay for ever.
type AgentHistory struct {
	Keep       Age `yaml:"keep" json:"keep" doc:"How long operations, journal entries and the configurations of old releases are kept: 1y, 90d, 36h." default:"1y"`
	Operations int `yaml:"operations" json:"operations" doc:"Newest operations that are kept at most." default:"5000" minimum:"100" maximum:"100000"`
}

// LoadAgent reads an agent.yaml and fills in the defaults; path "" gives the defaults alone. The error is a fault.List
// with all problems and their places, or fault.NotFound when there is no such file.
func LoadAgent(path string) (*Agent, error) {
	a := &Agent{}
	strictyaml.Defaults(a)
	if path == "" {
		return a, nil
	}
	root, readErr := strictyaml.Read(path)
	if root == nil {
		return nil, readErr
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fault.New(fault.Invalid, "read %s: %w", path, err)
	}
	a.root = root
	c := &checker{root: root, errs: append(strictyaml.Decode(root, a), fault.All(readErr)...)}
	c.agent(a)
	for i := range a.Router.HAProxy.Edges {
		e := &a.Router.HAProxy.Edges[i]
		e.Folder = absolute(filepath.Dir(abs), e.Folder)
	}
	a.Images, a.Router.AccessLog = absolute(filepath.Dir(abs), a.Images), absolute(filepath.Dir(abs), a.Router.AccessLog)
	if a.Store.Consul != nil {
		a.Store.Consul.absolute(filepath.Dir(abs))
	}
	for name, h := range a.DockerHosts {
		a.DockerHosts[name] = h.absolute(filepath.Dir(abs))
	}
	if err := strictyaml.Sort(c.errs).Err(); err != nil {
		return nil, err
	}
	return a, nil
}

func (c *checker) agent(a *Agent) {
	if a.Subnet.Overlaps(a.DockerSubnet.Prefix) {
		key := "docker_subnet"
		if c.root.Get(key) == nil {
			key = "subnet"
		}
		c.fail(c.at(key), "%s overlaps: subnet is %s, docker_subnet is %s", key, a.Subnet, a.DockerSubnet)
	}
	if a.Store.Consul != nil {
		c.consul(a.Store.Consul, "store", "consul")
	}
	c.approvers(a.Approvers)
	c.prometheus(a.Prometheus.URL, a.Prometheus.Token, a.Prometheus.Headers, "prometheus", "prometheus")
	c.haproxy(&a.Router)
	c.swarm(&a.Swarm)
	c.ec2(&a.EC2)
	c.alb(&a.Router)
	if a.Router.Metrics != "" && !validListen(a.Router.Metrics) {
		c.fail(c.at("router", "metrics"), "router.metrics %q must be host:port or :port, with an IP address or localhost as host", a.Router.Metrics)
	}
	c.observed(&a.Router)
	if a.History.Keep < leastHistory && c.decodes(new(Age), "history", "keep") {
		c.fail(c.at("history", "keep"), "history.keep must be at least %s", leastHistory)
	}
	if c.root.Get("logs").Get("size") != nil && a.Logs.Size < leastLog && c.decodes(new(Bytes), "logs", "size") {
		c.fail(c.at("logs", "size"), "logs.size must be at least %s", leastLog)
	}
}

// approvers are users by the groups that they approve for.
func (c *checker) approvers(groups map[string][]string) {
	for _, group := range sortedKeys(groups) {
		if !validName(group) {
			c.fail(c.root.LocateKey("approvers", group), "group %q in approvers must be 1 to %d of a-z, 0-9 and -, beginning with a letter", group, maxName)
		}
		if len(groups[group]) == 0 && c.decodes(new([]string), "approvers", group) {
			c.fail(c.at("approvers", group), "approvers.%s names nobody, so nothing could be approved", group)
		}
		for i, name := range groups[group] {
			if name == "" || strings.ContainsAny(name, " \t@:") {
				c.fail(c.at("approvers", group, i), "approvers.%s[%d] %q is not the name of a user", group, i, name)
			}
		}
	}
}

// observed checks what the router tells of requests.
func (c *checker) observed(r *AgentRouter) {
	if c.unobserved(r.Backend) {
		return
	}
	if r.LogSample < 1 && c.decodes(new(Percent), "router", "access_log_sample") {
		c.fail(c.at("router", "access_log_sample"), "router.access_log_sample %s must be at least 1%%", r.LogSample)
	}
	if c.root.Get("router").Get("access_log_sample") != nil && r.AccessLog == "" {
		c.fail(c.at("router", "access_log_sample"), "router.access_log_sample is there, but router.access_log is not")
	}
	if r.Trace.OTLP == "" {
		return
	}
	if u, err := url.Parse(r.Trace.OTLP); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		c.fail(c.at("router", "trace", "otlp"), "router.trace.otlp %q must be http://host:port", r.Trace.OTLP)
	}
}

// unobserved finds what only release's own router, which the agent starts, could be told; false when that is the backend.
func (c *checker) unobserved(backend string) bool {
	hints := map[string]string{
		RouterConsul:  "give it to each edge: release router run --consul --help",
		RouterHAProxy: "HAProxy has metrics, logs and spans of its own, in its own configuration",
		RouterALB:     "a load balancer has metrics in CloudWatch, and access logs in S3",
	}
	hint, other := hints[backend]
	if !other {
		return false
	}
	for _, key := range []string{"metrics", "access_log", "access_log_sample", "trace"} {
		if c.has("router", key) {
			_ = c.fail(c.root.LocateKey("router", key), "router.%s is there, but router.backend is %s", key, backend).WithHint("%s", hint)
		}
	}
	return true
}

// leastHistory leaves room for the operation under way and those that people still talk about.
const leastHistory = Age(day)

// leastLog leaves room for the last lines that an error shows.
const leastLog Bytes = 64 << 10

// FindAgent is the path of the agent.yaml in the user's configuration folder, else in /etc/release, "" if there is
// neither.
func FindAgent() string {
	var folders []string
	if dir, err := os.UserConfigDir(); err == nil {
		folders = append(folders, filepath.Join(dir, "release"))
	}
	for _, dir := range append(folders, "/etc/release") {
		path := filepath.Join(dir, "agent.yaml")
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path
		}
	}
	return ""
}
