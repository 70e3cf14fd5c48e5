package config

import (
	"net"
	"net/netip"
	"path/filepath"
	"strings"
)

// What users' requests go through.
const (
	RouterEmbedded = "embedded"
	RouterConsul   = "consul"
	RouterHAProxy  = "haproxy"
)

// HAProxy is the HAProxys of this machine that obey release, where router.backend says so.
type HAProxy struct {
	Edges []HAProxyEdge `yaml:"edges" json:"edges,omitempty" doc:"Each HAProxy that obeys. Default: one, as Debian's package runs it."`
}

// HAProxyEdge is one of them. Without a folder it has one in the state folder.
type HAProxyEdge struct {
	Name   string `yaml:"name" json:"name" doc:"Name of this HAProxy among the edges." default:"haproxy" pattern:"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"`
	Socket string `yaml:"socket" json:"socket" doc:"The master's socket, as haproxy -S has it: a path, or host:port on loopback." default:"/run/haproxy-master.sock"`
	Folder string `yaml:"folder,omitempty" json:"folder,omitempty" doc:"Folder for release's part of its configuration, which it reads by -f FOLDER/release.cfg; relative to this file. Default: haproxy/NAME in the state folder."`
}

func (c *checker) haproxy(r *AgentRouter) {
	if c.root.Get("router").Get("haproxy") != nil && r.Backend != RouterHAProxy {
		c.fail(c.root.LocateKey("router", "haproxy"), "router.haproxy is there, but router.backend is %s", r.Backend)
	}
	seen := map[string]bool{}
	for i, e := range r.HAProxy.Edges {
		at := func(key string) Position { return c.at("router", "haproxy", "edges", i, key) }
		name := indexed("router.haproxy.edges", i)
		if !validSocket(e.Socket) {
			c.fail(at("socket"), "%s.socket %q must be an absolute path or host:port on loopback: whoever reaches it owns HAProxy", name, e.Socket)
		}
		if strings.ContainsAny(e.Folder, "\"'\\$ \t") {
			c.fail(at("folder"), "%s.folder %q must have no spaces and quotes", name, e.Folder)
		}
		for _, key := range []string{"name " + e.Name, "socket " + e.Socket, "folder " + e.Folder} {
			what, value, _ := strings.Cut(key, " ")
			if seen[key] && value != "" {
				c.fail(at(what), "%s.%s %q is another edge's too", name, what, value)
			}
			seen[key] = true
		}
	}
}

func validSocket(s string) bool {
	if filepath.IsAbs(s) {
		return true
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || port == "" || strings.Trim(port, "0123456789") != "" {
		return false
	}
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}
