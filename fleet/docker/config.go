package docker

import (
	"math"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/dockerapi"
	"github.com/bootandshoot/release/internal/fault"
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
			Env:         dockerapi.Environment(spec),
			Labels:      nodeLabels(installation, p.address, spec, n),
			StopSignal:  dockerapi.Signal(spec.Stop.Signal),
			Healthcheck: &container.HealthConfig{Test: []string{"NONE"}}, // the agent probes; the image's own check would only cost
		},
		host: &container.HostConfig{
			NetworkMode:   container.NetworkMode(p.network),
			RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled},
			Init:          new(true),
			SecurityOpt:   []string{"no-new-privileges:true"},
			LogConfig:     container.LogConfig{Type: dockerapi.LogDriver, Config: dockerapi.LogOptions()},
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
		w.config.StopTimeout = new(seconds(spec.Stop.Grace))
	}
	if p.published > 0 {
		inside := nat.Port(strconv.Itoa(spec.Port) + "/tcp")
		w.config.ExposedPorts = nat.PortSet{inside: {}}
		w.host.PortBindings = nat.PortMap{inside: {{HostIP: p.bind, HostPort: strconv.Itoa(p.published)}}}
	}
	return w
}

func limits(r fleet.Resources) container.Resources {
	l := container.Resources{PidsLimit: new(int64(dockerapi.PidsLimit))}
	if r.CPUs > 0 {
		l.NanoCPUs = int64(math.Round(r.CPUs * 1e9))
	}
	if r.Memory > 0 {
		l.Memory, l.MemorySwap = r.Memory, r.Memory // the same: no swap beyond the limit
	}
	return l
}

// seconds rounds up: the engine counts in whole seconds, and a grace cut short would kill a node at work.
func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }
