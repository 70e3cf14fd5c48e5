package engines

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	dockerswarm "github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/google/go-containerregistry/pkg/registry"
)

// Registry starts a registry without TLS on this machine, empty, and gives its address. Engines that are started later take images
// from it. It ends with the test.
func (n *Network) Registry() string {
	n.t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(n.Gateway(), "0"))
	if err != nil {
		n.t.Fatal(err)
	}
	server := &http.Server{Handler: registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, 0)))}
	go server.Serve(l) //nolint:errcheck // until it is closed
	n.t.Cleanup(func() { server.Close() })
	n.trusted = append(n.trusted, l.Addr().String())
	return l.Addr().String()
}

// trust has the engine of a folder take images from the network's registries.
func (n *Network) trust(dir string) {
	n.t.Helper()
	settings, err := json.Marshal(map[string][]string{"insecure-registries": n.trusted})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "etc", "daemon.json"), settings, 0o644)
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// join lets the engines reach each other: an engine of this machine's own has its kernel drop what goes through bridges.
func (n *Network) join() {
	n.t.Helper()
	rule := []string{"FORWARD", "-i", n.bridge, "-o", n.bridge, "-j", "ACCEPT"}
	iptables := func(what string) {
		if out, err := exec.Command("iptables", append([]string{"--wait", what}, rule...)...).CombinedOutput(); err != nil {
			n.t.Errorf("iptables %s %v: %v\n%s", what, rule, err, out)
		}
	}
	iptables("-I")
	n.t.Cleanup(func() { iptables("-D") })
}

// Client talks to the engine from this machine.
func (e *Engine) Client() *client.Client {
	e.net.t.Helper()
	c, err := client.NewClientWithOpts(client.WithHost(e.Local()), client.WithAPIVersionNegotiation())
	if err != nil {
		e.net.t.Fatal(err)
	}
	e.net.t.Cleanup(func() { c.Close() })
	return c
}

// heartbeat is shorter than a Swarm has it by itself, 5 s: a host that misses three is lost. Much shorter ones are missed by engines
// that wait for a processor.
const heartbeat = 3 * time.Second

// Swarm makes the engines a Swarm, the first of them its managers, that notices within seconds when a host is lost.
func (n *Network) Swarm(managers int, list ...*Engine) {
	n.t.Helper()
	n.join()
	ctx := n.t.Context()
	first := list[0].Client()
	at := func(e *Engine) string { return net.JoinHostPort(e.Address, "2377") }
	if _, err := first.SwarmInit(ctx, dockerswarm.InitRequest{ListenAddr: at(list[0]), AdvertiseAddr: at(list[0])}); err != nil {
		n.t.Fatal(err)
	}
	s, err := first.SwarmInspect(ctx)
	if err != nil {
		n.t.Fatal(err)
	}
	s.Spec.Dispatcher.HeartbeatPeriod = heartbeat
	if err := first.SwarmUpdate(ctx, s.Version, s.Spec, dockerswarm.UpdateFlags{}); err != nil {
		n.t.Fatal(err)
	}
	for i, e := range list[1:] {
		token := s.JoinTokens.Worker
		if i+1 < managers {
			token = s.JoinTokens.Manager
		}
		join := dockerswarm.JoinRequest{ListenAddr: at(e), AdvertiseAddr: at(e), RemoteAddrs: []string{at(list[0])}, JoinToken: token}
		if err := e.Client().SwarmJoin(ctx, join); err != nil {
			n.t.Fatalf("engine %s joins the Swarm: %v", e.Name, err)
		}
	}
	for deadline := time.Now().Add(startWithin); ; time.Sleep(50 * time.Millisecond) {
		err := ready(n, first, len(list))
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("the Swarm is not whole: %v", err)
		}
	}
}

func ready(n *Network, manager *client.Client, hosts int) error {
	list, err := manager.NodeList(n.t.Context(), dockerswarm.NodeListOptions{})
	if err != nil {
		return err
	}
	for _, h := range list {
		if h.Status.State != dockerswarm.NodeStateReady {
			return fmt.Errorf("%s is %s", h.Description.Hostname, h.Status.State)
		}
	}
	if len(list) != hosts {
		return fmt.Errorf("it has %d of %d hosts", len(list), hosts)
	}
	return nil
}
