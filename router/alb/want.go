package alb

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// wanted is what a table asks of the balancer.
type wanted struct {
	version router.Version
	groups  map[string]*wantedGroup // by name
	rules   []wantedRule            // of each listener in the order of their priorities
}

// wantedGroup is the target group of a fleet.
type wantedGroup struct {
	name, fleet, route, listener string
	h2c, ipv6                    bool
	slowStart                    time.Duration
	nodes                        map[string]string // node by address
	weighted                     bool              // it gets requests by weight
}

// wantedRule is one rule. Its groups are named, since they may not be there yet.
type wantedRule struct {
	listener, route string
	conditions      []condition
	shares          []share // none: the answer is 503
	sticky          int     // seconds; 0: not
}

// share is a target group's part.
type share struct {
	group  string
	weight int
}

// nobody is an address that no client has: of a network for documentation [RFC 5737].
const nobody = "192.0.2.255/32"

// headerRelease is the header that asks for a preview.
const headerRelease = "X-Release"

// want says what the table asks for. Errors: a listener that is not there.
func (b *Backend) want(v *view, t router.Table) (*wanted, error) {
	w := &wanted{version: t.Version, groups: map[string]*wantedGroup{}}
	type block struct {
		host, path string
		rules      []wantedRule
	}
	var blocks []block
	var missing fault.List
	for i := range t.Routes {
		r := &t.Routes[i]
		listener, err := v.listener(r)
		if err != nil {
			missing = append(missing, fault.All(err)...)
			continue
		}
		b.wantGroups(w, r, listener)
		for _, m := range matches(r) {
			blocks = append(blocks, block{m.host, m.path, b.wantRules(r, listener, m)})
		}
	}
	// The most specific host comes first, of one host the longest path.
	slices.SortStableFunc(blocks, func(x, y block) int {
		return cmp.Or(-cmp.Compare(specific(x.host), specific(y.host)), -cmp.Compare(len(x.path), len(y.path)))
	})
	for _, block := range blocks {
		w.rules = append(w.rules, block.rules...)
	}
	return w, missing.Err()
}

// match is a part of what a route is for: hosts of one kind, and a path.
type match struct {
	host  string // as long as its rank says
	hosts []string
	path  string // without a slash at its end: "" is all
}

// matches are the parts of a route. Exact hosts are together: no two rules fit the same of them.
func matches(r *router.Route) (all []match) {
	var exact []string
	wild := [][]string{}
	for _, h := range r.Hosts {
		if strings.HasPrefix(h, "*.") {
			wild = append(wild, []string{h})
		} else {
			exact = append(exact, h)
		}
	}
	if len(exact) > 0 {
		wild = append(wild, exact)
	}
	if len(wild) == 0 {
		wild = append(wild, nil)
	}
	paths := r.Paths
	if len(paths) == 0 {
		paths = []string{"/"}
	}
	for _, hosts := range wild {
		for _, p := range paths {
			m := match{hosts: hosts, path: strings.TrimRight(p, "/")}
			if len(hosts) > 0 {
				m.host = hosts[0]
			}
			all = append(all, m)
		}
	}
	return all
}

// specific ranks hosts: any, wildcards by length, exact ones.
func specific(host string) int {
	switch {
	case host == "":
		return 0
	case strings.HasPrefix(host, "*."):
		return len(host)
	}
	return 1 << 16
}

func (b *Backend) wantGroups(w *wanted, r *router.Route, listener string) {
	split := weigh(r)
	for _, f := range r.Fleets {
		if len(f.Nodes) == 0 {
			continue
		}
		name := b.groupName(f.ID, r.Nodes)
		g := w.groups[name]
		if g == nil {
			g = &wantedGroup{name: name, fleet: f.ID, route: r.Name, listener: listener, h2c: r.Nodes == router.NodeH2C, slowStart: r.Balance.SlowStart, nodes: map[string]string{}}
			w.groups[name] = g
		}
		g.weighted = g.weighted || split[f.ID] > 0
		for _, n := range f.Nodes {
			address := plainAddress(n.Address)
			g.nodes[address] = n.Name
			g.ipv6 = netip.MustParseAddrPort(address).Addr().Is6() // tables are valid
		}
	}
}

