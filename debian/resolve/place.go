package resolve

import (
	"runtime"
	"strings"
	"sync"
)

// placeAll gives every node its place in the order of first mention (see the package's comment). Parts of the list are read at
// the same time, since this is most of the work of making a universe: a place is a position in the whole list, so the smallest
// one that a part finds counts.
func (u *Universe) placeAll(all []*version) {
	parts := 1
	if len(u.foreign) == 0 { // else a mention may depend on earlier ones
		parts = min(runtime.GOMAXPROCS(0), 8)
	}
	placers := make([]placer, parts)
	var wait sync.WaitGroup
	for i := range placers {
		placers[i] = placer{u: u, first: make([]int64, len(u.nodes))}
		from, to := len(all)*i/parts, len(all)*(i+1)/parts
		wait.Go(func() { placers[i].read(all[from:to], int64(from)) })
	}
	wait.Wait()
	for _, n := range u.nodes {
		for i := range placers {
			if at := placers[i].first[n.index]; at != 0 {
				n.place = at
				break
			}
		}
	}
}

// placer finds where a part of the list mentions each node first.
type placer struct {
	u     *Universe
	first []int64 // by node, 0 for not at all
	at    int64
}

// maxMentions is how many names a paragraph may mention and keep its distance from the next.
const maxMentions = 1 << 20

func (p *placer) read(part []*version, from int64) {
	for i, v := range part {
		p.at = (from + int64(i) + 1) * maxMentions
		p.node(v.node)
		p.mentions(v, v.PreDepends, false)
		p.mentions(v, v.Depends, false)
		p.mentions(v, v.Conflicts, true)
		p.mentions(v, v.Breaks, true)
		p.mentions(v, v.Recommends, false)
		p.mentions(v, v.Suggests, false)
		p.mentions(v, v.Replaces, true)
		p.mentions(v, v.Enhances, false)
		p.mentions(v, v.Provides, v.MultiArch == "foreign")
	}
}

func (p *placer) node(n *node) {
	p.at++
	if p.first[n.index] == 0 {
		p.first[n.index] = p.at
	}
}

// mentions places what a relation field names. A loose mention counts only if no package of that name was mentioned.
func (p *placer) mentions(v *version, field string, loose bool) {
	for i := 0; i < len(field); i++ {
		if c := field[i]; c <= ' ' || c == ',' || c == '|' {
			continue
		}
		start := i
		for i < len(field) && field[i] > ' ' && field[i] != ',' && field[i] != '|' && field[i] != ':' && field[i] != '(' {
			i++
		}
		p.name(v, field[start:i], field[i:], loose)
		for i < len(field) && field[i] != ',' && field[i] != '|' {
			i++
		}
	}
}

func (p *placer) name(v *version, name, rest string, loose bool) {
	g := p.u.groups[name]
	if g == nil || len(g.nodes) == 0 || strings.HasPrefix(rest, ":any") {
		return
	}
	if len(g.nodes) == 1 {
		if n := g.nodes[0]; n.arch == v.node.arch {
			p.node(n)
		}
		return
	}
	if n := g.of(v.node.arch); n != nil && !(loose && p.met(g)) {
		p.node(n)
	}
}

func (p *placer) met(g *group) bool {
	for _, n := range g.nodes {
		if p.first[n.index] != 0 {
			return true
		}
	}
	return false
}
