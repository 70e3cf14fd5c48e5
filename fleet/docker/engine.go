package docker

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/client"

	"github.com/bootandshoot/release/internal/fault"
)

// answerWithin bounds Available: longer is no engine to choose by default.
const answerWithin = time.Second

// connect makes a client for host, or for what the DOCKER_* variables say. It does not connect yet.
func connect(host string) (*client.Client, error) {
	if host == "" {
		host = os.Getenv(client.EnvOverrideHost)
	}
	opts := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation(), client.WithUserAgent("release")}
	if strings.HasPrefix(host, "ssh://") {
		return nil, fault.New(fault.Unsupported, "connect to docker engine %s: engines over ssh are not supported", host).
			WithHint("forward its socket and name that: ssh -NL /tmp/docker.sock:/var/run/docker.sock HOST, then DOCKER_HOST=unix:///tmp/docker.sock")
	}
	if host != "" {
		opts = append(opts, client.WithHost(host))
	}
	c, err := client.NewClientWithOpts(opts...)
	if err != nil {
		return nil, fault.New(fault.Invalid, "connect to docker engine: %w", err).WithHint("check DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH")
	}
	return c, nil
}

// Available reports within a second whether an engine that runs Linux containers answers at host ("": as in Options).
// Errors: fleet.ErrUnavailable, or one of class fault.Unsupported or fault.Invalid.
func Available(ctx context.Context, host string) error {
	c, err := connect(host)
	if err != nil {
		return err
	}
	defer c.Close()
	return ping(ctx, c)
}

// Available is the function of that name for this driver's engine.
func (d *Driver) Available(ctx context.Context) error { return ping(ctx, d.engine) }

func ping(ctx context.Context, c *client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	p, err := c.Ping(ctx)
	if err != nil {
		return engineError(err, "ask docker engine at %s", c.DaemonHost())
	}
	if p.OSType != "" && p.OSType != "linux" {
		return fault.New(fault.Unsupported, "ask docker engine at %s: it runs %s containers, not Linux ones", c.DaemonHost(), p.OSType)
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
		return engineError(err, "ask docker engine at %s", d.engine.DaemonHost())
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
		return reach{}, engineError(err, "ask docker engine at %s", d.engine.DaemonHost())
	}
	r, err := reachOf(ctx, d.engine.DaemonHost(), info)
	if err != nil {
		return reach{}, err
	}
	r.engine = info.ID
	d.mu.Lock()
	d.reached = &r
	d.mu.Unlock()
	return r, nil
}

func reachOf(ctx context.Context, daemon string, info system.Info) (reach, error) {
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
	case !r.near:
		r.publish, r.address = true, addr.String()
	case apart: // in a machine or network namespace of its own, which forwards published ports to our loopback
		r.publish, r.bind, r.address = true, "127.0.0.1", "127.0.0.1"
	}
	return r, nil
}

// daemonAddress is the IP address of an engine reached by TCP, and not valid for one reached by a local socket.
func daemonAddress(ctx context.Context, daemon string) (netip.Addr, error) {
	u, err := url.Parse(daemon)
	if err != nil || u.Scheme == "unix" || u.Scheme == "npipe" {
		return netip.Addr{}, nil
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return netip.Addr{}, unavailable(fault.Unavailable, fmt.Sprintf("find docker engine %s", daemon), err)
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
