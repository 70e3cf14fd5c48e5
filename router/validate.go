package router

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"net/textproto"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

// Validate finds everything that makes the table meaningless for any backend. The error is a fault.List of class
// Invalid (Unsupported for another schema), each entry names its route.
func (t Table) Validate() error {
	if t.Schema != Schema {
		return fault.New(fault.Unsupported, "read routing table: schema %d, this program knows %d", t.Schema, Schema).
			WithHint("use the same version of release for agent and router: release router upgrade")
	}
	c := checker{names: map[string]bool{}, matches: map[string]string{}, listens: map[string]*Route{}}
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
	listens  map[string]*Route // listen → first route there
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
	if first := c.listens[r.Listen]; first == nil {
		c.listens[r.Listen] = r
	} else {
		c.shared(r, first)
	}
	if r.Protocol != HTTP && r.Protocol != TCP {
		c.add(r, "protocol %q is neither http nor tcp", r.Protocol)
	}
	if r.Nodes != NodeHTTP1 && r.Nodes != NodeH2C {
		c.add(r, "nodes' protocol %q is not known", r.Nodes)
	}
	if r.Protocol == TCP {
		c.tcp(r)
	}
	c.tls(r)
	c.matching(r)
	c.networks(r, "trusted", r.Trusted)
	if r.ProxyProtocol && len(r.Trusted) == 0 {
		c.add(r, "the PROXY protocol is taken from trusted networks only, and none is given")
	}
	c.preview(r)
	c.rules(r)
	c.sticky(r)
	c.balance(r)
	c.fleets(r)
}

// shared finds where two routes of one listen address cannot both have their way.
func (c *checker) shared(r, first *Route) {
	differ := func(what string) {
		c.add(r, "listen %q is shared with route %q, and they differ in %s", r.Listen, first.Name, what)
	}
	if (first.TLS == nil) != (r.TLS == nil) {
		c.add(r, "listen %q is shared with route %q, and only one of them has tls", r.Listen, first.Name)
	} else if r.TLS != nil && r.TLS.ClientCA != first.TLS.ClientCA {
		differ("client_ca")
	}
	if r.ProxyProtocol != first.ProxyProtocol || r.ProxyProtocol && !slices.Equal(r.Trusted, first.Trusted) {
		differ("the PROXY protocol or who is trusted to use it")
	}
	if r.Protocol != first.Protocol {
		differ("protocol")
	} else if r.Protocol == TCP {
		c.add(r, "listen %q is that of route %q already, and tcp connections have no host to tell them apart", r.Listen, first.Name)
	}
}

func (c *checker) tcp(r *Route) {
	if len(r.Hosts)+len(r.Paths)+len(r.Rules) > 0 || r.TLS != nil || r.Nodes != NodeHTTP1 {
		c.add(r, "a tcp route has no hosts, paths, rules, tls or protocol of nodes")
	}
	if r.Sticky != nil && r.Sticky.By != StickyAddress {
		c.add(r, "a tcp route can only be sticky by client-address")
	}
}

func (c *checker) tls(r *Route) {
	t := r.TLS
	if t == nil {
		return
	}
	files := t.Cert != "" || t.Key != ""
	switch {
	case files && t.ACME != nil:
		c.add(r, "tls has a certificate from files and by acme: choose one")
	case t.ACME == nil && (!filepath.IsAbs(t.Cert) || !filepath.IsAbs(t.Key)):
		c.add(r, "tls needs absolute paths of cert and key")
	case t.ACME != nil:
		c.acme(r)
	}
	if t.ClientCA != "" && !filepath.IsAbs(t.ClientCA) {
		c.add(r, "tls needs an absolute path of client_ca")
	}
	if t.HSTS < 0 {
		c.add(r, "hsts is less than nothing")
	}
	if t.Redirect != "" {
		if err := checkListen(t.Redirect); err != nil {
			c.add(r, "redirect %q: %w", t.Redirect, err)
		}
		if t.Redirect == r.Listen {
			c.add(r, "redirect and listen are the same address")
		}
	}
}

