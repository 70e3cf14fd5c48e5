package config

import (
	"slices"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/strictyaml"
)

// roles lays each role over what the app says of all of them, and checks the outcome like an app of its own.
func (c *checker) roles(a *App) {
	if c.has("route") {
		c.fail(c.root.LocateKey("route"), "route: with roles each has its own").WithHint("move it to roles.NAME.route")
	}
	all := c.root.Get("roles")
	if all.Kind != strictyaml.Map {
		return
	}
	if len(all.Entries) == 0 {
		c.fail(all.Pos, "roles must have at least one role")
	}
	for _, e := range all.Entries {
		if !validName(e.Key) || strings.HasSuffix(e.Key, "-internal") {
			c.fail(e.KeyPos, "role %q must be 1 to %d of a-z, 0-9 and -, beginning with a letter and not ending in -internal", e.Key, maxName)
		}
		if e.Value.Kind == strictyaml.Map || e.Value.Kind == strictyaml.Null {
			c.role(a, e)
		}
	}
	c.cycles(a)
	a.Fleet, a.Health, a.Route = Fleet{}, Health{}, Route{}
}

// role makes one role complete. What did not decode is reported already, for the app or for the role.
func (c *checker) role(a *App, e strictyaml.Entry) {
	if a.Roles == nil {
		a.Roles = map[string]Role{}
	}
	common := strictyaml.Node{Pos: e.Value.Pos, Kind: strictyaml.Map}
	for _, key := range []string{"fleet", "health"} {
		if n := c.root.Get(key); n != nil {
			common.Entries = append(common.Entries, strictyaml.Entry{Key: key, KeyPos: n.Pos, Value: n})
		}
	}
	root := &common
	if e.Value.Kind == strictyaml.Map {
		root = mergeApp(&common, e.Value)
	}
	var role Role
	strictyaml.Defaults(&role)
	strictyaml.Decode(root, &role)
	sub := &checker{root: root}
	sub.fleet(&role.Fleet)
	sub.onSwarm(&role.Fleet, &role.Health)
	sub.instances(&role.Fleet)
	sub.asMachines(&role.Fleet)
	sub.health(&role.Health)
	sub.entry(a, e.Key, &role)
	sub.kind(&role)
	sub.share(&role)
	a.Roles[e.Key] = role
	if role.Verdict != "" && !role.Routed() {
		sub.fail(root.LocateKey("verdict"), "verdict: nothing is compared of a role without a route")
	}
	c.needs(a, e, role)
	c.take(inFull(e.Value, "roles."+e.Key+".", sub.errs))
}

// take adds what is not known yet: what the app says of all roles is checked with each of them.
func (c *checker) take(errs fault.List) {
	for _, e := range errs {
		known := slices.ContainsFunc(c.errs, func(k *fault.Error) bool {
			return k.Line == e.Line && k.Column == e.Column && k.Message == e.Message
		})
		if !known {
			c.errs = append(c.errs, e)
		}
	}
}

// entry checks how a role is reached.
func (c *checker) entry(a *App, name string, role *Role) {
	n := c.root.Get("route")
	switch {
	case role.Internal:
		c.internal(role)
	case n != nil && role.Route != nil:
		c.listens(role.Route)
	case n == nil && c.has("start") && role.Accessory:
		c.fail(c.root.LocateKey("start"), "start: an accessory is not cut over, so it has no share")
	}
	if role.Route == nil {
		return
	}
	if c.has("start") {
		c.fail(c.root.LocateKey("start"), "start: nodes of a role with a route boot at the launch, all of them")
	}
	c.route(role.Route)
	c.sticky(a, name, role.Route.Sticky)
}

// internal gives a role that users cannot reach a route of its own, and finds what such a route cannot have.
func (c *checker) internal(role *Role) {
	n := c.root.Get("route")
	if n == nil {
		role.Route = &Route{}
		strictyaml.Defaults(role.Route)
	}
	if role.Route == nil || n == nil {
		return
	}
	for _, e := range n.Entries {
		if !slices.Contains([]string{"protocol", "node_http", "balance", "preview"}, e.Key) {
			c.fail(e.KeyPos, "route.%s: an internal role is reached by the other roles only, at an address of release's choice", e.Key)
		}
	}
}

// kind checks what a role runs.
func (c *checker) kind(role *Role) {
	if n := c.root.Get("cmd"); n != nil && n.Kind == strictyaml.List && (len(role.Command) == 0 || role.Command[0] == "") {
		c.fail(n.Pos, "cmd must begin with a program")
	}
}

// needs checks the names of what a role needs.
func (c *checker) needs(a *App, e strictyaml.Entry, role Role) {
	all := c.root.Get("roles")
	var names []string
	for _, other := range all.Entries {
		names = append(names, other.Key)
	}
	for i, need := range role.Needs {
		pos := c.at("roles", e.Key, "needs", i)
		path := indexed("roles."+e.Key+".needs", i)
		switch {
		case need == e.Key:
			c.fail(pos, "%s: a role cannot need itself", path)
		case !slices.Contains(names, need):
			c.errs = append(c.errs, strictyaml.UnknownName(pos, "role", need, "in "+path, names))
		case slices.Index(role.Needs, need) < i:
			c.fail(pos, "%s: %q is given twice", path, need)
		case role.Accessory && !c.isAccessory(need):
			c.fail(pos, "%s: an accessory boots before the other roles, so it cannot need %q", path, need)
		}
	}
}

func (c *checker) isAccessory(role string) bool {
	n := c.root.Get("roles").Get(role).Get("accessory")
	return n != nil && strings.EqualFold(n.Text, "true")
}

// cycles finds roles that wait for each other.
func (c *checker) cycles(a *App) {
	for _, name := range sortedKeys(a.Roles) {
		if way := a.wayBack(name, name, nil); way != nil && name == slices.Min(way) {
			c.fail(c.at("roles", name, "needs"), "roles.%s.needs: %s need each other, so none of them could boot first",
				name, strings.Join(append(way, name), " → "))
		}
	}
}

// wayBack is a way from one role to another by what they need, nil if there is none.
func (a *App) wayBack(from, to string, way []string) []string {
	way = append(slices.Clone(way), from)
	for _, need := range a.Roles[from].Needs {
		if need == to && len(way) > 1 {
			return way
		}
		if need == from || slices.Contains(way, need) {
			continue
		}
		if found := a.wayBack(need, to, way); found != nil {
			return found
		}
	}
	return nil
}

// checkPromotes finds environments that take images from where there are none.
func checkPromotes(overlays []named) fault.List {
	var errs fault.List
	for _, o := range overlays {
		from := o.node.Get(promoteKey)
		path := "environments." + o.name + "." + promoteKey
		switch {
		case from == nil:
		case from.Kind != strictyaml.Text:
			errs = append(errs, strictyaml.WrongKind(from, path, "text"))
		case from.Text == o.name:
			errs = append(errs, from.Pos.Errorf("%s: an environment cannot take images from itself", path))
		case !slices.Contains(names(overlays), from.Text):
			errs = append(errs, strictyaml.UnknownName(from.Pos, "environment", from.Text, "in "+path, names(overlays)))
		}
	}
	return errs
}
