// Package consultest runs real Consul servers for tests: one or several, each on a loopback address of its own with the
// usual ports, so that they can be stopped, killed and started again one by one. They are gone when the test ends.
package consultest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/test/tools"
)

// patience bounds every wait for a cluster: machines that run several suites at a time are slow.
const patience = 60 * time.Second

// Binary is the path of the Consul program. Building it takes minutes the first time; .ci/prepare does it.
func Binary(t testing.TB) string {
	t.Helper()
	return tools.Build(t, "consul", "github.com/hashicorp/consul", "github.com/hashicorp/consul")
}

// Options of a cluster. The zero value is one server.
type Options struct {
	Servers int    // 0: 1
	Config  string // more configuration of every member, HCL
	Token   string // ACL token of the helper's own requests, if Config turns ACLs on
	// Host gives each server its address, which this machine must have; nil: one of the loopback network.
	Host func() string
}

// Cluster is some servers that have a leader.
type Cluster struct {
	Servers []*Member
	t       testing.TB
	opts    Options
	binary  string
}

// Start starts servers and waits until they have a leader. They end with the test.
func Start(t testing.TB, opts Options) *Cluster {
	t.Helper()
	if opts.Servers == 0 {
		opts.Servers = 1
	}
	c := &Cluster{t: t, opts: opts, binary: Binary(t)}
	for range opts.Servers {
		host := ""
		if opts.Host != nil {
			host = opts.Host()
		}
		c.Servers = append(c.Servers, c.member(host, fmt.Sprintf("-server -bootstrap-expect=%d", opts.Servers)))
	}
	for _, m := range c.Servers {
		m.join = c.addresses()
		m.Start()
	}
	c.Await()
	return c
}

// Client starts an agent that is no server, as each machine of a real installation has one: it passes requests on to
// whatever server lives.
func (c *Cluster) Client() *Member {
	c.t.Helper()
	return c.ClientAt("")
}

// ClientAt is Client at an address; "": one of the loopback network. It is started by a command before its own, such as one that
// enters a network.
func (c *Cluster) ClientAt(host string, enter ...string) *Member {
	c.t.Helper()
	m := c.member(host, "")
	m.join, m.enter = c.addresses(), enter
	m.Start()
	m.await("a leader", m.ready)
	return m
}

// Await waits until all servers that run agree on a leader and answer.
func (c *Cluster) Await() {
	c.t.Helper()
	for _, m := range c.Servers {
		if m.Running() {
			m.await("a leader", m.ready)
		}
	}
}

// Leader is the server that leads, seen by those that run.
func (c *Cluster) Leader() *Member {
	c.t.Helper()
	var found *Member
	c.Servers[0].await("a leader that runs", func() bool {
		for _, m := range c.Servers {
			if host, _, err := net.SplitHostPort(m.leader()); err == nil && m.Running() {
				if found = c.at(host); found != nil && found.Running() {
					return true
				}
			}
		}
		return false
	})
	return found
}

// Follower is a server that runs and does not lead.
func (c *Cluster) Follower() *Member {
	c.t.Helper()
	leader := c.Leader()
	for _, m := range c.Servers {
		if m != leader && m.Running() {
			return m
		}
	}
	c.t.Fatal("consul: no server follows")
	return nil
}

func (c *Cluster) at(host string) *Member {
	for _, m := range c.Servers {
		if m.Host == host {
			return m
		}
	}
	return nil
}

func (c *Cluster) addresses() []string {
	var hosts []string
	for _, m := range c.Servers {
		hosts = append(hosts, m.Host)
	}
	return hosts
}

// member makes a member with a folder and an address of its own.
func (c *Cluster) member(host, role string) *Member {
	c.t.Helper()
	dir, err := os.MkdirTemp("", "consul-")
	if err != nil {
		c.t.Fatal(err)
	}
	if host == "" {
		host = freeHost(c.t)
	}
	m := &Member{t: c.t, binary: c.binary, role: strings.Fields(role), config: c.opts.Config, token: c.opts.Token, Host: host,
		Address: host + ":8500", Dir: filepath.Join(dir, "data"), log: filepath.Join(dir, "log")}
	c.t.Cleanup(func() {
		m.Kill()
		if c.t.Failed() {
			c.t.Logf("consul %s said last:\n%s", m.Host, m.logEnd())
		}
		if err := os.RemoveAll(dir); err != nil {
			c.t.Errorf("clean up consul: %v", err)
		}
	})
	return m
}

// freeHost is an address of the loopback network where nobody uses Consul's ports.
func freeHost(t testing.TB) string {
	t.Helper()
	for range 100 {
		host := fmt.Sprintf("127.%d.%d.%d", 64+rand.IntN(64), rand.IntN(256), 1+rand.IntN(254))
		l, err := net.Listen("tcp", host+":8300")
		if err == nil {
			_ = l.Close()
			return host
		}
	}
	t.Fatal("consul: found no free loopback address; Linux has the whole of 127.0.0.0/8")
	return ""
}
