package haproxy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"github.com/bootandshoot/release/router"
)

const (
	// slotsAtOnce is how many fleets of a route have a place without a reload: one that serves, one to come, one that is kept
	// warm, and one that is still being emptied. More come in steps of as many.
	slotsAtOnce = 4
	// fewestServers are in every slot.
	fewestServers = 4
	// rest is how long an empty server stays out before another node gets it. Until then a stream that failed there may
	// still try again.
	rest = 5 * time.Second
	// maxSlots is bounded by what a set of them is summed in.
	maxSlots = 32
)

// plan is where everything of a table has its place in one worker.
type plan struct {
	table  router.Table
	routes []*placed
}

// placed is a route in its slots.
type placed struct {
	route      *router.Route
	id         string
	slots      int  // how many
	capacity   int  // servers of a slot in a new configuration
	fits       bool // the worker can serve it as it is
	conditions []string
	rules      []int // condition of each rule
	fleets     []seated
}

// seated is a fleet in its slot.
type seated struct {
	fleet   *router.Fleet
	slot    int // 1, 2, 4…
	servers []assigned
}

// assigned is a node in its server.
type assigned struct {
	node   router.Node
	server string
	fresh  bool // the server is not there yet
}

// arrange finds a place in a worker for all of a table's fleets and nodes. Who has a place keeps it.
func arrange(l *layout, t router.Table) *plan {
	p := &plan{table: t}
	for i := range t.Routes {
		r := &t.Routes[i]
		pr := &placed{route: r, id: routeID(r)}
		seated, conditioned := pr.seat(l, l.slots(pr.id)), pr.condition(l)
		pr.fits = seated && conditioned
		p.routes = append(p.routes, pr)
	}
	return p
}

// fits says whether the worker can serve the whole table without a reload.
func (p *plan) fits() bool {
	return !slices.ContainsFunc(p.routes, func(pr *placed) bool { return !pr.fits })
}

// anew is the plan for a worker that begins: everybody in the first place there is.
func (p *plan) anew() *plan {
	out := &plan{table: p.table}
	for _, pr := range p.routes {
		n := *pr
		n.fits, n.fleets = true, nil
		for k, s := range pr.fleets {
			s.slot = 1 << k
			s.servers = slices.Clone(s.servers)
			for i := range s.servers {
				s.servers[i] = assigned{node: s.servers[i].node, server: fmt.Sprintf("s%d", i+1)}
			}
			n.fleets = append(n.fleets, s)
		}
		out.routes = append(out.routes, &n)
	}
	return out
}

// seat gives the fleets their slots and nodes their servers.
func (p *placed) seat(l *layout, have []int) bool {
	p.slots = max(len(have), (len(p.route.Fleets)+slotsAtOnce-1)/slotsAtOnce*slotsAtOnce, slotsAtOnce)
	taken := map[int]bool{}
	where := map[string]int{}
	for slot, id := range l.notes.fleets[p.id] {
		if slices.ContainsFunc(p.route.Fleets, func(f router.Fleet) bool { return f.ID == id }) && slot < 1<<p.slots {
			taken[slot], where[id] = true, slot
		}
	}
	most := 0
	for i := range p.route.Fleets {
		f := &p.route.Fleets[i]
		most = max(most, len(f.Nodes))
		slot := where[f.ID]
		if slot == 0 {
			slot = p.emptiest(l, taken)
			taken[slot] = true
		}
		p.fleets = append(p.fleets, p.place(l, f, slot))
	}
	p.capacity = max(fewestServers, 1<<bits.Len(uint(most))) // room for one more at least, as a replacement needs
	return len(have) == p.slots
}

// emptiest is the free slot with the fewest servers that are not free.
func (p *placed) emptiest(l *layout, taken map[int]bool) int {
	best, least := 0, 0
	for k := range p.slots {
		slot := 1 << k
		if taken[slot] {
			continue
		}
		used := 0
		for _, s := range l.servers[slotName(p.id, slot)] {
			if !s.out() {
				used++
			}
		}
		if best == 0 || used < least {
			best, least = slot, used
		}
	}
	return best
}

