package orchestrator

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/router"
)

// routes is what an app's state asks of the router. The key signs its sticky cookie.
func (s *State) routes(stickyKey string) []router.Route {
	if found := s.foundRoutes(); found != nil {
		return found
	}
	if len(s.Fleets) == 0 {
		return nil
	}
	var routes []router.Route
	for role, cfg := range s.entries() {
		if cfg.Listen != "" {
			routes = append(routes, s.public(role, cfg, stickyKey))
		}
		if route, ok := s.internal(role, cfg); ok {
			routes = append(routes, route)
		}
	}
	slices.SortFunc(routes, func(a, b router.Route) int { return strings.Compare(a.Name, b.Name) })
	return routes
}

// entries are the routes of all roles: those of the release that the routes follow, and those of roles that it does not have
// and another release with a fleet does. Users reach such a role only while it has traffic.
func (s *State) entries() map[string]config.Route {
	entries := map[string]config.Route{}
	for _, role := range s.Config.RoleNames() {
		if part := s.Config.Role(role); part.Routed() {
			entries[role] = *part.Route
		}
	}
	for _, fl := range s.Fleets {
		part := s.roleOf(fl)
		if s.Config.HasRole(fl.ID.Role) || !fl.routable() || !part.Routed() {
			continue
		}
		entry := *part.Route
		if fl.Weight == 0 {
			entry.Listen = entries[fl.ID.Role].Listen
		}
		entries[fl.ID.Role] = entry
	}
	return entries
}

// public is the route by which users reach a role.
func (s *State) public(role string, cfg config.Route, stickyKey string) router.Route {
	route := router.Route{
		Name: routeName(s.Key, role), Listen: cfg.Listen, Hosts: cfg.Hosts, Paths: cfg.Paths, TLS: tlsOf(cfg.TLS),
		Preview: router.Preview{From: cfg.Preview.From, KeySHA256: s.previewHash(role)},
		Trusted: cfg.Trusted, ProxyProtocol: cfg.ProxyProtocol,
		Rules: s.rules(role, cfg), Sticky: stickyOf(cfg.Sticky, stickyKey), Balance: balanceOf(cfg.Balance),
	}
	s.carry(&route, role, cfg)
	return route
}

// carry puts into a route what its nodes speak, and the fleets of its role.
func (s *State) carry(route *router.Route, role string, cfg config.Route) {
	if cfg.Protocol == config.ProtocolTCP {
		route.Protocol = router.TCP
	}
	if cfg.NodeHTTP == config.NodeH2C {
		route.Nodes = router.NodeH2C
	}
	for _, fl := range s.Fleets {
		if fl.routable() && fl.ID.Role == role {
			route.Fleets = append(route.Fleets, fl.target())
		}
	}
	slices.SortFunc(route.Fleets, func(a, b router.Fleet) int { return strings.Compare(a.ID, b.ID) })
}

func routeName(key Key, role string) string { return key.String() + "/" + role }

func tlsOf(cfg *config.TLS) *router.TLS {
	if cfg == nil {
		return nil
	}
	t := &router.TLS{Cert: cfg.Cert, Key: cfg.Key, Redirect: cfg.Redirect, HSTS: cfg.HSTS.Std(), ClientCA: cfg.ClientCA}
	if a := cfg.ACME; a != nil {
		t.ACME = &router.ACME{Email: a.Email, Directory: a.Directory, RootCA: a.RootCA}
	}
	return t
}

func stickyOf(cfg *config.Sticky, key string) *router.Sticky {
	switch {
	case cfg == nil:
		return nil
	case cfg.ClientAddress:
		return &router.Sticky{By: router.StickyAddress}
	case cfg.Header != "":
		return &router.Sticky{By: router.StickyHeader, Header: cfg.Header}
	}
	return &router.Sticky{By: router.StickyCookie, Cookie: cfg.Cookie, Key: key, MaxAge: cfg.MaxAge.Std()}
}

func balanceOf(cfg config.Balance) router.Balance {
	return router.Balance{
		SlowStart: cfg.SlowStart.Std(), EjectAfter: cfg.EjectAfter, MaxInFlight: cfg.MaxInFlight, MaxQueue: cfg.MaxQueue,
		QueueWait: cfg.QueueWait.Std(), Timeout: cfg.Timeout.Std(), HedgeAfter: cfg.HedgeAfter.Std(),
	}
}

// rules are those of a role's route whose release has a fleet now, with that fleet's id.
func (s *State) rules(role string, cfg config.Route) []router.Rule {
	var rules []router.Rule
	for _, r := range cfg.Rules {
		if fl := s.ruled(r.To, role); fl != nil {
			rules = append(rules, router.Rule{Headers: r.Header, Cookies: r.Cookie, Paths: r.Path, From: r.From, Fleet: fl.ID.String()})
		}
	}
	return rules
}

