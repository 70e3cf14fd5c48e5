package router

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

// Canonical is the table as every backend keeps and compares it: a deep copy with routes sorted by name, fleets by id,
// nodes by name, host names in lower case.
func (t Table) Canonical() Table {
	t.Routes = slices.Clone(t.Routes)
	slices.SortStableFunc(t.Routes, func(a, b Route) int { return strings.Compare(a.Name, b.Name) })
	for i := range t.Routes {
		r := &t.Routes[i]
		r.Hosts, r.Paths = slices.Clone(r.Hosts), slices.Clone(r.Paths)
		for j := range r.Hosts {
			r.Hosts[j] = strings.ToLower(r.Hosts[j])
		}
		if r.TLS != nil {
			tls := *r.TLS
			r.TLS = &tls
		}
		r.Preview.From = slices.Clone(r.Preview.From)
		r.Fleets = slices.Clone(r.Fleets)
		slices.SortStableFunc(r.Fleets, func(a, b Fleet) int { return strings.Compare(a.ID, b.ID) })
		for j := range r.Fleets {
			nodes := slices.Clone(r.Fleets[j].Nodes)
			slices.SortStableFunc(nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
			r.Fleets[j].Nodes = nodes
		}
	}
	return t
}

// Encode is the canonical bytes of the table: what "the same version with other bytes" compares.
func (t Table) Encode() ([]byte, error) {
	b, err := json.Marshal(t.Canonical())
	if err != nil {
		return nil, fmt.Errorf("encode table: %w", err)
	}
	return b, nil
}

// Decode reads and validates a table. Unknown fields are ignored: a later writer of the same schema may add some.
func Decode(b []byte) (Table, error) {
	var t Table
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&t); err != nil {
		return Table{}, fault.New(fault.Invalid, "read routing table: %w", err)
	}
	if dec.More() {
		return Table{}, fault.New(fault.Invalid, "read routing table: more than one value")
	}
	if err := t.Validate(); err != nil {
		return Table{}, err
	}
	return t.Canonical(), nil
}

// Supersedes says what becomes of t when the backend has old already: nil to apply it, same when nothing is to be
// done, or ErrStale.
func (t Table) Supersedes(old Table) (same bool, err error) {
	switch c := t.Version.Compare(old.Version); {
	case c > 0:
		return false, nil
	case c < 0:
		return false, fmt.Errorf("apply table %s over %s: %w", t.Version, old.Version, ErrStale)
	}
	a, err := t.Encode()
	if err != nil {
		return false, err
	}
	b, err := old.Encode()
	if err != nil {
		return false, err
	}
	if !bytes.Equal(a, b) {
		return false, fmt.Errorf("apply table %s: same version with other content: %w", t.Version, ErrStale)
	}
	return true, nil
}

// String is "epoch.seq".
func (v Version) String() string {
	return strconv.FormatUint(v.Epoch, 10) + "." + strconv.FormatUint(v.Seq, 10)
}

// Validate finds everything that makes the table meaningless for any backend. The error is a fault.List of class
// Invalid (Unsupported for another schema), each entry names its route.
func (t Table) Validate() error {
	if t.Schema != Schema {
		return fault.New(fault.Unsupported, "read routing table: schema %d, this program knows %d", t.Schema, Schema).
			WithHint("use the same version of release for agent and router: release router upgrade")
	}
	c := checker{names: map[string]bool{}, matches: map[string]string{}, tls: map[string]*Route{}}
	for i := range t.Routes {
		c.route(&t.Routes[i])
	}
	return c.problems.Err()
}

// checker gathers problems over all routes.
type checker struct {
	problems fault.List
	names    map[string]bool   // route names seen
	matches  map[string]string // listen, host, path → route
	tls      map[string]*Route // listen → first route there
}

func (c *checker) add(r *Route, format string, args ...any) {
	c.problems = append(c.problems, fault.New(fault.Invalid, "route %q: %w", r.Name, fmt.Errorf(format, args...)))
}

func (c *checker) route(r *Route) {
	if r.Name == "" || c.names[r.Name] {
		c.add(r, "its name is empty or used twice")
	}
	c.names[r.Name] = true
	if err := checkListen(r.Listen); err != nil {
		c.add(r, "listen %q: %w", r.Listen, err)
	}
	if first := c.tls[r.Listen]; first == nil {
		c.tls[r.Listen] = r
	} else if (first.TLS == nil) != (r.TLS == nil) {
		c.add(r, "listen %q is shared with route %q, and only one of them has tls", r.Listen, first.Name)
	}
	if t := r.TLS; t != nil && (!filepath.IsAbs(t.Cert) || !filepath.IsAbs(t.Key)) {
		c.add(r, "tls needs absolute paths of cert and key")
	}
	c.matching(r)
	c.preview(r)
	c.fleets(r)
}

func (c *checker) matching(r *Route) {
	for _, h := range r.Hosts {
		if !validHost(h) {
			c.add(r, "host %q is not a name or *.name", h)
		}
	}
	for _, p := range r.Paths {
		if !strings.HasPrefix(p, "/") {
			c.add(r, "path %q does not begin with /", p)
		}
	}
	hosts, paths := r.Hosts, r.Paths
	if len(hosts) == 0 {
		hosts = []string{""}
	}
	if len(paths) == 0 {
		paths = []string{"/"}
	}
	for _, h := range hosts {
		for _, p := range paths {
			key := r.Listen + "\x00" + strings.ToLower(h) + "\x00" + strings.TrimRight(p, "/")
			if other, taken := c.matches[key]; taken {
				c.add(r, "host %q path %q on %s is already that of route %q", h, p, r.Listen, other)
			}
			c.matches[key] = r.Name
		}
	}
}

func (c *checker) preview(r *Route) {
	for _, n := range r.Preview.From {
		if _, err := netip.ParsePrefix(n); err != nil {
			c.add(r, "preview network %q is not a CIDR", n)
		}
	}
	if k := r.Preview.KeySHA256; k != "" {
		if b, err := hex.DecodeString(k); err != nil || len(b) != 32 {
			c.add(r, "preview key is not the hex form of a SHA-256")
		}
	}
}

func (c *checker) fleets(r *Route) {
	ids := map[string]bool{}
	for _, f := range r.Fleets {
		if f.ID == "" || ids[f.ID] {
			c.add(r, "fleet id %q is empty or used twice", f.ID)
		}
		ids[f.ID] = true
		if f.Weight < 0 || f.Weight > 1<<30 {
			c.add(r, "fleet %q: weight %d is out of range", f.ID, f.Weight)
		}
		names := map[string]bool{}
		for _, n := range f.Nodes {
			if n.Name == "" || names[n.Name] {
				c.add(r, "fleet %q: node name %q is empty or used twice", f.ID, n.Name)
			}
			names[n.Name] = true
			if a, err := netip.ParseAddrPort(n.Address); err != nil || a.Port() == 0 {
				c.add(r, "fleet %q: node %q: address %q is not ip:port", f.ID, n.Name, n.Address)
			}
		}
	}
}

func checkListen(listen string) error {
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return err
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("port %q is not a number from 1 to 65535", port)
	}
	return nil
}

// validHost accepts a DNS name or an address, or "*." before a name.
func validHost(h string) bool {
	h = strings.TrimPrefix(h, "*.")
	if h == "" || strings.ContainsAny(h, "*/ \t@?#[]") {
		return false
	}
	if strings.Contains(h, ":") {
		_, err := netip.ParseAddr(h)
		return err == nil
	}
	return !strings.HasPrefix(h, ".")
}