// place gives the nodes of a fleet servers of the slot: the one that a node has, or had; one that nobody ever had; the one
// that is empty for longest; else one to be added.
func (p *placed) place(l *layout, f *router.Fleet, slot int) seated {
	backend := slotName(p.id, slot)
	s := seated{fleet: f, slot: slot}
	taken := map[string]bool{}
	held := map[router.Node]string{}
	for _, srv := range l.servers[backend] {
		if t, ok := l.notes.tenants[backend+"/"+srv.server]; ok && t.Fleet == f.ID {
			held[router.Node{Name: t.Node, Address: t.Address}] = srv.server
		}
	}
	for _, n := range f.Nodes {
		if name := held[n]; name != "" {
			taken[name] = true
		}
	}
	free := p.free(l, backend, taken)
	more := 0
	for _, n := range f.Nodes {
		a := assigned{node: n, server: held[n]}
		switch {
		case a.server != "":
		case len(free) > 0:
			a.server, free = free[0], free[1:]
		default:
			a.server, a.fresh = l.unused(backend, &more), true
		}
		s.servers = append(s.servers, a)
	}
	return s
}

// unused is a name for one more server.
func (l *layout) unused(backend string, n *int) string {
	for {
		*n++
		name := fmt.Sprintf("%s%d", added, *n)
		if !slices.ContainsFunc(l.servers[backend], func(r row) bool { return r.server == name }) {
			return name
		}
	}
}

// free are the servers that a node may come into, the best first.
func (p *placed) free(l *layout, backend string, taken map[string]bool) []string {
	var list []row
	used := map[string]bool{}
	for _, s := range l.servers[backend] {
		_, had := l.notes.tenants[backend+"/"+s.server]
		if taken[s.server] || s.busy() || !s.out() || had && s.quiet < rest {
			continue
		}
		used[s.server] = had
		list = append(list, s)
	}
	slices.SortStableFunc(list, func(a, b row) int {
		if used[a.server] != used[b.server] {
			if used[a.server] {
				return 1
			}
			return -1
		}
		if !used[a.server] {
			return 0
		}
		return cmp.Compare(b.quiet, a.quiet)
	})
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = s.server
	}
	return names
}

// condition is what a rule asks of a request, without where it leads.
type condition struct {
	Headers map[string]string `json:"headers,omitempty"`
	Cookies map[string]string `json:"cookies,omitempty"`
	Paths   []string          `json:"paths,omitempty"`
	From    []string          `json:"from,omitempty"`
}

// maxForgotten bounds how many conditions are kept that no rule has now. Rules come and go with the fleet that they lead to,
// and their conditions stay, so that the second launch needs no reload.
const maxForgotten = 16

// condition finds the rules' conditions among those of the worker, in order. A rule more needs a new configuration.
func (p *placed) condition(l *layout) bool {
	have := l.notes.conditions[p.id]
	var want []string
	for _, r := range p.route.Rules {
		b, _ := json.Marshal(condition{r.Headers, r.Cookies, r.Paths, r.From}) // strings only
		want = append(want, string(b))
	}
	if at, ok := subsequence(want, have); ok {
		p.conditions, p.rules = have, at
		return true
	}
	p.conditions = slices.Clone(want)
	for i := range want {
		p.rules = append(p.rules, i)
	}
	for _, c := range have {
		if !slices.Contains(want, c) && len(p.conditions) < len(want)+maxForgotten {
			p.conditions = append(p.conditions, c)
		}
	}
	return false
}

// subsequence finds want within have, in order.
func subsequence(want, have []string) (at []int, ok bool) {
	next := 0
	for _, w := range want {
		i := slices.Index(have[next:], w)
		if i < 0 {
			return nil, false
		}
		at = append(at, next+i)
		next += i + 1
	}
	return at, true
}