// ruled is the fleet of a role that a rule's target means now, or nil.
func (s *State) ruled(to, role string) *Fleet {
	switch to {
	case config.ToServing:
		if serving := s.serving(); serving != nil {
			return s.fleetIn(serving.ID.Release, role)
		}
		return nil
	case config.ToCandidate:
		return s.candidate(role)
	case config.ToPrevious:
		return s.previous(role)
	}
	if fl := s.fleetIn(to, role); fl != nil && fl.routable() {
		return fl
	}
	return nil
}

// candidate is the fleet of a role of the newest release that was launched and never had all the traffic.
func (s *State) candidate(role string) *Fleet {
	for _, rel := range slices.Backward(s.Releases) {
		fl := s.fleetIn(rel.ID, role)
		if rel.State == ReleaseNew && fl != nil && fl.routable() && fl.Weight < 100 {
			return fl
		}
	}
	return nil
}

// previous is the fleet of a role of the release that a rollback from the serving one would go to, if it has one.
func (s *State) previous(role string) *Fleet {
	except := ""
	if serving := s.serving(); serving != nil {
		except = serving.ID.Release
	}
	if rel := s.lastCompleted(except); rel != nil {
		if fl := s.fleetIn(rel.ID, role); fl != nil && fl.routable() {
			return fl
		}
	}
	return nil
}

// lastCompleted is the release that got all the traffic last and was neither aborted nor rolled back, but for one; nil for none.
func (s *State) lastCompleted(except string) *Release {
	var last *Release
	for _, rel := range s.Releases {
		if rel.State == ReleaseCompleted && rel.ID != except && (last == nil || rel.servedAt().After(last.servedAt())) {
			last = rel
		}
	}
	return last
}

// servedAt is when the release got all the traffic last.
func (rel *Release) servedAt() time.Time { return cmp.Or(rel.ServedAt, rel.CompletedAt) }

// target is a fleet as the router sees it: its healthy nodes.
func (fl *Fleet) target() router.Fleet {
	t := router.Fleet{
		ID: fl.ID.String(), Release: fl.ID.Release, Weight: fl.Weight, Standby: fl.Standby, Sessions: !fl.SessionsBy.IsZero(),
	}
	for _, n := range fl.Nodes {
		if n.State == NodeHealthy && n.Address != "" {
			t.Nodes = append(t.Nodes, router.Node{Name: n.Name, Address: n.Address})
		}
	}
	slices.SortFunc(t.Nodes, func(a, b router.Node) int { return strings.Compare(a.Name, b.Name) })
	return t
}

// closing is what the edges are to end: the long connections of nodes that left the table and whose time is over.
func (s *State) closing() []router.Closing {
	var closing []router.Closing
	for _, fl := range s.Fleets {
		within := s.configOf(fl).Cutover.Drain.CloseWithin.Std()
		for _, n := range fl.Nodes {
			fleetCloses := fl.State == FleetShooting && !fl.ClosingAt.IsZero()
			nodeCloses := (n.State == NodeDraining || n.State == NodeQuarantined) && !n.ClosingAt.IsZero()
			if n.State != NodeDead && (fleetCloses || nodeCloses) {
				closing = append(closing, router.Closing{Fleet: fl.ID.String(), Node: n.Name, Within: within})
			}
		}
	}
	slices.SortFunc(closing, func(a, b router.Closing) int { return strings.Compare(a.Node, b.Node) })
	return closing
}

// failed are the nodes that left the table because they failed: what waits there goes elsewhere or is refused, and is not left to
// hang. One that is unhealthy may still be at work; it is gone when nobody sees its host either. Those that drain, or are shot, finish.
func (s *State) failed() []router.Failed {
	var failed []router.Failed
	for _, fl := range s.Fleets {
		if fl.State == FleetShooting {
			continue
		}
		for _, n := range fl.Nodes {
			dead := n.State == NodeDead && n.LeavesAt.IsZero()
			if n.WasServed && (dead || n.State == NodeUnhealthy) {
				failed = append(failed, router.Failed{Fleet: fl.ID.String(), Node: n.Name, Gone: dead || n.Gone})
			}
		}
	}
	slices.SortFunc(failed, func(a, b router.Failed) int { return strings.Compare(a.Node, b.Node) })
	return failed
}

// tellsFailed says whether a table tells of all nodes that failed. That it tells of some that are not there any more is no reason for
// another one.
func tellsFailed(have, want []router.Failed) bool {
	told := map[string]router.Failed{}
	for _, f := range have {
		told[f.Node] = f
	}
	return !slices.ContainsFunc(want, func(f router.Failed) bool {
		t, is := told[f.Node]
		return !is || f.Gone && !t.Gone
	})
}

// confirmed says whether every edge routes as the state asks.
func (r *round) confirmed() bool { return sameRoutes(r.s.routes(r.f.StickyKey), r.f.Routes) }

func sameRoutes(a, b []router.Route) bool {
	return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b)
}