// wantRules are the rules for a part of a route: previews, the route's own rules, and the split.
func (b *Backend) wantRules(r *router.Route, listener string, m match) (all []wantedRule) {
	add := func(conditions []condition, shares ...share) {
		if len(conditions) == 0 {
			conditions = []condition{{field: fieldPath, values: []string{"*"}}}
		}
		rule := wantedRule{listener: listener, route: r.Name, shares: shares}
		for _, rule.conditions = range split(conditions) {
			all = append(all, rule)
		}
	}
	served := map[string]share{}
	for _, f := range r.Fleets {
		if len(f.Nodes) > 0 {
			served[f.ID] = share{b.groupName(f.ID, r.Nodes), 1}
		}
	}
	if from := outside(r.Preview.From); len(from) > 0 {
		for _, f := range r.Fleets {
			if s, there := served[f.ID]; there {
				add(append(m.conditions(), condition{fieldHeader, headerRelease, []string{f.Release}}, condition{field: fieldSource, values: from}), s)
			}
		}
		add(append(m.conditions(), condition{fieldHeader, headerRelease, []string{"*"}}, condition{field: fieldSource, values: from}))
	}
	for _, u := range r.Rules {
		s, there := served[u.Fleet]
		for _, conditions := range ruled(m, u) {
			if there {
				add(conditions, s)
			}
		}
	}
	main := b.splitOf(r)
	first := len(all)
	add(m.conditions(), main...)
	for i := range all[first:] {
		all[first+i].sticky = stickyFor(r)
	}
	return all
}

// splitOf are the shares of a route by weight, and those that have none and keep their clients.
func (b *Backend) splitOf(r *router.Route) (shares []share) {
	for id, weight := range weigh(r) {
		shares = append(shares, share{b.groupName(id, r.Nodes), weight})
	}
	if len(shares) == 0 {
		return nil
	}
	for _, id := range stays(r) {
		shares = append(shares, share{b.groupName(id, r.Nodes), 0})
	}
	slices.SortFunc(shares, func(x, y share) int { return strings.Compare(x.group, y.group) })
	return shares
}

// stickyFor is the age of the balancer's cookie in seconds.
func stickyFor(r *router.Route) int {
	if r.Sticky == nil {
		return 0
	}
	return int(max(time.Second, cmp.Or(r.Sticky.MaxAge, usualSticky)) / time.Second)
}

// outside are the networks that clients of a balancer can come from: not loopback.
func outside(networks []string) (list []string) {
	for _, n := range networks {
		if p, err := netip.ParsePrefix(n); err == nil && !p.Addr().IsLoopback() {
			list = append(list, n)
		}
	}
	return list
}

func (m match) conditions() (list []condition) {
	if len(m.hosts) > 0 {
		list = append(list, condition{field: fieldHost, values: m.hosts})
	}
	if m.path != "" {
		list = append(list, condition{field: fieldPath, values: below(m.path)})
	}
	return list
}

// below are the patterns for a path and what is below it.
func below(path string) []string { return []string{path, path + "/*"} }

// ruled are the conditions of a route's rule within a part of the route: one set for each path that fits both.
func ruled(m match, u router.Rule) (sets [][]condition) {
	paths := []string{m.path}
	if len(u.Paths) > 0 {
		paths = nil
		for _, p := range u.Paths {
			if p, ok := deeper(strings.TrimRight(p, "/"), m.path); ok {
				paths = append(paths, p)
			}
		}
	}
	for _, p := range paths {
		list := match{hosts: m.hosts, path: p}.conditions()
		for _, name := range sortedKeys(u.Headers) {
			list = append(list, condition{fieldHeader, name, []string{cmp.Or(u.Headers[name], "*")}})
		}
		if len(u.From) > 0 {
			list = append(list, condition{field: fieldSource, values: u.From})
		}
		sets = append(sets, list)
	}
	return sets
}

// deeper is the path that is below both; false: there is none.
func deeper(x, y string) (string, bool) {
	if len(x) < len(y) {
		x, y = y, x
	}
	return x, x == y || strings.HasPrefix(x, y+"/")
}

// anchor has the balancer look after the health of a group that no other rule may forward to, without anybody's request.
func (g *wantedGroup) anchor() wantedRule { return anchorOf(g.listener, g.route, g.name) }

func anchorOf(listener, route, group string) wantedRule {
	return wantedRule{listener: listener, route: route, shares: []share{{group, 1}},
		conditions: []condition{{field: fieldSource, values: []string{nobody}}, {fieldHeader, headerRelease, []string{group}}}}
}

// split makes sets of conditions that each have as few values as a rule may have, and together fit the same requests.
func split(list []condition) [][]condition {
	total, most := 0, 0
	for i, c := range list {
		total += len(c.values)
		if len(c.values) > len(list[most].values) {
			most = i
		}
	}
	n := len(list[most].values)
	if total <= mostValues && n <= mostEach || n == 1 {
		return [][]condition{list}
	}
	var all [][]condition
	for _, half := range [][]string{list[most].values[:n/2], list[most].values[n/2:]} {
		part := slices.Clone(list)
		part[most].values = half
		all = append(all, split(part)...)
	}
	return all
}

func splitAddress(address string) (host string, port int32) {
	a := netip.MustParseAddrPort(address)
	return a.Addr().String(), int32(a.Port())
}
