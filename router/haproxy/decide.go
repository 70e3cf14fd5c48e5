package haproxy

import (
	"encoding/json"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/bootandshoot/release/router"
)

const (
	// shares is what a split is counted in: positions of a request are below it.
	shares = 1 << 24
	// golden is 2^24 divided by the golden ratio, odd: multiples of it spread evenly over all positions, so that of any N
	// requests in a row each fleet gets its share within a few. [Knuth, TAOCP 3, 6.4: Fibonacci hashing]
	golden = 10368889
	// groups is how many groups of clients a sticky route tells apart.
	groups = 4096
	// stale is no route's id: requests that a worker cannot decide by the table are sent to a backend that is not there, and
	// so their connection is closed.
	stale = "stale"
)

// decide is the map of a plan: all that is decided at run time. kept is what a worker knows beside it: who has a server, and
// routes of before, whose counters it still has.
func (p *plan) decide(t *packed, kept kept) []entry {
	hold := kept.servers
	out := slices.Clone(t.entries)
	for id, name := range kept.routes {
		out = append(out, entry{"r|" + id, name})
	}
	for _, pr := range p.routes {
		out = append(out, pr.entrances()...)
		out = append(out, pr.notes(hold)...)
		if !pr.fits {
			continue
		}
		out = append(out, pr.split()...)
		out = append(out, pr.spill()...)
		out = append(out, pr.named()...)
		if pr.route.Sticky != nil {
			out = append(out, pr.sticky()...)
		}
	}
	for server, t := range hold {
		out = append(out, noteOf(server, t))
	}
	sortEntries(out)
	return slices.Compact(out)
}

// kept is what a worker knows beside a plan.
type kept struct {
	servers map[string]tenant // by "BACKEND/SERVER"
	routes  map[string]string // names, by id
}

// entrances lead from hosts and paths to the route, and from plain HTTP to HTTPS.
func (p *placed) entrances() []entry {
	r := p.route
	if r.Protocol == router.TCP {
		return nil
	}
	id := p.id
	if !p.fits {
		id = stale
	}
	out := entrances(r, r.Listen, id)
	if r.TLS != nil && r.TLS.Redirect != "" {
		_, port, _ := net.SplitHostPort(r.Listen)
		out = append(out, entrances(r, r.TLS.Redirect, ">"+port)...)
	}
	return out
}

func entrances(r *router.Route, listen, value string) []entry {
	hosts, paths := r.Hosts, r.Paths
	if len(hosts) == 0 {
		hosts = []string{"*"}
	}
	if len(paths) == 0 {
		paths = []string{"/"}
	}
	id := listenID(listen)
	var out []entry
	for _, h := range hosts {
		switch {
		case strings.HasPrefix(h, "*."):
			out = append(out, entry{"w|" + id, "1"})
		case strings.Contains(h, ":"):
			h = "[" + h + "]"
		}
		for _, path := range paths {
			out = append(out, entry{"h|" + id + "|" + h + strings.TrimRight(path, "/") + "/", value})
		}
	}
	return out
}

// weighted are the fleets that share the requests: those with weight and nodes, else those on standby.
func (p *placed) weighted() (list []seated, weights []int) {
	for _, s := range p.fleets {
		if s.fleet.Weight > 0 && len(s.servers) > 0 {
			list, weights = append(list, s), append(weights, s.fleet.Weight)
		}
	}
	if len(list) > 0 {
		return list, weights
	}
	for _, s := range p.standby() {
		list, weights = append(list, s), append(weights, 1)
	}
	return list, weights
}

func (p *placed) standby() (list []seated) {
	for _, s := range p.fleets {
		if s.fleet.Weight == 0 && s.fleet.Standby && len(s.servers) > 0 {
			list = append(list, s)
		}
	}
	return list
}

// split is the weights, and the order of those that a request tries whose fleet has no node that answers.
func (p *placed) split() []entry {
	list, weights := p.weighted()
	if len(list) == 0 {
		return nil
	}
	var total, sum uint64
	for _, w := range weights {
		total += uint64(w)
	}
	var bounds []string
	for i, w := range weights {
		sum += uint64(w)
		bounds = append(bounds, strconv.FormatUint(sum*shares/total, 10), strconv.Itoa(list[i].slot))
	}
	return []entry{{"s|" + p.id, strings.Join(bounds, ":")}}
}

// others is how many nodes of other fleets each slot spills to.
const others = 8

