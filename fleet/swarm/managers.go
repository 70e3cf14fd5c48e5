package swarm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	dockerswarm "github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/client"

	"github.com/bootandshoot/release/fleet/dockerapi"
	"github.com/bootandshoot/release/internal/fault"
)

// answerWithin is how long one manager is waited for where there is another to ask.
const answerWithin = 5 * time.Second

// manager is an engine that is one, or should be.
type manager struct {
	client *client.Client

	mu      sync.Mutex // held while the API's version is agreed on: the client does that, but not safely for several goroutines
	greeted bool
}

// connect makes a client for each host, or one for what the DOCKER_* variables say. It does not connect yet.
func connect(hosts []string) ([]*manager, error) {
	if len(hosts) == 0 {
		c, err := dockerapi.NewClient(client.FromEnv)
		if err != nil {
			return nil, fault.New(fault.Invalid, "connect to Swarm manager: %w", err).WithHint("check DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH")
		}
		return []*manager{{client: c}}, nil
	}
	var managers []*manager
	for _, host := range hosts {
		opts, err := []client.Opt{client.WithHost(host)}, error(nil)
		if strings.HasPrefix(host, "tcp://") {
			opts, err = dockerapi.ByTLS("engine of the Swarm "+host, host, "", "DOCKER_CERT_PATH in the agent's environment: a folder with ca.pem, cert.pem and key.pem")
		}
		if err != nil {
			return nil, err
		}
		c, err := dockerapi.NewClient(opts...)
		if err != nil {
			return nil, fault.New(fault.Invalid, "connect to engine of the Swarm %s: %w", host, err).WithHint("see swarm in agent.yaml")
		}
		managers = append(managers, &manager{client: c})
	}
	return managers, nil
}

func (m *manager) greet(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.greeted {
		return nil
	}
	p, err := m.client.Ping(ctx)
	if err != nil {
		return err
	}
	m.client.NegotiateAPIVersionPing(p)
	m.greeted = true
	return nil
}

// ask makes a call at a manager: the one that answered last, and the others in turn while none does. The call may be made more
// than once. Errors say what was being done, and are classed.
func (d *Driver) ask(ctx context.Context, call func(context.Context, *client.Client) error, format string, args ...any) error {
	var last error
	first, n := int(d.current.Load()), len(d.managers)
	for i := range n {
		at := (first + i) % n
		err := d.managers[at].ask(ctx, i+1 < n, call)
		if ctx.Err() != nil {
			return explain(err, format, args...)
		}
		if err == nil || !elsewhere(err) {
			d.current.Store(int64(at))
			return explain(err, format, args...)
		}
		last = err
	}
	return explain(last, format, args...)
}

func (m *manager) ask(ctx context.Context, hurry bool, call func(context.Context, *client.Client) error) error {
	if hurry {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, answerWithin)
		defer cancel()
	}
	if err := m.greet(ctx); err != nil {
		return err
	}
	return call(ctx, m.client)
}

// elsewhere says whether another manager may know better: this one does not answer, is none, or sees no leader, as those do that are
// cut off from most of the others.
func elsewhere(err error) bool {
	return dockerapi.Silent(err) || strings.Contains(err.Error(), notManager) || strings.Contains(err.Error(), noLeader)
}

// What engines say of themselves.
const (
	notManager = "not a swarm manager"
	noLeader   = "does not have a leader"
)

// explain classes an error of a manager. One that is none, or has no leader, knows nothing of nodes: they are unknown.
func explain(err error, format string, args ...any) error {
	var already *fault.Error
	switch {
	case err == nil || errors.As(err, &already):
		return err
	case strings.Contains(err.Error(), notManager):
		return dockerapi.Unavailable(fault.Unsupported, fmt.Sprintf(format, args...), err).
			WithHint("name managers in agent.yaml (swarm.managers), or make one: docker swarm init")
	case strings.Contains(err.Error(), noLeader):
		return dockerapi.Unavailable(fault.Unavailable, fmt.Sprintf(format, args...), err).
			WithHint("more than half of the Swarm's managers must be up: docker node ls")
	}
	return dockerapi.Explain(err, format, args...)
}

