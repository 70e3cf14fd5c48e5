package consul

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/router"
)

// wanted is what Consul's catalog and config entries should say of one route. It follows from the table alone.
type wanted struct {
	service   string
	protocol  string // of Consul's service-defaults
	split     bool   // by a service-splitter: Consul splits HTTP only
	subsets   map[string]api.ServiceResolverSubset
	first     string     // the subset of most weight; "": no fleets
	shares    []hundreds // sums to 100.00; empty: no fleets
	instances []instance
}

// hundreds is a subset's share in hundredths of a per cent.
type hundreds struct {
	subset string
	share  int
}

// instance is one node as a service of the catalog.
type instance struct {
	id      string
	address netip.AddrPort
	meta    map[string]string
	tags    []string
	weight  int // of DNS SRV answers; 0: it is to get nothing
}

// Meta keys of what is ours in Consul.
const (
	metaInstallation = "release-installation"
	metaRelease      = "release"
	metaFleet        = "fleet"
	metaNode         = "node"
	metaLeft         = "release-left" // Unix time in seconds since when no table names the node
)

// whole is 100 % in hundredths of a per cent, the finest that a service-splitter knows.
const whole = 10000

func want(r router.Route, installation string) wanted {
	w := wanted{service: serviceName(r.Name), protocol: "http", split: true, subsets: map[string]api.ServiceResolverSubset{}}
	switch {
	case r.Protocol == router.TCP:
		w.protocol, w.split = "tcp", false
	case r.Nodes == router.NodeH2C:
		w.protocol = "http2"
	}
	w.shares = shares(r.Fleets)
	share := map[string]int{}
	for _, s := range w.shares {
		share[s.subset] = s.share
		if s.share > share[w.first] || w.first == "" {
			w.first = s.subset
		}
	}
	for _, f := range r.Fleets {
		subset := subsetName(f.ID)
		w.subsets[subset] = subsetOf(f.ID)
		for _, n := range f.Nodes {
			address, _ := netip.ParseAddrPort(n.Address) // the table is valid
			i := instance{
				id: n.Name, address: address, tags: []string{f.Release},
				meta: map[string]string{metaInstallation: installation, metaRelease: f.Release, metaFleet: f.ID, metaNode: n.Name},
			}
			if s := share[subset]; s > 0 {
				i.weight = max(1, s/len(f.Nodes))
			}
			w.instances = append(w.instances, i)
		}
	}
	return w
}

func subsetOf(fleet string) api.ServiceResolverSubset {
	return api.ServiceResolverSubset{Filter: "Service.Meta." + metaFleet + ` == "` + strings.ReplaceAll(fleet, `"`, "") + `"`}
}

// shares divides 100.00 among the fleets that have weight, by the method of largest remainders. Without any the one on standby
// has it all, else the first: a splitter has to say something.
func shares(fleets []router.Fleet) []hundreds {
	total := 0
	for _, f := range fleets {
		total += f.Weight
	}
	if total == 0 {
		if len(fleets) == 0 {
			return nil
		}
		i := max(0, slices.IndexFunc(fleets, func(f router.Fleet) bool { return f.Standby }))
		return []hundreds{{subsetName(fleets[i].ID), whole}}
	}
	type part struct {
		hundreds
		rest int
	}
	var parts []part
	left := whole
	for _, f := range fleets {
		if f.Weight > 0 {
			p := part{hundreds{subsetName(f.ID), f.Weight * whole / total}, f.Weight * whole % total}
			left -= p.share
			parts = append(parts, p)
		}
	}
	slices.SortStableFunc(parts, func(a, b part) int { return cmp.Compare(b.rest, a.rest) })
	var out []hundreds
	for i, p := range parts {
		if i < left {
			p.share++
		}
		if p.share > 0 {
			out = append(out, p.hundreds)
		}
	}
	slices.SortFunc(out, func(a, b hundreds) int { return strings.Compare(a.subset, b.subset) })
	return out
}

// subsetName is the release, with the incarnation when it is not the first: "r8", "r8-2". Fleet ids that are not ours to name are
// hashed.
func subsetName(fleet string) string {
	parts := strings.Split(fleet, "/")
	if len(parts) != 5 {
		return label(fleet)
	}
	if parts[4] == "1" {
		return label(parts[3])
	}
	return label(parts[3] + "-" + parts[4])
}

// serviceName is "release-APP-ENV-ROLE".
func serviceName(route string) string { return label("release-" + strings.ReplaceAll(route, "/", "-")) }

// maxLabel is the longest label of DNS names. [RFC 1035, 2.3.4]
const maxLabel = 63

// label makes a DNS label of a name: what is too long or has other characters ends in a hash of the whole.
func label(name string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, name)
	if clean == name && len(clean) <= maxLabel && !strings.HasSuffix(clean, "-") {
		return clean
	}
	sum := sha256.Sum256([]byte(name))
	return strings.TrimRight(clean[:min(len(clean), maxLabel-9)], "-") + "-" + hex.EncodeToString(sum[:4])
}
