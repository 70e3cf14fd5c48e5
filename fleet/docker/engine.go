package docker

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/client"

	"github.com/bootandshoot/release/internal/fault"
)

// answerWithin bounds Available: longer is no engine to choose by default.
const answerWithin = time.Second

// Available reports within a second whether an engine that runs Linux containers answers at host ("": as in Options).
// Errors: fleet.ErrUnavailable, or one of class fault.Unsupported or fault.Invalid.
func Available(ctx context.Context, host string) error {
	c, daemon, err := connect(host, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return ping(ctx, c, daemon)
}

// Available is the function of that name for this driver's engine.
func (d *Driver) Available(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return ping(ctx, d.engine, d.daemon)
}

// Reachable is Available for an engine that may take as long as ctx allows.
func (d *Driver) Reachable(ctx context.Context) error { return ping(ctx, d.engine, d.daemon) }

// Engine asks for the engine's own id, each time: another one may answer at the same address by now.
func (d *Driver) Engine(ctx context.Context) (string, error) {
	if err := d.greet(ctx); err != nil {
		return "", err
	}
	info, err := d.engine.Info(ctx)
	if err != nil {
		return "", engineError(err, "ask docker engine at %s", d.daemon)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.reached != nil && d.reached.engine != info.ID {
		d.reached = nil // what was said of the other one
	}
	return info.ID, nil
}

func ping(ctx context.Context, c *client.Client, daemon string) error {
	p, err := c.Ping(ctx)
	if err != nil {
		return engineError(err, "ask docker engine at %s", daemon)
	}
	if p.OSType != "" && p.OSType != "linux" {
		return fault.New(fault.Unsupported, "ask docker engine at %s: it runs %s containers, not Linux ones", daemon, p.OSType)
	}
	return nil
}

// greet agrees on the API's version with the engine, once. Whatever calls the engine first goes through here: the
// client would do it by itself, but not safely for several goroutines.
func (d *Driver) greet(ctx context.Context) error {
	if d.greeted.Load() {
		return nil
	}
	d.greeting.Lock()
	defer d.greeting.Unlock()
	if d.greeted.Load() {
		return nil
	}
	p, err := d.engine.Ping(ctx)
	if err != nil {
		return engineError(err, "ask docker engine at %s", d.daemon)
	}
	d.engine.NegotiateAPIVersionPing(p)
	d.greeted.Store(true)
	return nil
}

// reach is how this machine gets to the nodes of the engine.
type reach struct {
	engine     string // the engine's own id
	host       string // name of the machine that the nodes are on
	near       bool   // the engine is on this machine: it may pull from our loopback
	publish    bool   // the nodes' own addresses cannot be reached: their ports are published
	bind       string // with publish: the address at the engine's host that takes connections; "": all
	address    string // with publish: the IP address at which that host is reached
	containerd bool   // images are in containerd's store: an image's id is its manifest's digest
}

// reach asks the engine once and remembers the answer.
func (d *Driver) reach(ctx context.Context) (reach, error) {
	d.mu.Lock()
	known := d.reached
	d.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	if err := d.greet(ctx); err != nil {
		return reach{}, err
	}
	info, err := d.engine.Info(ctx)
	if err != nil {
		return reach{}, engineError(err, "ask docker engine at %s", d.daemon)
	}
	r, err := reachOf(ctx, d.daemon, d.opts.Remote, info)
	if err != nil {
		return reach{}, err
	}
	r.engine = info.ID
	d.mu.Lock()
	d.reached = &r
	d.mu.Unlock()
	return r, nil
}

func reachOf(ctx context.Context, daemon string, remote *Remote, info system.Info) (reach, error) {
	r := reach{host: info.Name}
	for _, pair := range info.DriverStatus {
		r.containerd = r.containerd || strings.HasPrefix(pair[1], "io.containerd.snapshotter")
	}
	addr, err := daemonAddress(ctx, daemon)
	if err != nil {
		return reach{}, err
	}
	r.near = !addr.IsValid() || isOwn(addr)
	apart := info.OperatingSystem == "Docker Desktop" || slices.ContainsFunc(info.SecurityOptions, func(o string) bool { return strings.HasPrefix(o, "name=rootless") })
	switch {
	case remote != nil && remote.Address != "":
		at, err := addressOf(ctx, remote.Address, daemon)
		if err != nil {
			return reach{}, err
		}
		r.publish, r.address = true, at.String()
	case !r.near:
		r.publish, r.address = true, addr.String()
	case apart: // in a machine or network namespace of its own, which forwards published ports to our loopback
		r.publish, r.bind, r.address = true, "127.0.0.1", "127.0.0.1"
	}
	return r, nil
}

// daemonAddress is the IP address of an engine reached by a network, and not valid for one reached by a local socket.
func daemonAddress(ctx context.Context, daemon string) (netip.Addr, error) {
	u, err := url.Parse(daemon)
	if err != nil || u.Scheme == "unix" || u.Scheme == "npipe" {
		return netip.Addr{}, nil
	}
	return addressOf(ctx, u.Hostname(), daemon)
}

// addressOf is the IP address of a name.
func addressOf(ctx context.Context, name, daemon string) (netip.Addr, error) {
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return netip.Addr{}, unavailable(fault.Unavailable, fmt.Sprintf("find the address of docker engine %s", daemon), err).
			WithHint("give the address that its nodes are reached at: docker_hosts in agent.yaml")
	}
	return found[0].Unmap(), nil
}

// isOwn reports whether a is an address of this machine.
func isOwn(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(own, func(n net.Addr) bool {
		p, err := netip.ParsePrefix(n.String())
		return err == nil && p.Addr().Unmap() == a
	})
}

// Scope implements fleet.Scoped: nodes that are reached in another way, such as by published ports, have other addresses.
func (d *Driver) Scope(ctx context.Context) (string, error) {
	r, err := d.reach(ctx)
	if err != nil {
		return "", err
	}
	if r.publish {
		return fmt.Sprintf("docker engine %s on %s, by published ports", r.engine, r.host), nil
	}
	return fmt.Sprintf("docker engine %s on %s", r.engine, r.host), nil
}