func (c *checker) acme(r *Route) {
	if len(r.Hosts) == 0 {
		c.add(r, "acme needs hosts: certificates are for names")
	}
	for _, h := range r.Hosts {
		if strings.HasPrefix(h, "*.") {
			c.add(r, "acme has no certificates for %q here: a wildcard needs a DNS challenge", h)
		}
	}
	if d := r.TLS.ACME.Directory; d != "" && !strings.HasPrefix(d, "https://") {
		c.add(r, "acme directory %q is not an https address", d)
	}
	if p := r.TLS.ACME.RootCA; p != "" && !filepath.IsAbs(p) {
		c.add(r, "acme needs an absolute path of root_ca")
	}
}

func (c *checker) networks(r *Route, what string, list []string) {
	for _, n := range list {
		if _, err := netip.ParsePrefix(n); err != nil {
			c.add(r, "%s network %q is not a CIDR", what, n)
		}
	}
}

func (c *checker) rules(r *Route) {
	for i, u := range r.Rules {
		if u.Fleet == "" || len(u.Headers)+len(u.Cookies)+len(u.Paths)+len(u.From) == 0 {
			c.add(r, "rule %d has no condition or no fleet", i+1)
		}
		for name := range u.Headers {
			if name == "" || name != textproto.CanonicalMIMEHeaderKey(name) {
				c.add(r, "rule %d: header %q is not a canonical name", i+1, name)
			}
		}
		for _, p := range u.Paths {
			if !strings.HasPrefix(p, "/") {
				c.add(r, "rule %d: path %q does not begin with /", i+1, p)
			}
		}
		c.networks(r, fmt.Sprintf("rule %d:", i+1), u.From)
	}
}

func (c *checker) sticky(r *Route) {
	s := r.Sticky
	if s == nil {
		return
	}
	switch s.By {
	case StickyCookie:
		if key, err := hex.DecodeString(s.Key); err != nil || len(key) != 32 || s.Cookie == "" || strings.ContainsAny(s.Cookie, " \t\r\n;,=\"") {
			c.add(r, "a sticky cookie needs a name and a key of 32 bytes in hex")
		}
	case StickyHeader:
		if s.Header == "" || s.Header != textproto.CanonicalMIMEHeaderKey(s.Header) {
			c.add(r, "sticky header %q is not a canonical name", s.Header)
		}
	case StickyAddress:
	default:
		c.add(r, "sticky by %q is not known", s.By)
	}
	if s.MaxAge < 0 {
		c.add(r, "the sticky cookie's age is less than nothing")
	}
}

func (c *checker) balance(r *Route) {
	b := r.Balance
	if b.HedgeAfter > 0 && r.Protocol == TCP {
		c.add(r, "connections of tcp are not hedged")
	}
	if min(b.SlowStart, b.QueueWait, b.Timeout, b.HedgeAfter) < 0 || min(b.EjectAfter, b.MaxInFlight, b.MaxQueue) < 0 {
		c.add(r, "a limit of its balance is less than nothing")
	}
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
	if r.TLS != nil && r.TLS.Redirect != "" {
		c.redirect(r, hosts, paths)
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

// redirect is what matching is for the address whose requests are sent on to HTTPS.
func (c *checker) redirect(r *Route, hosts, paths []string) {
	plain := Route{Name: r.Name, Listen: r.TLS.Redirect}
	if first := c.listens[plain.Listen]; first == nil {
		c.listens[plain.Listen] = &plain
	} else if first.TLS != nil || first.Protocol != HTTP {
		c.add(r, "redirect %q is an address where route %q serves no plain HTTP", plain.Listen, first.Name)
	}
	for _, h := range hosts {
		for _, p := range paths {
			key := plain.Listen + "\x00" + strings.ToLower(h) + "\x00" + strings.TrimRight(p, "/")
			if other, taken := c.matches[key]; taken {
				c.add(r, "host %q path %q on %s is already that of route %q", h, p, plain.Listen, other)
			}
			c.matches[key] = r.Name
		}
	}
}

func (c *checker) preview(r *Route) {
	c.networks(r, "preview", r.Preview.From)
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
