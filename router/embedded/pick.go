package embedded

import (
	"time"

	"github.com/bootandshoot/release/router"
)

// target is a fleet of a route in one table.
type target struct {
	id, release string
	seed        uint64 // of its name, for sticky clients
	weight      float64
	sessions    bool
	nodes       []*node
	stats       *fleetStats
}

// path is a route in one table, ready to pick from.
type path struct {
	name      string
	route     *router.Route
	redirects bool // to HTTPS: nothing else is served here
	stats     *routeStats
	preview   previewRule
	rules     []rule
	sticky    *sticky
	trusted   networks
	targets   []*target // all with nodes
	weighted  []*target // of those, with a weight; the split's order
	standby   []*target
	split     split
	limits    limits
}

// limits is the route's router.Balance with its defaults.
type limits struct {
	slowStart   time.Duration
	ejectAfter  int
	maxInFlight int64
	maxQueue    int
	queueWait   time.Duration
	timeout     time.Duration // to the end of an answer's header
	hedgeAfter  time.Duration // 0: never
}

// choice is what the picking of one request depends on.
type choice struct {
	position uint64          // in the split's sequence, drawn once a request
	release  string          // a preview's release, or ""
	first    *target         // a rule's or a session's fleet, or nil
	index    int             // of the weighted fleets, the one whose turn it is
	tried    []*node         // failed already
	now      int64           // an instant
	random   func() uint64   // uniform
	full     bool            // set by pick: a node was passed over because it has all it may have
	_        [0]func(choice) // not comparable
}

// pick finds a node for a request. Nodes that failed a moment ago come last, nodes that this request tried never. Order of
// fleets: the one that a rule or session names, the one whose turn it is, the other weighted ones, those on standby unless one of
// these has a node that is merely full; for a preview only fleets of its release.
func (p *path) pick(c *choice) (*target, *node) {
	c.full = false
	if t, n := p.pickReady(c); n != nil {
		return t, n
	}
	return p.each(c, func(t *target) *node { return t.pick(p, c, func(*node) bool { return true }) })
}

func (p *path) pickReady(c *choice) (*target, *node) {
	return p.each(c, func(t *target) *node {
		for range len(t.nodes) {
			n := t.pick(p, c, func(n *node) bool { return n.ready(c.now) })
			if n == nil || n.claim(c.now) {
				return n
			}
		}
		return nil
	})
}

// each tries the fleets in order until one gives a node.
func (p *path) each(c *choice, try func(*target) *node) (*target, *node) {
	if c.release != "" {
		for _, t := range p.targets {
			if t.release == c.release {
				if n := try(t); n != nil {
					return t, n
				}
			}
		}
		return nil, nil
	}
	if c.first != nil {
		if n := try(c.first); n != nil {
			return c.first, n
		}
	}
	for i, k := 0, len(p.weighted); i < k; i++ {
		t := p.weighted[(c.index+i)%k]
		if n := try(t); n != nil {
			return t, n
		}
	}
	if k := len(p.standby); k > 0 && !c.full { // a fleet that has all it may have makes its users wait, not go back to a release that is left
		first := int(c.random() % uint64(k))
		for i := range k {
			t := p.standby[(first+i)%k]
			if n := try(t); n != nil {
				return t, n
			}
		}
	}
	return nil, nil
}

// pick is the less busy of two random nodes among those that are wanted, have room and were not tried.
// [Mitzenmacher, The Power of Two Choices in Randomized Load Balancing]
func (t *target) pick(p *path, c *choice, want func(*node) bool) *node {
	ok := func(n *node) bool {
		if !want(n) || contains(c.tried, n) {
			return false
		}
		if p.limits.maxInFlight > 0 && n.inFlight.Load() >= p.limits.maxInFlight {
			c.full = true
			return false
		}
		return true
	}
	k := len(t.nodes)
	if k == 0 {
		return nil
	}
	r := c.random()
	i := int(uint32(r)) % k
	a := t.nodes[i]
	if k == 1 {
		if ok(a) {
			return a
		}
		return nil
	}
	b := t.nodes[(i+1+int(r>>33)%(k-1))%k]
	if ok(a) && ok(b) {
		return p.better(a, b, c)
	}
	return t.pickAmong(p, c, ok)
}

// pickAmong is pick when some nodes are out of question. The two are drawn from all others alike: whoever stands next to those would
// get their part as well. [Vitter, Random Sampling with a Reservoir: algorithm R]
func (t *target) pickAmong(p *path, c *choice, ok func(*node) bool) *node {
	var two [2]*node
	seen := 0
	for _, n := range t.nodes {
		if !ok(n) {
			continue
		}
		at := seen
		if seen++; seen > len(two) {
			at = int(c.random() % uint64(seen))
		}
		if at < len(two) {
			two[at] = n
		}
	}
	if seen < len(two) {
		return two[0]
	}
	if c.random()&1 == 1 { // the first of two that are busy alike is taken
		two[0], two[1] = two[1], two[0]
	}
	return p.better(two[0], two[1], c)
}

// better is the less busy of two; a node that starts slowly stands back for one that does not, so that it gets its part of
// a share only.
func (p *path) better(a, b *node, c *choice) *node {
	if slow := p.limits.slowStart; slow > 0 {
		ra, rb := a.ramp(slow, c.now), b.ramp(slow, c.now)
		draw := float64(c.random()>>11) / (1 << 53)
		switch {
		case ra < rb && draw > ra/rb:
			return b
		case rb < ra && draw > rb/ra:
			return a
		}
	}
	if b.inFlight.Load() < a.inFlight.Load() {
		return b
	}
	return a
}

func contains(list []*node, n *node) bool {
	for _, m := range list {
		if m == n {
			return true
		}
	}
	return false
}
