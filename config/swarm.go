package config

import "regexp"

// DriverSwarm is the driver of a Docker Swarm.
const DriverSwarm = "swarm"

// How the router reaches nodes of a Swarm.
const (
	ReachPublished = "published" // by a port of the host that a node is on
	ReachNetwork   = "network"   // by the node's own address in the first of the networks
)

// Swarm says where in a Docker Swarm the nodes of a fleet run, and what of it they have.
type Swarm struct {
	Constraints []string `yaml:"constraints,omitempty,flow" json:"constraints,omitempty" doc:"Hosts that nodes may be on, as docker service create takes them: node.role==worker, node.labels.zone!=b. All must hold. Default: any."`
	Networks    []string `yaml:"networks,omitempty,flow" json:"networks,omitempty" doc:"Overlay networks of the Swarm, by name, that the nodes join. Default: none." pattern:"^[A-Za-z0-9][A-Za-z0-9_.-]*$"`
	Secrets     []string `yaml:"secrets,omitempty,flow" json:"secrets,omitempty" doc:"Secrets of the Swarm, by name: nodes have each as /run/secrets/NAME. Default: none." pattern:"^[A-Za-z0-9][A-Za-z0-9_.-]*$"`
	Reach       string   `yaml:"reach,omitempty" json:"reach,omitempty" doc:"How the router reaches the nodes. published: by a port of their host. network: by their address in the first of networks, where the router must be part of it. Default: published." enum:"published,network"`
}

// AgentSwarm is how the agent reaches a Docker Swarm, and where the Swarm's hosts pull images from.
type AgentSwarm struct {
	Managers   []string `yaml:"managers,omitempty,flow" json:"managers,omitempty" doc:"Engines that are managers, asked in turn: unix:///path, tcp://host:2376. Default: DOCKER_HOST, else the agent's own engine." pattern:"^(unix|tcp)://.+$"`
	Engines    []string `yaml:"engines,omitempty,flow" json:"engines,omitempty" doc:"Engines of hosts that are not among managers, for release exec and cp in nodes there: unix:///path, tcp://host:2376. Default: none." pattern:"^(unix|tcp)://.+$"`
	Repository string   `yaml:"repository,omitempty" json:"repository,omitempty" doc:"Repository that images are pushed to and all hosts pull from: registry.example/team/releases. Default: the agent's own endpoint, which will do for a Swarm of one host."`
	PlainHTTP  bool     `yaml:"plain_http,omitempty" json:"plain_http,omitempty" doc:"Speak to that registry without TLS. The engines must be told as well, by insecure-registries." default:"false"`
	LostAfter  Duration `yaml:"host_lost_after,omitempty" json:"host_lost_after,omitempty" doc:"How long a host must be down, says the Swarm, before its nodes are replaced elsewhere, at least 5s." default:"2m"`
}

// What values look like.
var (
	constraintForm = form{regexp.MustCompile(`^(node|engine)\.[A-Za-z0-9._-]+\s*[!=]=\s*\S+$`), "such as node.labels.zone==a or node.role!=manager"}
	thingForm      = form{regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`), "a name that the Swarm has"}
	managerForm    = form{regexp.MustCompile(`^(unix:///.+|tcp://[^/]+:[0-9]+)$`), "unix:///path or tcp://host:port"}
	repositoryForm = form{regexp.MustCompile(`^[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+$`), "a registry and a name in it, without a tag, such as registry.example/team/releases"}
)

// onSwarm checks a fleet whose nodes are on a Swarm, and finds what such cannot have.
func (c *checker) onSwarm(f *Fleet, h *Health) {
	if f.Driver != DriverSwarm {
		if c.has("fleet", "swarm") && !c.has("fleet", "driver") {
			_ = c.fail(c.root.LocateKey("fleet", "swarm"), "fleet.swarm is there, but fleet.driver is not").WithHint("driver: swarm")
		}
		return
	}
	if len(f.Volumes) > 0 {
		_ = c.fail(c.root.LocateKey("fleet", "volumes"), "fleet.volumes: a volume is one host's, and nodes of a Swarm are on any").WithHint("keep data outside of the nodes, or use driver docker")
	}
	if h.Exec != nil {
		_ = c.fail(c.root.LocateKey("health", "exec"), "health.exec: a Swarm runs no commands in its nodes").WithHint("health: {http: {path: /healthz}}")
	}
	c.each(f.Swarm.Constraints, constraintForm, "fleet.swarm.constraints", "fleet", "swarm", "constraints")
	c.each(f.Swarm.Networks, thingForm, "fleet.swarm.networks", "fleet", "swarm", "networks")
	c.each(f.Swarm.Secrets, thingForm, "fleet.swarm.secrets", "fleet", "swarm", "secrets")
	if f.Swarm.Reach == ReachNetwork && len(f.Swarm.Networks) == 0 {
		_ = c.fail(c.at("fleet", "swarm", "reach"), "fleet.swarm.reach is network, and fleet.swarm.networks names none").WithHint("networks: [NAME]")
	}
}

// swarm checks how the Swarm is reached.
func (c *checker) swarm(s *AgentSwarm) {
	c.each(s.Managers, managerForm, "swarm.managers", "swarm", "managers")
	c.each(s.Engines, managerForm, "swarm.engines", "swarm", "engines")
	c.one(s.Repository, repositoryForm, "swarm.repository", "swarm", "repository")
	if s.PlainHTTP && s.Repository == "" {
		c.fail(c.root.LocateKey("swarm", "plain_http"), "swarm.plain_http is there, but swarm.repository is not")
	}
	if s.LostAfter < leastLostAfter {
		c.fail(c.at("swarm", "host_lost_after"), "swarm.host_lost_after %s must be at least %s", s.LostAfter, leastLostAfter)
	}
}
