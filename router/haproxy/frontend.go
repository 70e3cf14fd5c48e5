package haproxy

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/bootandshoot/release/router"
)

// labels is how many labels of a host name may stand for the "*" of a wildcard.
const labels = 10

// frontend is what listens on an address, for all routes there.
func (s setting) frontend(listen string, p *plan) section {
	var own []*placed
	for _, pr := range p.routes {
		if pr.route.Listen == listen {
			own = append(own, pr)
		}
	}
	if len(own) > 0 && own[0].route.Protocol == router.TCP {
		return s.tcp(own[0])
	}
	var b lines
	secure := len(own) > 0 && own[0].route.TLS != nil
	s.bind(&b, listen, own)
	b.add("    http-request set-var(txn.t0) date(0,us)")
	b.answer(405, "this is no forward proxy", " if METH_CONNECT")
	match(&b, listenID(listen))
	client(&b, own)
	preview(&b, own)
	forwarded(&b, listen, secure)
	rules(&b, own)
	sticky(&b, own, secure)
	most := 0
	for _, pr := range own {
		most = max(most, pr.slots)
	}
	b.add("    http-request set-var-fmt(txn.turn) %%rt")
	weights(&b, "http-request", most)
	spill(&b, "http-request")
	handOver(&b, "release:gone")
	hsts(&b, own)
	latency(&b)
	return named(listen, "http", b.String())
}

// named closes a frontend: its name tells its text.
func named(what, protocol, body string) section {
	name := prefix + legible(what, 60) + ":" + digest([]byte(body), 10)
	return section{name, "frontend " + name + " from release:" + protocol + "\n" + body}
}

// bind is where the frontend listens. Routes of one address agree on what a connection begins with.
func (s setting) bind(b *lines, listen string, own []*placed) {
	options := ""
	if len(own) > 0 && own[0].route.TLS != nil {
		options = " ssl crt-list " + quote(s.tls.list(own).path) + " alpn h2,http/1.1 ssl-min-ver TLSv1.2"
		if ca := own[0].route.TLS.ClientCA; ca != "" {
			options += " verify required ca-file " + quote(ca)
		}
	}
	b.add("    bind %s%s", s.address(listen), options)
	if len(own) > 0 && own[0].route.ProxyProtocol {
		acl(b, "proxies", "src", own[0].route.Trusted)
		b.add("    tcp-request connection expect-proxy layer4 if proxies")
	}
}

// address is a listen address as HAProxy has it: ":80" is all addresses, IPv6 too where there is such.
func (s setting) address(listen string) string {
	host, port, _ := net.SplitHostPort(listen) // the table was validated
	switch {
	case host == "" && s.dual:
		return "[::]:" + port + " v4v6"
	case host == "":
		return "0.0.0.0:" + port
	case host == "localhost":
		return "127.0.0.1:" + port
	}
	return net.JoinHostPort(host, port)
}

// acl is a list of patterns, any of which may hold. A line takes 64 words.
func acl(b *lines, name, sample string, patterns []string) {
	for part := range slices.Chunk(patterns, 32) {
		b.add("    acl %s %s %s", name, sample, strings.Join(part, " "))
	}
}

// match finds the route: the most specific host, then the longest path. Paths end in a slash, so that prefixes end where
// segments do.
func match(b *lines, id string) {
	b.add("    http-request set-var(txn.host) req.hdr(host),host_only,rtrim(.)")
	b.answer(400, "the host is no name", " if { var(txn.host) -m sub / }")
	b.add("    http-request set-var(txn.path) str(/)")
	b.add("    http-request set-var(txn.path) path,url_dec,concat(/)")
	lookup(b, "", "str(h|%s|),concat(,txn.host),concat(,txn.path)", id)
	b.add("    http-request set-var(txn.wild) str(w|%s),map_str(%s) if !{ var(txn.route) -m found }", id, mapMark)
	b.add("    http-request set-var(txn.rest) var(txn.host) if { var(txn.wild) -m found }")
	for range labels {
		b.add("    http-request unset-var(txn.wild) if { var(txn.wild) -m found } !{ var(txn.rest) -m sub . }")
		b.add("    http-request set-var(txn.rest) var(txn.rest),field(2,.,0) if { var(txn.wild) -m found }")
		lookup(b, " { var(txn.wild) -m found }", "str(h|%s|*.),concat(,txn.rest),concat(,txn.path)", id)
	}
	lookup(b, "", "str(h|%s|*),concat(,txn.path)", id)
	b.answer(404, "no route for this host and path", " if !{ var(txn.route) -m found }")
	b.add("    http-request reject if { var(txn.route) -m str %s }", stale)
	b.add("    http-request set-var(txn.port) var(txn.route),field(2,>) if { var(txn.route) -m beg > }")
	b.add("    http-request redirect code 308 location %s if { var(txn.port) -m str 443 }", quote("https://%[var(txn.host)]%[pathq]"))
	b.add("    http-request redirect code 308 location %s if { var(txn.port) -m found }", quote("https://%[var(txn.host)]:%[var(txn.port)]%[pathq]"))
}

