package config

import (
	"net/textproto"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/internal/strictyaml"
)

// protocol finds what a tcp route cannot have. A protocol of nodes it has none: their bytes are passed on.
func (c *checker) protocol(r *Route) {
	if r.Protocol != ProtocolTCP {
		return
	}
	for _, key := range []string{"node_http", "hosts", "paths", "tls", "rules"} {
		if c.has("route", key) {
			c.fail(c.root.LocateKey("route", key), "route.%s: a tcp route has none; its connections carry no host, path or header that could be read", key)
		}
	}
	r.NodeHTTP = ""
	if c.has("route", "balance", "hedge_after") {
		c.fail(c.at("route", "balance", "hedge_after"), "route.balance.hedge_after: a tcp route has none; who knows whether its bytes may be sent twice")
	}
	if r.Sticky != nil && !r.Sticky.ClientAddress {
		c.fail(c.at("route", "sticky"), "route.sticky: a tcp route can only be sticky by client-address")
	}
}

// listens says that a route has no address.
func (c *checker) listens(r *Route) {
	if n := c.root.Get("route"); n.Get("listen") == nil && n.Kind == strictyaml.Map {
		c.fail(n.Pos, "route.listen is missing")
	}
}

func (c *checker) tls(r *Route) {
	t := r.TLS
	if t == nil {
		return
	}
	for _, f := range []struct{ key, value string }{{"cert", t.Cert}, {"key", t.Key}, {"client_ca", t.ClientCA}} {
		if f.value == "" && c.decodes(new(string), "route", "tls", f.key) {
			c.fail(c.at("route", "tls", f.key), "route.tls.%s must be the path of a file", f.key)
		}
	}
	switch cert, key := c.has("route", "tls", "cert"), c.has("route", "tls", "key"); {
	case t.ACME != nil && (cert || key):
		c.fail(c.root.LocateKey("route", "tls", "acme"), "route.tls.acme: there is a certificate from a file already; choose one")
	case t.ACME != nil:
		c.acme(r)
	case !cert && !key:
		c.fail(c.at("route", "tls"), "route.tls needs cert and key, or acme")
	case !cert:
		c.fail(c.at("route", "tls"), "route.tls.cert is missing")
	case !key:
		c.fail(c.at("route", "tls"), "route.tls.key is missing")
	}
	c.redirect(r)
}

func (c *checker) redirect(r *Route) {
	t := r.TLS
	switch {
	case !c.decodes(new(string), "route", "tls", "redirect"):
	case !validListen(t.Redirect):
		c.fail(c.at("route", "tls", "redirect"), "route.tls.redirect %q must be host:port or :port, with an IP address or localhost as host", t.Redirect)
	case t.Redirect == r.Listen:
		c.fail(c.at("route", "tls", "redirect"), "route.tls.redirect is route.listen: one address serves HTTP or HTTPS")
	}
}

// acme gets certificates for names that it can prove over the route itself.
func (c *checker) acme(r *Route) {
	if len(r.Hosts) == 0 && !c.has("route", "hosts") {
		c.fail(c.root.LocateKey("route", "tls", "acme"), "route.tls.acme needs route.hosts: a certificate is for names")
	}
	for i, host := range r.Hosts {
		if strings.HasPrefix(host, "*.") {
			c.fail(c.at("route", "hosts", i), "route.hosts[%d] %q: acme has no certificate for it, since all of its names would have to be proven by DNS", i, host).
				WithHint("name the hosts, or give tls a cert and a key")
		}
	}
	if e := r.TLS.ACME.Email; c.decodes(new(string), "route", "tls", "acme", "email") && !emailPattern.MatchString(e) {
		c.fail(c.at("route", "tls", "acme", "email"), "route.tls.acme.email %q must be an address such as ops@shop.example", e)
	}
	if d := r.TLS.ACME.Directory; c.decodes(new(string), "route", "tls", "acme", "directory") && !directoryPattern.MatchString(d) {
		c.fail(c.at("route", "tls", "acme", "directory"), "route.tls.acme.directory %q must be an address that begins with https://", d)
	}
}

var (
	emailPattern     = regexp.MustCompile(`^[^@\s]+@[^@\s]+$`)
	directoryPattern = regexp.MustCompile(`^https://[^/\s]+(/\S*)?$`)
)

func (c *checker) proxies(r *Route) {
	c.networks(r.Trusted, "route.trusted", "route", "trusted")
	if r.ProxyProtocol && !c.has("route", "trusted") {
		c.fail(c.at("route", "proxy_protocol"), "route.proxy_protocol needs route.trusted: the header is taken from proxies that are named, and from nobody else")
	}
}

