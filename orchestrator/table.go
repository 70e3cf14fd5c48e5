package orchestrator

import (
	"reflect"
	"slices"
	"strings"

	"github.com/bootandshoot/release/router"
)

// routes is what an app's state asks of the router.
func (s *State) routes() []router.Route {
	if len(s.Fleets) == 0 {
		return nil
	}
	cfg := s.Config.Route
	if cfg.Listen == "" {
		return nil
	}
	route := router.Route{
		Name: s.Key.String() + "/" + Role, Listen: cfg.Listen, Hosts: cfg.Hosts, Paths: cfg.Paths,
		Preview: router.Preview{From: cfg.Preview.From, KeySHA256: s.PreviewHash},
	}
	if cfg.TLS != nil {
		route.TLS = &router.TLS{Cert: cfg.TLS.Cert, Key: cfg.TLS.Key}
	}
	for _, fl := range s.Fleets {
		if fl.routable() {
			route.Fleets = append(route.Fleets, fl.target())
		}
	}
	slices.SortFunc(route.Fleets, func(a, b router.Fleet) int { return strings.Compare(a.ID, b.ID) })
	return []router.Route{route}
}

// target is a fleet as the router sees it: its healthy nodes.
func (fl *Fleet) target() router.Fleet {
	t := router.Fleet{ID: fl.ID.String(), Release: fl.ID.Release, Weight: fl.Weight, Standby: fl.Standby}
	for _, n := range fl.Nodes {
		if n.State == NodeHealthy && n.Address != "" {
			t.Nodes = append(t.Nodes, router.Node{Name: n.Name, Address: n.Address})
		}
	}
	slices.SortFunc(t.Nodes, func(a, b router.Node) int { return strings.Compare(a.Name, b.Name) })
	return t
}

// confirmed says whether every edge routes as the state asks.
func (r *round) confirmed() bool { return sameRoutes(r.s.routes(), r.f.Routes) }

func sameRoutes(a, b []router.Route) bool {
	return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b)
}
