package orchestrator

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/router"
)

// A store may be lost, or put back from an older copy, while fleets run and the router serves them. They carry this
// installation's id, and no record says what they are: they are found, left alone and reported. Users are served as they were,
// also while a release of this store is launched beside them; they are shot once that one has all the traffic, or when a
// person destroys the app.

// Found is a fleet that carries this installation's id and that no record knows.
type Found struct {
	ID      fleet.FleetID
	Driver  string
	Nodes   int
	Listen  string // where the router serves it; "" when it does not
	Percent int    // of that route
}

// Lost is what an app's state knows of a store before this one.
type Lost struct {
	Route *router.Route  `json:"route,omitempty"` // as the router had it; it stays until a fleet of this store has traffic
	More  []router.Route `json:"more,omitempty"`  // those of other roles
	UpTo  int            `json:"up_to"`           // the newest release that was found: numbers go on after it
	Over  bool           `json:"over,omitempty"`  // what was found may be shot
}

// foundFleet is one as its driver listed it.
type foundFleet struct {
	id    fleet.FleetID
	nodes []fleet.Node
}

// FoundFact is what was found of an app.
type FoundFact struct {
	Fleets int            // that are there now
	UpTo   int            // the number of the newest release
	Routes []router.Route // that serve them
}

// strange says that a fleet is none that this store has minted, or is one of a lost store that must stay.
func (s *State) strange(id fleet.FleetID) bool {
	n := releaseNumber(id.Release)
	return n == 0 || n > s.NextRelease || s.Lost != nil && n <= s.Lost.UpTo && !s.Lost.Over
}

// foundHere gathers what was found of an app. It runs in the loop.
func (o *Orchestrator) foundHere(s *State) FoundFact {
	var f FoundFact
	for _, list := range o.world.found {
		for _, fl := range list {
			if (Key{App: fl.id.App, Env: fl.id.Env}) == s.Key && s.fleet(fl.id.String()) == nil {
				f.Fleets++
				f.UpTo = max(f.UpTo, releaseNumber(fl.id.Release))
			}
		}
	}
	if f.Fleets == 0 {
		return f
	}
	for _, route := range o.world.table.own[s.Key] {
		if slices.ContainsFunc(route.Fleets, func(fl router.Fleet) bool { return s.fleet(fl.ID) == nil && len(fl.Nodes) > 0 }) {
			f.Routes = append(f.Routes, route)
		}
	}
	return f
}

// takeFound makes an app's state know of what was found, before something of its own begins.
func (r *round) takeFound() {
	f := r.f.Found
	if f.Fleets == 0 || r.s.Lost != nil && r.s.Lost.UpTo >= f.UpTo {
		return
	}
	r.s.Lost = &Lost{UpTo: f.UpTo}
	if r.s.serving() == nil && len(f.Routes) > 0 {
		r.s.Lost.Route, r.s.Lost.More = &f.Routes[0], f.Routes[1:]
	}
	r.s.NextRelease = max(r.s.NextRelease, f.UpTo)
}

// foundRoutes are the routes of the lost store with the fleets of this one beside those of their roles, as long as none of them
// has traffic.
func (s *State) foundRoutes() []router.Route {
	if s.Lost == nil || s.Lost.Route == nil || s.serving() != nil {
		return nil
	}
	var routes []router.Route
	for _, route := range append([]router.Route{*s.Lost.Route}, s.Lost.More...) {
		role, _ := roleOfRoute(route.Name)
		route.Fleets = slices.Clone(route.Fleets)
		for _, fl := range s.Fleets {
			if fl.routable() && fl.ID.Role == role {
				route.Fleets = append(route.Fleets, fl.target())
			}
		}
		slices.SortFunc(route.Fleets, func(a, b router.Fleet) int { return strings.Compare(a.ID, b.ID) })
		routes = append(routes, route)
	}
	return routes
}

// leaveFound lets what was found go: a release of this store took its place, or a person said so.
func (s *State) leaveFound() {
	if s.Lost != nil && !s.Lost.Over {
		s.Lost = &Lost{UpTo: s.Lost.UpTo, Over: true}
	}
}

// findLost looks for what a lost store knew, before anything may begin. It runs before the loop does.
func (o *Orchestrator) findLost(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, findLostWithin)
	defer cancel()
	for _, name := range o.opts.Drivers.Names() {
		list, err := o.foundBy(ctx, name)
		if err != nil {
			o.log.Warn("look for what a lost store knew", "driver", name, "error", err)
		}
		if len(list) > 0 {
			o.world.found[name] = list
		}
		for _, fl := range list {
			o.log.Error("the store is new, and a fleet of its installation runs: it is left as it is", "fleet", fl.id, "nodes", len(fl.nodes), "driver", name)
		}
	}
}

// foundBy is all that a driver has of this installation. What could be listed comes with the errors of the rest.
func (o *Orchestrator) foundBy(ctx context.Context, driver string) ([]foundFleet, error) {
	d, err := o.opts.Drivers.Driver(driver)
	if err != nil {
		return nil, err
	}
	fleets, err := d.Fleets(ctx)
	var list []foundFleet
	for _, fl := range fleets {
		nodes, nodesErr := d.Nodes(ctx, fl.ID)
		if nodesErr != nil {
			err = errors.Join(err, nodesErr)
			continue
		}
		list = append(list, foundFleet{fl.ID, nodes})
	}
	return list, err
}

// findLostWithin bounds it: an engine that does not answer is asked again later.
const findLostWithin = 10 * time.Second

// noteFound takes a driver's fleets that nobody knows into what is known.
func (o *Orchestrator) noteFound(ctx context.Context, driver string, d fleet.Driver, ids []fleet.FleetID) error {
	var list []foundFleet
	for _, id := range ids {
		nodes, err := d.Nodes(ctx, id)
		if err != nil {
			return err
		}
		list = append(list, foundFleet{id, nodes})
	}
	return o.call(ctx, func() {
		before := o.world.found[driver]
		o.world.found[driver] = list
		o.world.unleased = true // their slots are taken
		if len(list)+len(before) > 0 {
			o.touchAll()
		}
	})
}

// busy says whether nodes of a fleet that nobody knows still have requests.
func (o *Orchestrator) busy(id fleet.FleetID) bool {
	prefix := nodeName(id, "")
	for node, n := range o.world.edges.inFlight {
		if n > 0 && strings.HasPrefix(node, prefix) {
			return true
		}
	}
	return false
}

// foundToShow is what was found, for people.
func (o *Orchestrator) foundToShow() []Found {
	var all []Found
	for driver, list := range o.world.found {
		for _, fl := range list {
			f := Found{ID: fl.id, Driver: driver, Nodes: len(fl.nodes)}
			for _, route := range o.world.table.effective.Routes {
				for _, t := range route.Fleets {
					if t.ID == fl.id.String() && len(t.Nodes) > 0 {
						f.Listen, f.Percent = route.Listen, t.Weight
					}
				}
			}
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b Found) int { return cmp.Compare(a.ID.String(), b.ID.String()) })
	return all
}

// Found lists the fleets that carry this installation's id and that no record knows. It waits until the states are loaded.
func (o *Orchestrator) Found(ctx context.Context) []Found {
	if err := o.waitReady(ctx); err != nil {
		return nil // an agent that has ended, or will answer later
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	return slices.Clone(o.found)
}