// spill is where a slot's requests go when none of its nodes can be reached: nodes of the other fleets with weight, else of
// those on standby.
func (p *placed) spill() []entry {
	list, _ := p.weighted()
	var out []entry
	for _, s := range p.fleets {
		to := s.besides(list)
		if len(to) == 0 {
			to = s.besides(p.standby())
		}
		if len(to) == 0 && slices.ContainsFunc(s.servers, func(a assigned) bool { return strings.HasPrefix(a.server, added) }) {
			// The configuration does not know these servers, so the slot must not answer by itself that none is up.
			to = []string{"127.0.0.1|1"}
		}
		for i := range min(others, others*len(to)) {
			out = append(out, entry{"x|" + p.id + "|" + strconv.Itoa(s.slot) + "|" + strconv.Itoa(i), to[i%len(to)]})
		}
	}
	return out
}

// besides are the addresses of the nodes of all in the list but this fleet, taking turns.
func (s seated) besides(list []seated) []string {
	var to []string
	for i, more := 0, true; more && len(to) < others; i++ {
		more = false
		for _, other := range list {
			if other.slot != s.slot && i < len(other.servers) {
				a := netip.MustParseAddrPort(other.servers[i].node.Address) // the table was validated
				to, more = append(to, a.Addr().String()+"|"+strconv.Itoa(int(a.Port()))), true
			}
		}
	}
	return to
}

// named are the slots of previews and rules.
func (p *placed) named() []entry {
	var out []entry
	seen := map[string]bool{}
	slots := map[string]int{}
	for _, s := range p.fleets {
		if len(s.servers) == 0 {
			continue
		}
		slots[s.fleet.ID] = s.slot
		if !seen[s.fleet.Release] {
			seen[s.fleet.Release] = true
			out = append(out, entry{"p|" + p.id + "|" + s.fleet.Release, strconv.Itoa(s.slot)})
		}
	}
	for i, r := range p.route.Rules {
		if slot := slots[r.Fleet]; slot != 0 {
			out = append(out, entry{"u|" + p.id + "|" + strconv.Itoa(p.rules[i]), strconv.Itoa(slot)})
		}
	}
	return out
}

// sticky is where each group of clients belongs, and the fleets that cookies may name.
func (p *placed) sticky() []entry {
	var out []entry
	list, weights := p.weighted()
	seeds := make([]uint64, len(list))
	for i, s := range list {
		seeds[i], _ = strconv.ParseUint(digest([]byte(s.fleet.ID), 16), 16, 64)
	}
	for g := range groups {
		if len(list) > 0 {
			slot := list[prefer(weights, seeds, uint64(g))].slot
			out = append(out, entry{"b|" + p.id + "|" + strconv.Itoa(g), strconv.Itoa(slot)})
		}
	}
	if p.route.Sticky.By != router.StickyCookie {
		return out
	}
	for _, s := range p.fleets {
		tag, slot := tagOf(s.fleet.ID), strconv.Itoa(s.slot)
		out = append(out, entry{"g|" + p.id + "|" + slot, tag})
		if s.fleet.Sessions && len(s.servers) > 0 {
			out = append(out, entry{"k|" + p.id + "|" + tag, slot})
		}
	}
	return out
}

// prefer is the index of the group's fleet: the one with the largest -weight/ln(h), h being a hash of group and fleet in
// (0, 1). A fleet whose weight grows takes groups from those that shrink, and no other group moves.
// [Schindelhauer, Schomaker: Weighted Distributed Hash Tables, SPAA 2005]
func prefer(weights []int, seeds []uint64, group uint64) int {
	best, at := math.Inf(-1), 0
	for i, w := range weights {
		h := (float64(mix(group^seeds[i])>>11) + 0.5) / (1 << 53)
		if score := -float64(w) / math.Log(h); score > best {
			best, at = score, i
		}
	}
	return at
}

// mix is the finalizer of SplitMix64. [Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014]
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// notes are what the next agent has to know: which fleet is in which slot, and who has which server.
func (p *placed) notes(hold map[string]tenant) []entry {
	out := []entry{{"r|" + p.id, p.route.Name}}
	for i, c := range p.conditions {
		out = append(out, entry{"c|" + p.id + "|" + strconv.Itoa(i), c})
	}
	for _, s := range p.fleets {
		out = append(out, entry{"a|" + p.id + "|" + strconv.Itoa(s.slot), s.fleet.ID})
		for _, a := range s.servers {
			server := slotName(p.id, s.slot) + "/" + a.server
			if _, ok := hold[server]; !ok {
				out = append(out, noteOf(server, tenant{Fleet: s.fleet.ID, Node: a.node.Name, Address: a.node.Address, TCP: p.route.Protocol == router.TCP}))
			}
		}
	}
	return out
}

func noteOf(server string, t tenant) entry {
	b, _ := json.Marshal(t) // strings and numbers only
	return entry{"n|" + server, string(b)}
}
