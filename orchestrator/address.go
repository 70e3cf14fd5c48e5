package orchestrator

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// In an app with roles every role that is routed has an address for the others, which stays the same over releases: a route
// of its own, at the machine's address as nodes see it and a port that is leased like a node's. It is split as the role is, for
// nodes of all releases alike.

// internalMark ends the name of such a route. No role's name has a colon.
const internalMark = ":internal"

// roleOfRoute is the role that a route leads to, and whether it is the route for other roles.
func roleOfRoute(name string) (role string, internal bool) {
	role = name[strings.LastIndex(name, "/")+1:]
	return strings.CutSuffix(role, internalMark)
}

// internal is the route by which other roles reach a role. There is none before it has nodes. While none of its fleets has a
// share, the newest gets all: a role that is new has to be reached before its release has any traffic.
func (s *State) internal(role string, cfg config.Route) (router.Route, bool) {
	address, known := s.Addresses[role]
	if !known {
		return router.Route{}, false
	}
	route := router.Route{Name: routeName(s.Key, role) + internalMark, Listen: address.Address, Balance: balanceOf(cfg.Balance)}
	s.carry(&route, role, cfg)
	if len(route.Fleets) == 0 {
		return router.Route{}, false
	}
	if !slices.ContainsFunc(route.Fleets, func(fl router.Fleet) bool { return fl.Weight > 0 }) {
		newest := slices.IndexFunc(route.Fleets, func(fl router.Fleet) bool { return fl.ID == s.newestIn(role) })
		route.Fleets[max(newest, 0)].Weight = 100
	}
	return route, true
}

// newestIn is the id of the newest fleet of a role that may get requests.
func (s *State) newestIn(role string) string {
	for _, fl := range slices.Backward(s.Fleets) {
		if fl.ID.Role == role && fl.routable() {
			return fl.ID.String()
		}
	}
	return ""
}

// environment is what a node is given: the configuration's variables, and where the other roles of its release are.
func (s *State) environment(fl *Fleet, env map[string]string) map[string]string {
	cfg := s.launchedWith(fl)
	if len(cfg.Roles) == 0 {
		return env
	}
	env = maps.Clone(env)
	if env == nil {
		env = map[string]string{}
	}
	for _, role := range cfg.RoleNames() {
		if address, known := s.Addresses[role]; known && role != fl.ID.Role {
			env[config.AddressVariable(role)] = address.Address
		}
	}
	return env
}

// askInward finds the machine's address for the nodes of an app with roles. Where they cannot reach it there are no addresses,
// which is an error only if a role can be reached in no other way.
func (o *Orchestrator) askInward(ctx context.Context, ask *asked) error {
	routed := routedRoles(ask.Config)
	if len(ask.Config.Roles) < 2 || len(routed) == 0 {
		return nil
	}
	host, err := o.inward(ctx, ask)
	needed := slices.ContainsFunc(routed, func(role string) bool { return ask.Config.Role(role).Internal })
	switch {
	case err == nil:
		ask.inward, ask.first = host, o.opts.FirstPort
	case needed || !fault.Is(err, fault.Unsupported):
		return fmt.Errorf("%s %s: find where roles reach each other: %w", ask.Kind, ask.Key, err)
	}
	return nil
}

// inward asks the one driver of all roles: one address is for all of them.
func (o *Orchestrator) inward(ctx context.Context, ask *asked) (string, error) {
	names := ask.Config.RoleNames()
	driver := ask.roles[names[0]].driver
	for _, role := range names {
		if other := ask.roles[role].driver; other != driver {
			return "", fault.New(fault.Unsupported, "role %s runs on %s and %s on %s", names[0], driver, role, other).
				WithHint("give all roles the same fleet.driver")
		}
	}
	d, err := o.opts.Drivers.Driver(driver)
	if err != nil {
		return "", err
	}
	if in, ok := d.(fleet.Inward); ok {
		return in.Inward(ctx)
	}
	return "", fault.New(fault.Unsupported, "nodes of driver %s do not reach the router", driver)
}

func routedRoles(cfg *config.App) []string {
	return slices.DeleteFunc(cfg.RoleNames(), func(role string) bool { return !cfg.Role(role).Routed() })
}

// address gives the roles of a release that is about to be launched the addresses that they do not have yet.
func (r *round) address(req asked) error {
	if len(r.s.Fleets) == 0 {
		r.s.Addresses = nil // nobody knows the old ones any more
	}
	if req.inward == "" {
		return nil
	}
	for _, role := range routedRoles(req.Config) {
		if have, known := r.s.Addresses[role]; known {
			if host, _, err := net.SplitHostPort(have.Address); err != nil || host != req.inward {
				return fault.New(fault.Unsupported, "%s %s: running nodes reach role %s at %s, nodes of the new release at another address, %s",
					req.Kind, r.s.Key, role, have.Address, req.inward).
					WithHint("keep the driver of the fleets, or end them first: release destroy")
			}
			continue
		}
		_, slot := r.f.Mint()
		if slot < 0 {
			return fault.New(fault.NoSpace, "%s %s: no port is free for the address of role %s", req.Kind, r.s.Key, role).
				WithHint("give agent.yaml a larger range in `ports`")
		}
		if r.s.Addresses == nil {
			r.s.Addresses = map[string]Address{}
		}
		r.s.Addresses[role] = Address{Slot: slot, Address: net.JoinHostPort(req.inward, strconv.Itoa(req.first+slot))}
	}
	return nil
}
