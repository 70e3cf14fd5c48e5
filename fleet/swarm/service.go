package swarm

import (
	"context"
	"math"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	dockerswarm "github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/dockerapi"
	"github.com/bootandshoot/release/internal/fault"
)

// site is what the services of one Ensure share.
type site struct {
	image   string // as hosts pull it
	auth    string // for the registry, as the engine's API takes it
	secrets []*dockerswarm.SecretReference
}

// routed is the network that a node's address is in, "" where its port is published.
func routed(c fleet.Cluster) string {
	if c.Reach == fleet.ReachNetwork && len(c.Networks) > 0 {
		return c.Networks[0]
	}
	return ""
}

// describe is the service of a node. avoid are ids of hosts that have enough of the fleet's nodes.
func (d *Driver) describe(spec fleet.Spec, n fleet.NodeSpec, s site, avoid []string) (dockerswarm.ServiceSpec, error) {
	labels := d.labels(spec, n)
	one := uint64(1)
	service := dockerswarm.ServiceSpec{
		Annotations: dockerswarm.Annotations{Name: n.Name, Labels: labels},
		Mode:        dockerswarm.ServiceMode{Replicated: &dockerswarm.ReplicatedService{Replicas: &one}},
		TaskTemplate: dockerswarm.TaskSpec{
			ContainerSpec: containerOf(spec, n, s, labels),
			Resources:     &dockerswarm.ResourceRequirements{Limits: limits(spec.Resources)},
			RestartPolicy: &dockerswarm.RestartPolicy{Condition: dockerswarm.RestartPolicyConditionNone},
			Placement:     placement(spec.Cluster, avoid),
			LogDriver:     &dockerswarm.Driver{Name: dockerapi.LogDriver, Options: dockerapi.LogOptions()},
		},
		// No virtual address: each node is reached on its own.
		EndpointSpec: &dockerswarm.EndpointSpec{Mode: dockerswarm.ResolutionModeDNSRR},
	}
	for _, name := range spec.Cluster.Networks {
		service.TaskTemplate.Networks = append(service.TaskTemplate.Networks, dockerswarm.NetworkAttachmentConfig{Target: name})
	}
	if spec.Port > 0 && routed(spec.Cluster) == "" {
		published := d.opts.PublishFrom + n.Slot
		if n.Slot < 0 || published > math.MaxUint16 {
			return service, fault.New(fault.NoSpace, "find port of slot %d: ports from %d do not reach that far", n.Slot, d.opts.PublishFrom)
		}
		service.EndpointSpec.Ports = []dockerswarm.PortConfig{{Protocol: dockerswarm.PortConfigProtocolTCP, TargetPort: uint32(spec.Port), PublishedPort: uint32(published),
			PublishMode: dockerswarm.PortConfigPublishModeHost}}
	}
	return service, nil
}

func containerOf(spec fleet.Spec, n fleet.NodeSpec, s site, labels map[string]string) *dockerswarm.ContainerSpec {
	return &dockerswarm.ContainerSpec{
		Image:           s.image,
		Labels:          labels,
		Command:         spec.Command, // instead of the entrypoint
		Hostname:        n.Name,
		Env:             environment(spec),
		Init:            new(true),
		StopSignal:      dockerapi.Signal(spec.Stop.Signal),
		StopGracePeriod: new(spec.Stop.Grace),
		Healthcheck:     &container.HealthConfig{Test: []string{"NONE"}}, // the agent probes; a task with a check of its own counts as started only when that is well
		Secrets:         s.secrets,
		Privileges:      &dockerswarm.Privileges{NoNewPrivileges: true}, // engines from 24.0 on know it
	}
}

func limits(r fleet.Resources) *dockerswarm.Limit {
	return &dockerswarm.Limit{NanoCPUs: int64(math.Round(r.CPUs * 1e9)), MemoryBytes: r.Memory, Pids: dockerapi.PidsLimit}
}

func placement(c fleet.Cluster, avoid []string) *dockerswarm.Placement {
	p := &dockerswarm.Placement{Constraints: slices.Clone(c.Constraints)}
	for _, id := range avoid {
		p.Constraints = append(p.Constraints, "node.id!="+id)
	}
	return p
}

// environment is that of a node. The Swarm fills in templates in it, such as {{.Node.Hostname}}; a secret is what it is.
func environment(spec fleet.Spec) []string {
	secrets := make(map[string]string, len(spec.Secrets))
	for k, v := range spec.Secrets {
		secrets[k] = strings.ReplaceAll(v, "{{", `{{"{{"}}`)
	}
	spec.Secrets = secrets
	return dockerapi.Environment(spec)
}

// secrets finds the Swarm's secrets that a spec names. Nodes have each as the file /run/secrets/<name>.
func (d *Driver) secrets(ctx context.Context, names []string) ([]*dockerswarm.SecretReference, error) {
	var refs []*dockerswarm.SecretReference
	for _, name := range names {
		var found []dockerswarm.Secret
		err := d.ask(ctx, func(ctx context.Context, c *client.Client) (err error) {
			found, err = c.SecretList(ctx, dockerswarm.SecretListOptions{Filters: filters.NewArgs(filters.Arg("name", name))})
			return err
		}, "find secret %s of the Swarm", name)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(found, func(s dockerswarm.Secret) bool { return s.Spec.Name == name }) // the filter takes beginnings too
		if i < 0 {
			return nil, fault.New(fault.NotFound, "find secret %s: the Swarm has none of that name", name).WithHint("make it: docker secret create %s FILE", name)
		}
		refs = append(refs, &dockerswarm.SecretReference{SecretID: found[i].ID, SecretName: name,
			File: &dockerswarm.SecretReferenceFileTarget{Name: name, UID: "0", GID: "0", Mode: 0o444}})
	}
	return refs, nil
}
