package embedded

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/netip"

	"github.com/bootandshoot/release/router"
)

// target is a fleet of a route in one table.
type target struct {
	id, release string
	nodes       []*node
	stats       *fleetStats
}

// path is a route in one table, ready to pick from.
type path struct {
	name     string
	stats    *routeStats
	preview  previewRule
	targets  []*target // all with nodes
	weighted []*target // of those, with a weight; the split's order
	standby  []*target
	split    split
}

// choice is what the picking of one request depends on.
type choice struct {
	position uint64          // in the split's sequence, drawn once a request
	release  string          // a preview's release, or ""
	tried    []*node         // failed already
	now      int64           // Unix nanoseconds
	random   func() uint64   // uniform
	_        [0]func(choice) // not comparable
}

// pick finds a node for a request. Nodes that failed to connect a moment ago come last, nodes that this request tried
// never. Order of fleets: the one at the position, the other weighted ones, those on standby; for a preview only
// fleets of its release.
func (p *path) pick(c choice) (*target, *node) {
	if t, n := p.pickReady(c); n != nil {
		return t, n
	}
	return p.each(c, func(t *target) *node { return t.pick(c, func(*node) bool { return true }) })
}

func (p *path) pickReady(c choice) (*target, *node) {
	return p.each(c, func(t *target) *node {
		for range len(t.nodes) {
			n := t.pick(c, func(n *node) bool { return n.ready(c.now) })
			if n == nil || n.claim(c.now) {
				return n
			}
		}
		return nil
	})
}

// each tries the fleets in order until one gives a node.
func (p *path) each(c choice, try func(*target) *node) (*target, *node) {
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
	if k := len(p.weighted); k > 0 {
		first := p.split.index(c.position)
		for i := range k {
			t := p.weighted[(first+i)%k]
			if n := try(t); n != nil {
				return t, n
			}
		}
	}
	if k := len(p.standby); k > 0 {
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

// pick is the less busy of two random nodes among those that are wanted and not tried.
// [Mitzenmacher, The Power of Two Choices in Randomized Load Balancing]
func (t *target) pick(c choice, want func(*node) bool) *node {
	ok := func(n *node) bool { return want(n) && !contains(c.tried, n) }
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
		return lessBusy(a, b)
	}
	return t.pickAmong(r, ok)
}

// pickAmong is pick when some nodes are out of question.
func (t *target) pickAmong(r uint64, ok func(*node) bool) *node {
	var a, b *node
	k := len(t.nodes)
	start := int(uint32(r)) % k
	for i := range k {
		n := t.nodes[(start+i)%k]
		if !ok(n) {
			continue
		}
		if a == nil {
			a = n
			continue
		}
		b = n
		break
	}
	if b == nil {
		return a
	}
	return lessBusy(a, b)
}

func lessBusy(a, b *node) *node {
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

const (
	releaseHeader = "X-Release"
	keyHeader     = "X-Release-Key"
)

// previewRule decides whose X-Release is obeyed.
type previewRule struct {
	from []netip.Prefix
	key  []byte // SHA-256, or nil
}

func newPreviewRule(p router.Preview) previewRule {
	var r previewRule
	for _, s := range p.From {
		if n, err := netip.ParsePrefix(s); err == nil { // the table was validated
			r.from = append(r.from, n)
		}
	}
	if b, err := hex.DecodeString(p.KeySHA256); err == nil && len(b) == sha256.Size {
		r.key = b
	}
	return r
}

// release is the release that the request asks for and may have, or "".
func (p previewRule) release(r *http.Request) string {
	release := r.Header.Get(releaseHeader)
	if release == "" || len(p.from) == 0 && p.key == nil {
		return ""
	}
	if key := r.Header.Get(keyHeader); key != "" && p.key != nil {
		sum := sha256.Sum256([]byte(key))
		if subtle.ConstantTimeCompare(sum[:], p.key) == 1 {
			return release
		}
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	for _, n := range p.from {
		if n.Contains(peer.Addr().Unmap().WithZone("")) {
			return release
		}
	}
	return ""
}