// lookup looks for a route that is not found yet.
func lookup(b *lines, more, key string, args ...any) {
	b.add("    http-request set-var(txn.key) "+key+" if !{ var(txn.route) -m found }"+more, args...)
	b.add("    http-request set-var(txn.route) var(txn.key),map_beg(%s) if !{ var(txn.route) -m found }%s", mapMark, more)
}

// hops is how many trusted proxies in a row are looked behind.
const hops = 8

// client finds the address that a request is for. A trusted proxy in front names it in X-Forwarded-For, whose entries are
// read from the right until one is not a trusted proxy's.
func client(b *lines, own []*placed) {
	b.add("    http-request set-var(txn.src) src")
	for i, g := range grouped(own, func(r *router.Route) string { return strings.Join(r.Trusted, " ") }) {
		name := "trusted" + strconv.Itoa(i)
		acl(b, name, "src", g[0].route.Trusted)
		acl(b, name+"_hop", "var(txn.src) -m ip", g[0].route.Trusted)
		routes := of(b, name+"_routes", g)
		b.add("    http-request set-var(txn.proxied) bool(true) if %s %s", routes, name)
		b.add("    http-request set-var(txn.chain) bool(true) if %s %s", routes, name)
		for hop := range hops {
			b.add("    http-request unset-var(txn.hop)")
			b.add("    http-request set-var(txn.hop) req.hdr_ip(x-forwarded-for,-%d) if { var(txn.chain) -m bool } %s", hop+1, routes)
			b.add("    http-request set-var(txn.src) var(txn.hop) if { var(txn.hop) -m found } %s", routes)
			b.add("    http-request unset-var(txn.chain) if !{ var(txn.hop) -m found } %s", routes)
			b.add("    http-request unset-var(txn.chain) if !%s_hop %s", name, routes)
		}
	}
}

// grouped are the routes with equal values other than "".
func grouped(own []*placed, value func(*router.Route) string) [][]*placed {
	var groups [][]*placed
	at := map[string]int{}
	for _, pr := range own {
		v := value(pr.route)
		if v == "" {
			continue
		}
		if _, ok := at[v]; !ok {
			at[v], groups = len(groups), append(groups, nil)
		}
		groups[at[v]] = append(groups[at[v]], pr)
	}
	return groups
}

// of is the condition that a request is one of these routes'.
func of(b *lines, name string, routes []*placed) string {
	var ids []string
	for _, pr := range routes {
		ids = append(ids, pr.id)
	}
	acl(b, name, "var(txn.route) -m str", ids)
	return name
}

// forwarded is what nodes see of where a request came from. It is ours alone to say, unless a trusted proxy says it: then we
// add to it.
func forwarded(b *lines, listen string, secure bool) {
	scheme := "http"
	if secure {
		scheme = "https"
	}
	_, port, _ := net.SplitHostPort(listen)
	told := "{ var(txn.proxied) -m bool }"
	b.add("    http-request del-header x-forwarded- -m beg if !%s", told)
	b.add("    http-request del-header forwarded if !%s", told)
	b.add("    http-request del-header x-real-ip if !%s", told)
	b.add("    http-request set-header X-Forwarded-Host %%[req.hdr(host)] if !{ req.hdr(x-forwarded-host) -m found }")
	b.add("    http-request set-header X-Forwarded-Port %s if !{ req.hdr(x-forwarded-proto) -m found }", port)
	b.add("    http-request set-header X-Forwarded-Proto %s if !{ req.hdr(x-forwarded-proto) -m found }", scheme)
	b.add("    http-request set-var-fmt(txn.for) '%%[req.fhdr(x-forwarded-for)], %%[src]' if { req.fhdr_cnt(x-forwarded-for) eq 1 }")
	b.add("    http-request set-header X-Forwarded-For %%[var(txn.for)] if { var(txn.for) -m found }")
	b.add("    http-request add-header X-Forwarded-For %%[src] if !{ var(txn.for) -m found }")
	b.add("    http-request add-header Forwarded 'for=%%[src];proto=%s' if { req.hdr(forwarded) -m found } { src 0.0.0.0/0 }", scheme)
	b.add("    http-request add-header Forwarded 'for=\"[%%[src]]\";proto=%s' if { req.hdr(forwarded) -m found } { src ::/0 }", scheme)
}