// info is what a manager says of itself. One that is no manager is an error.
func (d *Driver) info(ctx context.Context) (info system.Info, err error) {
	err = d.ask(ctx, func(ctx context.Context, c *client.Client) (err error) {
		if info, err = c.Info(ctx); err != nil {
			return err
		}
		if info.Swarm.LocalNodeState != dockerswarm.LocalNodeStateActive || !info.Swarm.ControlAvailable || info.Swarm.Cluster == nil {
			return fmt.Errorf("engine %s is %s", info.Name, notManager)
		}
		return nil
	}, "ask the Swarm")
	return info, err
}

// Scope is the Swarm, whichever manager is asked.
func (d *Driver) Scope(ctx context.Context) (string, error) {
	d.mu.Lock()
	known := d.cluster
	d.mu.Unlock()
	if known == "" {
		info, err := d.info(ctx)
		if err != nil {
			return "", err
		}
		known = info.Swarm.Cluster.ID
		d.mu.Lock()
		d.cluster = known
		d.mu.Unlock()
	}
	return "Docker Swarm " + known, nil
}

// Inward is the address of this machine that hosts of the Swarm reach: of its line to the manager's host, which is also the machine's
// own when that is the same.
func (d *Driver) Inward(ctx context.Context) (string, error) {
	info, err := d.info(ctx)
	if err != nil {
		return "", err
	}
	line, err := net.Dial("udp", net.JoinHostPort(info.Swarm.NodeAddr, "2377")) // nothing is sent
	if err != nil {
		return "", fault.New(fault.Unsupported, "find this machine's address in the Swarm: %w", err)
	}
	defer line.Close()
	own, err := netip.ParseAddrPort(line.LocalAddr().String())
	if err != nil || own.Addr().IsLoopback() {
		return "", fault.New(fault.Unsupported, "find this machine's address in the Swarm: the Swarm knows its hosts by loopback addresses only").
			WithHint("docker swarm init --advertise-addr ADDRESS")
	}
	return own.Addr().Unmap().String(), nil
}

// host is an engine of the Swarm.
type host struct {
	dockerswarm.Node
	name    string
	address string // IP; "" when the Swarm does not say
	givenUp bool   // it has been down for long: what ran there is not waited for
}

// hosts lists the Swarm's engines by their ids there.
func (d *Driver) hosts(ctx context.Context) (map[string]host, error) {
	var list []dockerswarm.Node
	err := d.ask(ctx, func(ctx context.Context, c *client.Client) (err error) {
		list, err = c.NodeList(ctx, dockerswarm.NodeListOptions{})
		return err
	}, "list the Swarm's hosts")
	if err != nil {
		return nil, err
	}
	var down []string
	for _, n := range list {
		if n.Status.State == dockerswarm.NodeStateDown {
			down = append(down, n.ID)
		}
	}
	now := d.now()
	d.mu.Lock()
	d.down = firsts(d.down, down, now)
	since := d.down
	d.mu.Unlock()
	hosts := map[string]host{}
	for _, n := range list {
		at, down := since[n.ID]
		hosts[n.ID] = host{Node: n, name: n.Description.Hostname, address: addressOf(n), givenUp: down && now.Sub(at) >= d.opts.Lost}
	}
	return hosts, nil
}

// firsts is when each of ids was first found so, by this process's clock, which need not be that of the managers. before is what it
// was at the last look.
func firsts(before map[string]time.Time, ids []string, now time.Time) map[string]time.Time {
	at := map[string]time.Time{}
	for _, id := range ids {
		at[id] = now
		if first, ok := before[id]; ok {
			at[id] = first
		}
	}
	return at
}

// addressOf is where a host is reached. A manager may know itself by no address but the one it tells other managers.
func addressOf(n dockerswarm.Node) string {
	known := func(s string) bool {
		a, err := netip.ParseAddr(s)
		return err == nil && !a.IsUnspecified()
	}
	if known(n.Status.Addr) {
		return n.Status.Addr
	}
	if n.ManagerStatus != nil {
		if h, _, err := net.SplitHostPort(n.ManagerStatus.Addr); err == nil && known(h) {
			return h
		}
	}
	return ""
}

// usable says whether the Swarm places nodes on a host.
func (h host) usable() bool {
	return h.Status.State == dockerswarm.NodeStateReady && h.Spec.Availability == dockerswarm.NodeAvailabilityActive
}

// lost says whether a host does not answer the Swarm, or has left it. What runs there may run on.
func (h host) lost() bool { return h.ID == "" || h.Status.State == dockerswarm.NodeStateDown }
