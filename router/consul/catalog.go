package consul

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/fault"
)

// catalog is what Consul's catalog has of ours: one node that is no machine, whose services are the nodes of all fleets.
type catalog struct {
	node     string
	there    bool
	services map[string]*api.AgentService // by id
	status   map[string]string            // of their checks, by the service's id
}

// nodeName is the catalog's node of an installation.
func (p *Projector) nodeName() string { return label("release-" + p.opts.Installation) }

func checkID(instance string) string { return "release:" + instance }

// readCatalog reads what is there. fault.Denied when somebody else has a node of that name.
func (p *Projector) readCatalog(ctx context.Context) (*catalog, error) {
	c := &catalog{node: p.nodeName(), services: map[string]*api.AgentService{}, status: map[string]string{}}
	err := p.try(ctx, func(ctx context.Context) error {
		list, _, err := p.client.Catalog().NodeServiceList(c.node, consistent(ctx))
		if err != nil || list == nil || list.Node == nil {
			return err
		}
		if list.Node.Meta[metaInstallation] != p.opts.Installation {
			return fault.New(fault.Denied, "node %s in Consul's catalog is not of this installation: left alone", c.node)
		}
		c.there = true
		for _, s := range list.Services {
			c.services[s.ID] = s
		}
		checks, _, err := p.client.Health().Node(c.node, consistent(ctx))
		for _, check := range checks {
			if check.CheckID == checkID(check.ServiceID) {
				c.status[check.ServiceID] = check.Status
			}
		}
		return err
	})
	return c, err
}

// registration is a service of the catalog as it should be.
func (p *Projector) registration(service string, i instance) *api.CatalogRegistration {
	s := &api.AgentService{
		ID: i.id, Service: service, Address: i.address.Addr().String(), Port: int(i.address.Port()), Tags: i.tags, Meta: i.meta,
		Weights: api.AgentWeights{Passing: i.weight, Warning: i.weight},
	}
	status, output := api.HealthPassing, "healthy, and gets requests"
	if i.weight == 0 {
		// A warning with weight 0 gets nothing from Envoy and next to nothing by DNS, and is not cut off.
		s.Weights, status, output = api.AgentWeights{Passing: 1}, api.HealthWarning, "gets no new requests"
	}
	return &api.CatalogRegistration{
		Node: p.nodeName(), Address: "127.0.0.1",
		NodeMeta: map[string]string{metaInstallation: p.opts.Installation, "external-node": "true", "external-probe": "false"},
		Service:  s,
		Check: &api.AgentCheck{
			Node: p.nodeName(), CheckID: checkID(i.id), Name: "health as release sees it", Status: status, Output: output,
			ServiceID: i.id, ServiceName: service,
		},
	}
}

// register makes a service be as it should, if it is not.
func (p *Projector) register(ctx context.Context, c *catalog, service string, i instance) error {
	r := p.registration(service, i)
	if have := c.services[i.id]; have != nil && sameService(have, r.Service) && c.status[i.id] == r.Check.Status {
		return nil
	}
	err := p.try(ctx, func(ctx context.Context) error {
		_, err := p.client.Catalog().Register(r, writing(ctx))
		return err
	})
	if err == nil {
		c.there, c.services[i.id], c.status[i.id] = true, r.Service, r.Check.Status
	}
	return err
}

func sameService(a, b *api.AgentService) bool {
	return a.Service == b.Service && a.Address == b.Address && a.Port == b.Port && a.Weights == b.Weights &&
		slices.Equal(a.Tags, b.Tags) && maps.Equal(a.Meta, b.Meta)
}

// leave marks a service that no table names, and removes it when it was for long enough.
func (p *Projector) leave(ctx context.Context, c *catalog, id string, now time.Time) error {
	s := c.services[id]
	since, err := strconv.ParseInt(s.Meta[metaLeft], 10, 64)
	if err != nil {
		left := *s
		left.Meta = maps.Clone(s.Meta)
		if left.Meta == nil {
			left.Meta = map[string]string{}
		}
		left.Meta[metaLeft] = strconv.FormatInt(now.Unix(), 10)
		left.Weights = api.AgentWeights{Passing: 1}
		r := p.registration(s.Service, instance{id: id})
		r.Service = &left
		err := p.try(ctx, func(ctx context.Context) error {
			_, err := p.client.Catalog().Register(r, writing(ctx))
			return err
		})
		if err == nil {
			c.services[id] = &left
		}
		return err
	}
	if now.Sub(time.Unix(since, 0)) < p.opts.Keep {
		return nil
	}
	gone := &api.CatalogDeregistration{Node: c.node, ServiceID: id}
	if len(c.services) == 1 {
		gone.ServiceID = "" // the last one takes the node along
	}
	err = p.try(ctx, func(ctx context.Context) error {
		_, err := p.client.Catalog().Deregister(gone, writing(ctx))
		return err
	})
	if err == nil {
		delete(c.services, id)
	}
	return err
}
