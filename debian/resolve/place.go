package resolve

import (
	"strings"
)

// placeAll gives every node its place in the order of first mention (see the package's comment).
func (u *Universe) placeAll(all []*version) {
	p := placer{u: u}
	for _, v := range all {
		p.node(v.node)
		pkg := v.Package
		p.mentions(v, pkg.PreDepends, false)
		p.mentions(v, pkg.Depends, false)
		p.mentions(v, pkg.Conflicts, true)
		p.mentions(v, pkg.Breaks, true)
		p.mentions(v, pkg.Recommends, false)
		p.mentions(v, pkg.Suggests, false)
		p.mentions(v, pkg.Replaces, true)
		p.mentions(v, pkg.Enhances, false)
		p.mentions(v, pkg.Provides, v.MultiArch == "foreign")
	}
}

type placer struct {
	u    *Universe
	last int32
}

func (p *placer) node(n *node) {
	if n.place == 0 {
		p.last++
		n.place = p.last
	}
}

// mentions places what a relation field names. A loose mention is met only if no package of that name was.
func (p *placer) mentions(v *version, field string, loose bool) {
	for field != "" {
		end := strings.IndexAny(field, ",|")
		item := field
		if end < 0 {
			field = ""
		} else {
			item, field = field[:end], field[end+1:]
		}
		item = strings.TrimLeft(item, " \t\r\n")
		stop := 0
		for stop < len(item) && item[stop] > ' ' && item[stop] != ':' && item[stop] != '(' {
			stop++
		}
		g := p.u.groups[item[:stop]]
		if g == nil || len(g.nodes) == 0 || strings.HasPrefix(item[stop:], ":any") {
			continue
		}
		if len(g.nodes) == 1 {
			if g.nodes[0].arch == v.node.arch {
				p.node(g.nodes[0])
			}
			continue
		}
		if n := g.of(v.node.arch); n != nil && !(loose && g.met()) {
			p.node(n)
		}
	}
}

func (g *group) met() bool {
	for _, n := range g.nodes {
		if n.place != 0 {
			return true
		}
	}
	return false
}