// rule checks one rule and puts header names and networks into their canonical form.
func (c *checker) rule(i int, r *Rule) {
	name := indexed("route.rules", i)
	if !c.decodes(new(string), "route", "rules", i, "to") {
		return // a rule whose target did not decode, or is missing, is reported already
	}
	if !targetPattern.MatchString(r.To) {
		c.fail(c.at("route", "rules", i, "to"), "%s.to %q must be candidate, serving, previous or a release such as r8", name, r.To)
	}
	if n := c.root.Get("route").At("rules", i); n != nil && !hasAny(n, "header", "cookie", "path", "from") {
		c.fail(n.Pos, "%s needs header, cookie, path or from: without a condition it would take every request", name)
	}
	r.Header = c.headers(name, i, r.Header)
	for _, cookie := range sortedKeys(r.Cookie) {
		if !tokenPattern.MatchString(cookie) {
			c.fail(c.root.LocateKey("route", "rules", i, "cookie", cookie), "%q in %s.cookie is not the name of a cookie", cookie, name)
		}
	}
	c.prefixes(r.Path, name+".path", "route", "rules", i, "path")
	c.networks(r.From, name+".from", "route", "rules", i, "from")
}

var targetPattern = regexp.MustCompile(`^(candidate|serving|previous|r[1-9][0-9]{0,8})$`)

// hasAny says whether one of the keys has a value that is not an empty list or mapping.
func hasAny(n *strictyaml.Node, keys ...string) bool {
	return slices.ContainsFunc(keys, func(key string) bool {
		v := n.Get(key)
		return v != nil && (v.Kind != strictyaml.Map && v.Kind != strictyaml.List || len(v.Entries)+len(v.Items) > 0)
	})
}

// headers gives a rule's headers by their canonical names.
func (c *checker) headers(name string, i int, headers map[string]string) map[string]string {
	if headers == nil {
		return nil
	}
	canonical := map[string]string{}
	for _, key := range sortedKeys(headers) {
		pos, as := c.root.LocateKey("route", "rules", i, "header", key), textproto.CanonicalMIMEHeaderKey(key)
		_, twice := canonical[as]
		switch {
		case !tokenPattern.MatchString(key):
			c.fail(pos, "%q in %s.header is not the name of a header", key, name)
		case as == "Host":
			c.fail(pos, "%s.header: Host is what route.hosts are for", name)
		case twice:
			c.fail(pos, "%q in %s.header is given twice: header names ignore case", key, name)
		}
		canonical[as] = headers[key]
	}
	return canonical
}

func (c *checker) balance(b *Balance) {
	for _, d := range []struct {
		key   string
		value Duration
	}{{"queue_wait", b.QueueWait}, {"timeout", b.Timeout}, {"hedge_after", b.HedgeAfter}} {
		if d.value < Duration(time.Millisecond) && c.decodes(new(Duration), "route", "balance", d.key) {
			c.fail(c.at("route", "balance", d.key), "route.balance.%s must be at least 1ms, not %s", d.key, d.value)
		}
	}
	if b.Timeout > 0 && b.HedgeAfter >= b.Timeout {
		c.fail(c.at("route", "balance", "hedge_after"), "route.balance.hedge_after must be below route.balance.timeout, after which nobody waits for an answer")
	}
}

// drain finds sessions that nothing would hold: only the signed cookie tells which fleet a client has been on.
func (c *checker) drain(a *App) {
	if a.Cutover.Drain.Sessions > 0 && !a.hasCookie() && c.stickyDecodes() {
		c.fail(c.at("cutover", "drain", "sessions"), "cutover.drain.sessions needs route.sticky: cookie, which tells who was on the old release")
	}
}

// hasCookie says whether a route of the app gives its clients a sticky cookie.
func (a *App) hasCookie() bool {
	for _, name := range a.RoleNames() {
		if r := a.Role(name).Route; r != nil && r.Sticky != nil && r.Sticky.Cookie != "" {
			return true
		}
	}
	return false
}

// routesOf are all routes of a file, nil where there is none.
func routesOf(root *strictyaml.Node) []*strictyaml.Node {
	routes := []*strictyaml.Node{root.Get("route")}
	if roles := root.Get("roles"); roles != nil {
		for _, e := range roles.Entries {
			routes = append(routes, e.Value.Get("route"))
		}
	}
	return routes
}

// stickyDecodes is false for a sticky that is reported already.
func (c *checker) stickyDecodes() bool {
	return !slices.ContainsFunc(routesOf(c.root), func(r *strictyaml.Node) bool {
		n := r.Get("sticky")
		return n != nil && len(strictyaml.DecodeAt(n, new(Sticky), "")) > 0
	})
}
