package certs

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// loadWithin bounds how long Prepare waits for a storage that is elsewhere.
const loadWithin = time.Second

// Prepare opens what the routes of a table need. Nothing changes before Use. Files that a route did not name in the set in use
// must load: the error is a fault.List of class Invalid, whose entries name route and file. The set can be used all the same,
// which is for a router that starts with the table on its disk: what did not load is tried again at handshakes, and fails those
// until it loads. So do files that the route has named before: they are a problem (see Problems), and no reason to refuse a
// table that changes something else.
func (m *Manager) Prepare(routes []router.Route) (*Set, error) {
	p := preparation{m: m, old: m.current.Load(), set: &Set{
		m: m, listens: map[string]*listen{}, pairs: map[pairFiles]*pair{}, clients: map[string]*clientCA{},
		authorities: map[authorityKey]*authority{}, names: map[nameKey]*name{}, hosts: map[string][]*authority{},
		roots: map[string]string{}, named: map[naming]bool{},
	}, shown: map[*pair][]string{}}
	for i := range routes {
		if routes[i].TLS != nil {
			p.route(&routes[i])
		}
	}
	p.load()
	for c, hosts := range p.shown {
		c.compare(hosts)
	}
	return p.set, p.problems.Err()
}

// preparation builds a set out of what the one in use has, and new parts.
type preparation struct {
	m        *Manager
	old      *Set
	set      *Set
	fresh    []*name            // which no set had before
	shown    map[*pair][]string // hosts of the routes that show a certificate
	problems fault.List
}

func (p *preparation) route(r *router.Route) {
	l := p.set.listens[r.Listen]
	if l == nil {
		l = &listen{exact: map[string]source{}, wild: map[string]source{}, hosts: map[*pair][]string{}}
		p.set.listens[r.Listen] = l
	}
	if r.TLS.ClientCA != "" {
		l.clients = p.clientCA(r)
	}
	if r.TLS.ACME != nil {
		p.acme(l, r)
		return
	}
	c := p.pair(r)
	if len(r.Hosts) == 0 {
		l.add("", c)
	}
	for _, h := range r.Hosts {
		l.add(normal(h), c)
	}
	l.hosts[c] = append(l.hosts[c], r.Hosts...)
	p.shown[c] = append(p.shown[c], r.Hosts...)
}

func (p *preparation) pair(r *router.Route) *pair {
	key := pairFiles{r.TLS.Cert, r.TLS.Key}
	c := p.set.pairs[key]
	if c == nil {
		c = p.old.pairs[key]
	}
	if c == nil {
		c = newPair(key, p.m)
	}
	p.set.pairs[key] = c
	if err := c.open(); p.refuse(naming{r.Name, "cert", key.cert, key.key}, err) {
		p.problems = append(p.problems, fault.New(fault.Invalid, "route %q: load certificate %s with key %s: %w", r.Name, key.cert, key.key, err).
			WithHint("check that both files are PEM, belong together and can be read by the router's user"))
	}
	return c
}

func (p *preparation) clientCA(r *router.Route) *clientCA {
	file := r.TLS.ClientCA
	c := p.set.clients[file]
	if c == nil {
		c = p.old.clients[file]
	}
	if c == nil {
		c = newClientCA(file, p.m)
	}
	p.set.clients[file] = c
	if err := c.open(); p.refuse(naming{r.Name, "clients", file, ""}, err) {
		p.problems = append(p.problems, fault.New(fault.Invalid, "route %q: load client authorities %s: %w", r.Name, file, err).
			WithHint("check that the file has certificates in PEM form and can be read by the router's user"))
	}
	return c
}

// acme adds a name for each host of the route.
func (p *preparation) acme(l *listen, r *router.Route) {
	a := p.authority(r)
	l.acme = true
	for _, h := range r.Hosts {
		n := p.name(nameKey{a.key, normal(h)}, a)
		l.add(n.key.host, n)
		if a.key.http {
			p.set.hosts[n.key.host] = append(p.set.hosts[n.key.host], a)
		}
	}
}

func (p *preparation) authority(r *router.Route) *authority {
	key := authorityKey{ACME: *r.TLS.ACME, roots: p.rootsOf(r), http: r.TLS.Redirect != ""}
	a := p.set.authorities[key]
	if a == nil {
		a = p.old.authorities[key]
	}
	if a == nil {
		a = newAuthority(key, p.m)
		if err := p.m.prepareACME(); err != nil {
			p.problems = append(p.problems, fault.New(fault.Failed, "route %q: prepare ACME: %w", r.Name, err))
		}
	}
	p.set.authorities[key] = a
	return a
}

// refuse notes what a route names, and says whether err is a reason to refuse the table: not when the route has named the same
// before.
func (p *preparation) refuse(n naming, err error) bool {
	p.set.named[n] = true
	return err != nil && !p.old.named[n]
}

// rootsOf reads what a route's ACME directory is checked with. If it does not load any more it is what it was before; if it never
// did, nothing is trusted.
func (p *preparation) rootsOf(r *router.Route) string {
	file := r.TLS.ACME.RootCA
	if file == "" {
		return ""
	}
	b, err := os.ReadFile(file)
	if err == nil {
		_, err = parsePool(b)
	}
	if p.refuse(naming{r.Name, "roots", file, ""}, err) {
		p.problems = append(p.problems, fault.New(fault.Invalid, "route %q: load root of the ACME directory %s: %w", r.Name, file, err).
			WithHint("check that the file has certificates in PEM form and can be read by the router's user"))
	}
	roots := string(b)
	if err != nil {
		l := p.set.listens[r.Listen]
		l.lost = append(l.lost, fmt.Sprintf("root of the ACME directory %s does not load: %v", file, err))
		roots = p.old.roots[file]
	}
	p.set.roots[file] = roots
	return roots
}

func (p *preparation) name(key nameKey, a *authority) *name {
	n := p.set.names[key]
	if n == nil {
		n = p.old.names[key]
	}
	if n == nil {
		n = &name{key: key, authority: a}
		p.fresh = append(p.fresh, n)
	}
	p.set.names[key] = n
	return n
}

// load shows certificates that are in storage at once. The library does so as well, but staples OCSP first, for which it may
// have to wait.
func (p *preparation) load() {
	if len(p.fresh) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), loadWithin)
	defer cancel()
	for _, n := range p.fresh {
		if ctx.Err() == nil {
			n.load(ctx)
		}
	}
}

// compare logs which of the hosts the certificate is not for, when that is news.
func (p *pair) compare(hosts []string) {
	wrong := strings.Join(p.uncovered(hosts), ", ")
	if old := p.mismatch.Swap(&wrong); wrong != "" && (old == nil || *old != wrong) {
		p.logger.Warn("certificate is not for a host of its route", "hosts", wrong)
	}
}
