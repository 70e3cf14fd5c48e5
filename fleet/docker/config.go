package docker

import (
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

const (
	pidsLimit = 4096  // processes and threads of a node: enough for any service, too few to choke the host
	logSize   = "10m" // of a log file
	logFiles  = "3"   // kept
)

// wanted is a container as the engine's API takes it.
type wanted struct {
	config  *container.Config
	host    *container.HostConfig
	network *network.NetworkingConfig
}

// place is where a node is and how it is reached.
type place struct {
	network   string
	ip        netip.Addr
	published int    // port at the engine's host; 0: not published
	bind      string // with published: the address there
	address   string // as in fleet.Node
}

// placeOf derives a node's place from its slot.
func placeOf(b bridge, r reach, publishFrom, port, slot int) (place, error) {
	ip, err := b.address(slot)
	if err != nil {
		return place{}, err
	}
	p := place{network: b.name, ip: ip}
	switch {
	case port == 0:
	case !r.publish:
		p.address = netip.AddrPortFrom(ip, uint16(port)).String()
	default:
		p.published = publishFrom + slot
		if p.published > math.MaxUint16 {
			return place{}, fault.New(fault.NoSpace, "find port of slot %d: ports from %d do not reach that far", slot, publishFrom)
		}
		p.bind, p.address = r.bind, net.JoinHostPort(r.address, strconv.Itoa(p.published))
	}
	return p, nil
}

// describe is the container of a node. imageID is the engine's id of the image.
func describe(installation, imageID string, spec fleet.Spec, n fleet.NodeSpec, p place) wanted {
	w := wanted{
		config: &container.Config{
			Hostname:    n.Name,
			Image:       imageID,
			Env:         environment(spec),
			Labels:      nodeLabels(installation, p.address, spec, n),
			StopSignal:  signalName(spec.Stop.Signal),
			Healthcheck: &container.HealthConfig{Test: []string{"NONE"}}, // the agent probes; the image's own check would only cost
		},
		host: &container.HostConfig{
			NetworkMode:   container.NetworkMode(p.network),
			RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled},
			Init:          ptr(true),
			SecurityOpt:   []string{"no-new-privileges:true"},
			LogConfig:     container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": logSize, "max-file": logFiles}},
			Resources:     limits(spec.Resources),
		},
		network: &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
			p.network: {IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: p.ip.String()}},
		}},
	}
	if len(spec.Command) > 0 { // an entrypoint of ours drops the image's own arguments too
		w.config.Entrypoint = spec.Command
	}
	if spec.Stop.Grace > 0 {
		w.config.StopTimeout = ptr(seconds(spec.Stop.Grace))
	}
	if p.published > 0 {
		inside := nat.Port(strconv.Itoa(spec.Port) + "/tcp")
		w.config.ExposedPorts = nat.PortSet{inside: {}}
		w.host.PortBindings = nat.PortMap{inside: {{HostIP: p.bind, HostPort: strconv.Itoa(p.published)}}}
	}
	return w
}

func limits(r fleet.Resources) container.Resources {
	l := container.Resources{PidsLimit: ptr(int64(pidsLimit))}
	if r.CPUs > 0 {
		l.NanoCPUs = int64(math.Round(r.CPUs * 1e9))
	}
	if r.Memory > 0 {
		l.Memory, l.MemorySwap = r.Memory, r.Memory // the same: no swap beyond the limit
	}
	return l
}

// environment is sorted, so that the same spec gives the same container. Secrets win over env, and PORT over both.
func environment(spec fleet.Spec) []string {
	all := make(map[string]string, len(spec.Env)+len(spec.Secrets)+1)
	for _, m := range []map[string]string{spec.Env, spec.Secrets} {
		for k, v := range m {
			all[k] = v
		}
	}
	if spec.Port > 0 {
		all["PORT"] = strconv.Itoa(spec.Port)
	}
	return pairs(all)
}

// pairs is a map as sorted "key=value".
func pairs(m map[string]string) []string {
	list := make([]string, 0, len(m))
	for k, v := range m {
		list = append(list, k+"="+v)
	}
	slices.Sort(list)
	return list
}

func signalName(s string) string {
	if s == "" || strings.HasPrefix(s, "SIG") {
		return s
	}
	return "SIG" + s
}

// seconds rounds up: the engine counts in whole seconds, and a grace cut short would kill a node at work.
func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

func ptr[T any](v T) *T { return &v }
