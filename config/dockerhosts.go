package config

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/jsonschema"
	"github.com/bootandshoot/release/internal/strictyaml"
)

// AgentDockerHost is how the engine of one of fleet.hosts is reached from the machine of the agent.
type AgentDockerHost struct {
	Address    string `yaml:"address,omitempty" json:"address,omitempty" doc:"IP address or name at which its nodes' ports are reached. Default: the host of its address."`
	Certs      string `yaml:"certs,omitempty" json:"certs,omitempty" doc:"Folder with ca.pem, cert.pem and key.pem, for tcp; relative to this file. Default: DOCKER_CERT_PATH."`
	Identity   string `yaml:"identity,omitempty" json:"identity,omitempty" doc:"File of the private key, for ssh; relative to this file. Default: as ssh is configured."`
	KnownHosts string `yaml:"known_hosts,omitempty" json:"known_hosts,omitempty" doc:"File with the keys of hosts, for ssh; relative to this file. Default: as ssh is configured."`
}

// absolute makes the paths of files absolute.
func (h AgentDockerHost) absolute(dir string) AgentDockerHost {
	for _, file := range []*string{&h.Certs, &h.Identity, &h.KnownHosts} {
		*file = absolute(dir, *file)
	}
	return h
}

// Engines are addresses of Docker engines.
type Engines []string

// UnmarshalNode takes a list of texts. Within a mapping on one line YAML's parser takes "tcp://host:2376" for a key with a number; what
// is meant is clear.
func (e *Engines) UnmarshalNode(n *strictyaml.Node, path string) error {
	if n.Kind != strictyaml.List {
		return strictyaml.WrongKind(n, path, "a list")
	}
	var errs fault.List
	for i, item := range n.Items {
		switch {
		case item.Kind == strictyaml.Text:
			*e = append(*e, item.Text)
		case item.Kind == strictyaml.Map && len(item.Entries) == 1 && item.Entries[0].Value.Kind == strictyaml.Int:
			*e = append(*e, item.Entries[0].Key+":"+item.Entries[0].Value.Text)
		default:
			errs = append(errs, strictyaml.WrongKind(item, indexed(path, i), "text"))
		}
	}
	return errs.Err()
}

// JSONSchema is that of a list of texts.
func (*Engines) JSONSchema() *jsonschema.Schema { return jsonschema.For[[]string]() }

// LocalHost is the name of an engine that is reached by a socket of the agent's machine.
const LocalHost = "local"

// HostName is how the host of an engine's address is called: "10.0.0.2" of ssh://ops@10.0.0.2:22.
func HostName(where string) (string, error) {
	u, err := url.Parse(where)
	if err != nil {
		return "", err
	}
	_, secret := u.User.Password()
	switch {
	case u.Scheme == "unix" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		return LocalHost, nil
	case secret || u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("it must not have a password, a query or a fragment")
	case u.Scheme == "ssh" && u.Hostname() != "", u.Scheme == "tcp" && u.Hostname() != "" && u.Port() != "" && u.Path == "" && u.User == nil:
		return strings.ToLower(u.Hostname()), nil
	}
	return "", fmt.Errorf("it must be ssh://[user@]host[:port], tcp://host:port or unix:///path")
}

// HostsDriver is the name of the driver of fleets with hosts, as it is recorded.
const HostsDriver = "docker-hosts"

// DriverName is the driver that the fleet asks for; "": the agent's own choice.
func (f *Fleet) DriverName() string {
	if len(f.Hosts) > 0 {
		return HostsDriver
	}
	return f.Driver
}

// HostNames are the fleet's hosts: their addresses by name; nil for a fleet without.
func (f *Fleet) HostNames() map[string]string {
	if len(f.Hosts) == 0 {
		return nil
	}
	names := make(map[string]string, len(f.Hosts))
	for _, where := range f.Hosts {
		if name, err := HostName(where); err == nil { // others were refused
			names[name] = where
		}
	}
	return names
}

// defaultLostAfter is longer than an engine's restart, or that of a small machine.
const defaultLostAfter = time.Minute

// HostLostAfter is how long a host may not answer before its nodes are replaced elsewhere.
func (f *Fleet) HostLostAfter() time.Duration {
	if f.LostAfter > 0 {
		return f.LostAfter.Std()
	}
	return defaultLostAfter
}

// leastLostAfter is longer than an engine that is busy takes to answer.
const leastLostAfter = Duration(5 * time.Second)

func (c *checker) hosts(f *Fleet) {
	if c.root.Get("fleet").Get("host_lost_after") != nil && f.LostAfter < leastLostAfter && c.decodes(new(Duration), "fleet", "host_lost_after") {
		c.fail(c.at("fleet", "host_lost_after"), "fleet.host_lost_after must be at least %s, not %s", leastLostAfter, f.LostAfter)
	}
	if len(f.Hosts) == 0 {
		return
	}
	if f.Driver != "" && f.Driver != "docker" {
		c.fail(c.at("fleet", "hosts"), "fleet.hosts is of driver docker, and fleet.driver is %s", f.Driver)
	}
	if len(f.Volumes) > 0 {
		c.fail(c.at("fleet", "volumes"), "fleet.volumes: a volume lies on one machine, and the nodes may boot on any of fleet.hosts").
			WithHint("run what keeps data without fleet.hosts, by an agent on its machine")
	}
	seen := map[string]int{}
	for i, where := range f.Hosts {
		name, err := HostName(where)
		if err != nil {
			c.fail(c.at("fleet", "hosts", i), "fleet.hosts[%d] %q: %v", i, where, err)
			continue
		}
		if first, twice := seen[name]; twice {
			c.fail(c.at("fleet", "hosts", i), "fleet.hosts[%d] %q is on the host %s, as fleet.hosts[%d] is", i, where, name, first)
			continue
		}
		seen[name] = i
	}
}
