package config

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/bootandshoot/release/internal/strictyaml"
)

// DefaultRole is the one role of an app without roles.
const DefaultRole = "web"

// addressPrefix begins the variables that hold the addresses of roles.
const addressPrefix = "RELEASE_ADDR_"

// How the nodes of a role without a route come up.
const (
	StartWhole = "whole" // all of them at the launch
	StartShare = "share" // as many as the release's share of the traffic, from its first step on
)

// Role is a part of an app, with what the app's fleet and health say filled in. One without a Route gets no traffic: its
// nodes are ended by signal when the next release has taken over.
type Role struct {
	Recipe    string   `yaml:"recipe,omitempty" json:"recipe,omitempty" doc:"The recipe, or a Dockerfile, of the role's image, relative to this file. Default: the app's."`
	Command   []string `yaml:"cmd,omitempty,flow" json:"cmd,omitempty" doc:"Program and arguments instead of the image's own; no shell."`
	Needs     []string `yaml:"needs,omitempty,flow" json:"needs,omitempty" doc:"Roles that must be healthy before this one boots."`
	Internal  bool     `yaml:"internal,omitempty" json:"internal,omitempty" doc:"Routed only for the other roles, at $RELEASE_ADDR_NAME; route may then say protocol, node_http and balance." default:"false"`
	Accessory bool     `yaml:"accessory,omitempty" json:"accessory,omitempty" doc:"A database, a broker: its nodes stay over releases, and change only when this part of the file or its image does. The old ones are stopped before the new ones boot." default:"false"`
	Start     string   `yaml:"start,omitempty" json:"start,omitempty" doc:"How nodes of a role without a route come up: whole (all at the launch), or share (as many as the release's share of the traffic). Default: whole." enum:"whole,share"`
	Fleet     Fleet    `yaml:"fleet" json:"fleet" doc:"The role's nodes."`
	Health    Health   `yaml:"health" json:"health" doc:"How it is proven that a node is well; another kind of check replaces the app's."`
	Verdict   string   `yaml:"verdict,omitempty" json:"verdict,omitempty" doc:"off: the role's requests are not compared with the old release's. Default: as cutover.verdict says, for every role with a route." enum:"off"`
	Route     *Route   `yaml:"route,omitempty" json:"route,omitempty" doc:"The entry that users reach. Default: none."`
}

// UnmarshalJSON fills in the defaults of keys that the version that wrote the JSON did not know.
func (r *Role) UnmarshalJSON(data []byte) error {
	type plain Role
	var p plain
	strictyaml.Defaults(&p)
	if err := json.Unmarshal(data, &p); err != nil {
		return err
	}
	*r = Role(p)
	return nil
}

// RoleNames are the app's roles in the order in which they boot: after what they need, accessories first, else by name.
func (a *App) RoleNames() []string {
	if len(a.Roles) == 0 {
		return []string{DefaultRole}
	}
	var order []string
	var visit func(name string)
	visit = func(name string) {
		if _, known := a.Roles[name]; !known || slices.Contains(order, name) {
			return
		}
		for _, need := range slices.Sorted(slices.Values(a.Roles[name].Needs)) {
			if need != name {
				visit(need)
			}
		}
		order = append(order, name)
	}
	names := slices.SortedFunc(maps.Keys(a.Roles), func(x, y string) int {
		return cmp.Or(turn(a.Roles[x])-turn(a.Roles[y]), cmp.Compare(x, y))
	})
	for _, name := range names {
		visit(name)
	}
	return order
}

// turn is 0 for what boots before all else.
func turn(r Role) int {
	if r.Accessory {
		return 0
	}
	return 1
}

// MainRole is the role that stands for the app where one must: the first by name that users reach, else the first that is routed,
// else the first.
func (a *App) MainRole() string {
	best, rank := "", -1
	for _, name := range slices.Sorted(slices.Values(a.RoleNames())) {
		if mine := a.Role(name).Rank(); mine > rank {
			best, rank = name, mine
		}
	}
	return best
}

// Rank orders roles by how much they stand for their app: more for one that users reach, less for one that is routed at all, then
// for one without route, and 0 for an accessory.
func (r Role) Rank() int {
	switch {
	case r.Accessory:
		return 0
	case r.Routed() && !r.Internal:
		return 3
	case r.Routed():
		return 2
	}
	return 1
}

// HasRole says whether the app has a role of that name.
func (a *App) HasRole(name string) bool {
	_, known := a.Roles[name]
	return known || len(a.Roles) == 0 && name == DefaultRole
}

// Role is a role of the app; that of an app without roles is what the app says. A name that is no role gives one that has
// nothing.
func (a *App) Role(name string) Role {
	if len(a.Roles) > 0 || name != DefaultRole {
		return a.Roles[name]
	}
	r := Role{Recipe: a.Recipe, Fleet: a.Fleet, Health: a.Health}
	if a.Route.Listen != "" {
		r.Route = &a.Route
	}
	return r
}

// ForRole is the app as one role sees it: Fleet, Health, Route and Recipe are the role's, and there are no Roles. For an app
// without roles it is the app itself, whatever the name. It must not be changed.
func (a *App) ForRole(name string) *App {
	if len(a.Roles) == 0 {
		return a
	}
	if one := a.roles[name]; one != nil {
		return one
	}
	return a.only(name)
}

func (a *App) only(name string) *App {
	role, one := a.Roles[name], *a
	one.Roles, one.roles = nil, nil
	one.Fleet, one.Health, one.Route = role.Fleet, role.Health, Route{}
	one.Recipe = cmp.Or(role.Recipe, a.Recipe)
	if role.Route != nil {
		one.Route = *role.Route
	}
	return &one
}

// split makes the apps of all roles, so that they need not be made again and again.
func (a *App) split() {
	a.roles = nil
	if len(a.Roles) == 0 {
		return
	}
	roles := map[string]*App{}
	for name := range a.Roles {
		roles[name] = a.only(name)
	}
	a.roles = roles
}

// AddressVariable is the variable that holds a role's address: RELEASE_ADDR_API for api.
func AddressVariable(role string) string {
	return addressPrefix + strings.ToUpper(strings.ReplaceAll(role, "-", "_"))
}

// Routed says whether the role gets traffic through the router, from users or from other roles.
func (r Role) Routed() bool { return r.Route != nil }