// weights splits the requests that nothing else has sent anywhere.
func weights(b *lines, do string, most int) {
	b.add("    %s set-var(txn.at) var(txn.turn),and(%d),mul(%d),and(%d)", do, shares-1, golden, shares-1)
	b.add("    %s set-var(txn.split) str(s|),concat(,txn.route),map_str(%s) if !{ var(txn.slot) -m found }", do, mapMark)
	for i := range most {
		b.add("    %s set-var(txn.bound) var(txn.split),field(%d,:) if !{ var(txn.slot) -m found }", do, 2*i+1)
		b.add("    %s set-var(txn.slot) var(txn.split),field(%d,:) if !{ var(txn.slot) -m found } { var(txn.at),sub(txn.bound) lt 0 }", do, 2*i+2)
	}
}

// handOver leads the request to its slot. A worker that does not have the backend closes the connection.
func handOver(b *lines, gone string) {
	b.add("    use_backend %s%%[var(txn.route)]:%s if !{ var(txn.slot) -m found }", prefix, noneSlot)
	b.add("    use_backend %s%%[var(txn.route)]:%%[var(txn.slot)]", prefix)
	b.add("    default_backend %s", gone)
}

// tcp is the frontend of a route whose connections are split.
func (s setting) tcp(p *placed) section {
	var b lines
	s.bind(&b, p.route.Listen, []*placed{p})
	b.add("    tcp-request content set-var(txn.route) str(%s)", p.id)
	if p.route.Sticky != nil {
		b.add("    tcp-request content set-var(txn.group) src,ipmask(32,64),xxh32,and(%d)", groups-1)
		b.add("    tcp-request content set-var(txn.slot) str(b|),concat(,txn.route,|),concat(,txn.group),map_str(%s)", mapMark)
	}
	b.add("    tcp-request content track-sc2 str(%s) table release:turns", p.id) // %rt is for HTTP only
	b.add("    tcp-request content set-var(txn.turn) sc2_inc_gpc0")
	weights(&b, "tcp-request content", p.slots)
	spill(&b, "tcp-request content")
	handOver(&b, "release:gone-tcp")
	return named(p.route.Listen, "tcp", b.String())
}

// spill says where the request goes on if no node of its slot can be reached: to a node of another fleet, which the last
// server of every slot connects to. A preview goes nowhere else.
func spill(b *lines, do string) {
	b.add("    %s set-var(txn.index) var(txn.turn),and(%d)", do, others-1)
	b.add("    %s set-var(txn.spill) str(x|),concat(,txn.route,|),concat(,txn.slot,|),concat(,txn.index),map_str(%s) if !{ var(txn.only) -m found }", do, mapMark)
	known := "{ var(txn.spill) -m found }"
	b.add("    %s set-dst var(txn.spill),field(1,|) if %s", do, known)
	b.add("    %s set-dst-port var(txn.spill),field(2,|) if %s", do, known)
	b.add("    %s set-dst str(127.0.0.1) if !%s", do, known)
	b.add("    %s set-dst-port int(1) if !%s", do, known)
}

// hsts tells browsers to come by HTTPS only.
func hsts(b *lines, own []*placed) {
	for i, g := range grouped(own, func(r *router.Route) string {
		if r.TLS == nil || r.TLS.HSTS <= 0 {
			return ""
		}
		return strconv.FormatInt(int64(r.TLS.HSTS.Seconds()), 10)
	}) {
		routes := of(b, fmt.Sprintf("hsts%d", i), g)
		b.add("    http-after-response set-header Strict-Transport-Security max-age=%d if %s", int64(g[0].route.TLS.HSTS.Seconds()), routes)
	}
}
