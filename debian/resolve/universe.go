package resolve

import (
	"cmp"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/bootandshoot/release/debian"
)

// Universe is all packages there are to choose from. It does not change: any number of requests may use one at the same
// time.
type Universe struct {
	arch      string
	foreign   []string
	suites    []Suite
	groups    map[string]*group
	nodes     []*node
	elsewhere map[string]string // names that only other architectures have, with one of those
	packages  []debian.Package
}

// Suite describes one of the lists of packages, for pins, wants and messages. Package.Suite is its place in the list.
type Suite struct {
	Name      string // as it was asked for, such as bookworm-security
	Codename  string
	Archive   string // what the release file calls Suite, such as stable-security
	Origin    string
	Label     string
	Component string
	// NotAutomatic and ButAutomaticUpgrades are those of the release file: nothing comes from such a suite by itself.
	NotAutomatic         bool
	ButAutomaticUpgrades bool
}

// group is a name: the packages that have it, one an architecture, and those that provide it.
type group struct {
	name      string
	nodes     []*node
	providers []provider
}

// node is a package of one architecture, those of architecture all being of the native one.
type node struct {
	group                *group
	arch                 string
	index                int32 // in Universe.nodes
	place                int64 // in the order of first mention
	essential, protected bool
	versions             []*version // newest first
}

type provider struct {
	by      *version
	arch    string         // qualifier of the provided name
	version debian.Version // "" without one
}

type version struct {
	*debian.Package
	node   *node
	suites []int // where it is, the first one first
	parsed atomic.Pointer[relations]
}

// New makes a universe of the packages of an architecture and of those foreign ones that may be installed beside it.
// Packages of others are remembered by name only, for messages. The slice must not change as long as the universe is used.
func New(packages []debian.Package, arch string, foreign ...string) *Universe {
	u := &Universe{arch: arch, foreign: foreign, groups: make(map[string]*group, len(packages)+len(packages)/8), packages: packages}
	all := u.index(u.archiveOrder(packages))
	u.indexProviders(all)
	u.placeAll(all)
	return u
}

// WithSuites gives the universe the descriptions of its suites; the same universe, not a copy. It must come before the first
// request.
func (u *Universe) WithSuites(suites []Suite) *Universe {
	u.suites = suites
	return u
}

// Arch is the native architecture.
func (u *Universe) Arch() string { return u.arch }

// archiveOrder sorts packages as archives do. Most lists are sorted already, and nothing is copied then.
func (u *Universe) archiveOrder(packages []debian.Package) []*debian.Package {
	order := make([]*debian.Package, len(packages))
	for i := range packages {
		order[i] = &packages[i]
	}
	compare := func(a, b *debian.Package) int {
		if a.Suite != b.Suite {
			return cmp.Compare(a.Suite, b.Suite)
		}
		if len(u.foreign) > 0 {
			if c := cmp.Compare(u.rank(a.Arch), u.rank(b.Arch)); c != 0 {
				return c
			}
		}
		if c := strings.Compare(a.Source, b.Source); c != 0 {
			return c
		}
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return cmp.Or(strings.Compare(a.Arch, b.Arch), b.Version.Compare(a.Version), strings.Compare(string(a.Version), string(b.Version)),
			strings.Compare(a.SHA256, b.SHA256))
	}
	if !slices.IsSortedFunc(order, compare) {
		slices.SortStableFunc(order, compare)
	}
	return order
}

// rank is the place of an architecture's lists: the native one's first.
func (u *Universe) rank(arch string) int {
	if arch == "all" {
		return -1
	}
	return slices.Index(u.foreign, arch)
}

// nodeArch is the architecture whose node a package belongs to, "" for one that cannot be installed.
func (u *Universe) nodeArch(arch string) string {
	if arch == "all" || arch == u.arch {
		return u.arch
	}
	if slices.Contains(u.foreign, arch) {
		return arch
	}
	return ""
}

// index makes groups, nodes and versions and gives the versions in the order of the packages.
func (u *Universe) index(packages []*debian.Package) []*version {
	groups, nodes, versions := make([]group, len(packages)), make([]node, len(packages)), make([]version, len(packages))
	links := make([]*version, len(packages)) // memory for the lists of one version, which most are
	beside := make([]*node, len(packages))
	all := make([]*version, 0, len(packages))
	u.nodes = make([]*node, 0, len(packages))
	others := map[string]string{}
	for i, p := range packages {
		arch := u.nodeArch(p.Arch)
		if arch == "" {
			others[p.Name] = p.Arch
			continue
		}
		g := u.groups[p.Name]
		if g == nil {
			g = &groups[i]
			g.name = p.Name
			g.nodes = beside[i : i : i+1]
			u.groups[p.Name] = g
		}
		n := g.of(arch)
		if n == nil {
			n = &nodes[i]
			*n = node{group: g, arch: arch, index: int32(len(u.nodes)), versions: links[i : i : i+1]}
			g.nodes = append(g.nodes, n)
			u.nodes = append(u.nodes, n)
		}
		n.essential, n.protected = n.essential || p.Essential, n.protected || p.Protected
		if v, added := n.add(&versions[i], p); added {
			all = append(all, v)
		}
	}
	u.elsewhere = others
	for name := range others {
		if u.groups[name] != nil {
			delete(others, name)
		}
	}
	return all
}

// of is the group's node of an architecture, or nil.
func (g *group) of(arch string) *node {
	if g == nil {
		return nil
	}
	for _, n := range g.nodes {
		if n.arch == arch {
			return n
		}
	}
	return nil
}

// add puts a version in its place, newest first; one that several lists have becomes one version.
func (n *node) add(v *version, p *debian.Package) (added *version, isNew bool) {
	at := len(n.versions)
	for i, old := range n.versions {
		c := 1
		if old.Version != p.Version {
			c = old.Version.Compare(p.Version)
		} else if old.SHA256 == p.SHA256 || p.SHA256 == "" || old.SHA256 == "" {
			old.suites = append(old.suites, p.Suite)
			return old, false
		}
		if c < 0 {
			at = i
			break
		}
	}
	v.Package, v.node = p, n
	v.suites = append(v.suites, p.Suite)
	n.versions = slices.Insert(n.versions, at, v)
	return v, true
}

func (u *Universe) indexProviders(all []*version) {
	for _, v := range all {
		if v.Provides == "" {
			continue
		}
		// What cannot be read is not provided; a package that needs it then says that nothing has it.
		provides, _ := debian.ParseProvides(v.Provides)
		for _, d := range provides {
			g := u.groups[d.Name]
			if g == nil {
				g = &group{name: d.Name}
				u.groups[d.Name] = g
			}
			if d.Name == v.Name && (d.Op == "" || d.Version == v.Version) && (d.Arch == "" || d.Arch == v.node.arch) {
				continue
			}
			g.providers = append(g.providers, provider{by: v, arch: d.Arch, version: d.Version})
		}
	}
}

// id is how a package is named in answers: by its name, with the architecture if it is a foreign one.
func (u *Universe) id(n *node) string {
	if n.arch == u.arch {
		return n.group.name
	}
	return n.group.name + ":" + n.arch
}

// suiteName is a suite's name for messages, "" when it is not known.
func (u *Universe) suiteName(suite int) string {
	if suite < 0 || suite >= len(u.suites) {
		return ""
	}
	return cmp.Or(u.suites[suite].Name, u.suites[suite].Codename, u.suites[suite].Archive)
}
