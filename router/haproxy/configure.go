package haproxy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bootandshoot/release/router"
)

// mapMark stands for the map's file until that has a name.
const mapMark = "@MAP@"

// setting is what configurations of an edge are made with.
type setting struct {
	dual bool // the machine has IPv6: ":80" is both
	tls  tlsFiles
}

// configuration is the text that HAProxy reads, but for the name of the map.
type configuration struct {
	frontends []section
	rest      string
}

// section is a frontend: its name ends in a hash of its text, so whoever knows the names knows what a worker has.
type section struct{ name, text string }

// text is the whole file.
func (c configuration) text(mapFile string) string {
	var b strings.Builder
	b.WriteString("# Written by release, and written anew with every change: what is edited here is lost.\n")
	b.WriteString(c.rest)
	for _, f := range c.frontends {
		b.WriteString("\n" + f.text)
	}
	return strings.ReplaceAll(b.String(), mapMark, quote(mapFile))
}

// running says whether a worker has exactly these frontends.
func (c configuration) running(l *layout) bool {
	if len(c.frontends) != len(l.frontends) {
		return false
	}
	return !slices.ContainsFunc(c.frontends, func(s section) bool { return !l.frontends[s.name] })
}

// configure writes the configuration of a plan.
func (s setting) configure(p *plan) configuration {
	var c configuration
	var rest strings.Builder
	rest.WriteString(defaults + tables)
	for _, pr := range p.routes {
		rest.WriteString(s.backends(pr))
	}
	c.rest = rest.String()
	for _, address := range addresses(p) {
		c.frontends = append(c.frontends, s.frontend(address, p))
	}
	return c
}

// addresses are all listen addresses of a plan, those for redirects too, sorted.
func addresses(p *plan) []string {
	var list []string
	for _, pr := range p.routes {
		list = append(list, pr.route.Listen)
		if t := pr.route.TLS; t != nil && t.Redirect != "" {
			list = append(list, t.Redirect)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// defaults stand by themselves: what the user's own defaults say is not ours.
const defaults = `
defaults release:http
    mode http
    log global
    option httplog
    option dontlognull
    option http-keep-alive
    option http-no-delay
    option idle-close-on-response
    option redispatch 1
    retries 3
    retry-on conn-failure empty-response
    http-reuse safe
    balance random(2)
    timeout connect 1s
    timeout client 5m
    timeout http-request 30s
    timeout http-keep-alive 1m
    timeout server 5m
    timeout queue 5s
    timeout tunnel 24h

defaults release:tcp
    mode tcp
    log global
    option tcplog
    option dontlognull
    option clitcpka
    option srvtcpka
    option redispatch 1
    retries 3
    balance random(2)
    timeout connect 1s
    timeout client 24h
    timeout server 24h
    timeout queue 5s

# Connections of a worker that finishes after a reload, when they ask for what it does not have.
backend release:gone from release:http
    http-request reject
    http-request set-var(txn.version) str(v),map_str(` + mapMark + `)

backend release:gone-tcp from release:tcp
    tcp-request content reject
`

// tables count answers by server and latency, the long connections of each server, the connections of each TCP route, and the
// requests of each route that slots refused.
const tables = `
backend release:latency from release:http
    stick-table type string len 32 size 1m store gpc0

backend release:long from release:http
    stick-table type string len 32 size 100k store conn_cur

backend release:refused from release:http
    stick-table type string len 80 size 10k store gpc0

backend release:turns from release:tcp
    stick-table type string len 80 size 10k store gpc0
`

// backends are a route's slots, and the one that answers when no fleet can.
func (s setting) backends(p *placed) string {
	var b lines
	b.add("")
	b.add("# %s", legible(p.route.Name, 200))
	for k := range p.slots {
		p.backend(&b, 1<<k)
		b.add("")
	}
	b.add("backend %s from release:%s", noneName(p.id), protocolOf(p.route))
	if p.route.Protocol == router.TCP {
		b.add("    tcp-request content reject")
	} else {
		b.answer(503, "no node can take the request", " hdr Retry-After 1")
	}
	return b.String()
}

// backend is one slot: its servers, and a last one that leads to another fleet. When there is no other and all are down, it
// answers at once.
func (p *placed) backend(b *lines, slot int) {
	name, r := slotName(p.id, slot), p.route
	b.add("backend %s from release:%s", name, protocolOf(r))
	limits(b, r)
	for i := range p.capacity {
		b.add("    acl alive srv_is_up(s%d)", i+1)
	}
	if r.Protocol == router.TCP {
		b.add("    tcp-request content track-sc1 str(%s) table release:refused if !{ var(txn.spill) -m found } !alive", p.id)
		b.add("    tcp-request content sc-inc-gpc0(1) if !{ var(txn.spill) -m found } !alive")
		b.add("    tcp-request content reject if !{ var(txn.spill) -m found } !alive")
	} else {
		b.add("    http-request track-sc2 str(%s) table release:refused if !{ var(txn.spill) -m found } !alive", p.id)
		b.add("    http-request sc-inc-gpc0(2) if !{ var(txn.spill) -m found } !alive")
		b.answer(503, "no node can take the request", " hdr Retry-After 1 if !{ var(txn.spill) -m found } !alive")
	}
	nodes := map[string]string{}
	for _, f := range p.fleets {
		for _, a := range f.servers {
			if f.slot == slot {
				nodes[a.server] = a.node.Address
			}
		}
	}
	for i := range p.capacity {
		server := fmt.Sprintf("s%d", i+1)
		if address, ok := nodes[server]; ok {
			b.add("    server %s %s %s weight %d", server, address, serverOptions(r), weight)
		} else {
			b.add("    server %s 127.0.0.1:1 disabled %s weight %d", server, serverOptions(r), weight)
		}
	}
	b.add("    server %s 0.0.0.0:0 backup%s", spillServer, speaks(r))
}

func protocolOf(r *router.Route) string {
	if r.Protocol == router.TCP {
		return "tcp"
	}
	return "http"
}

// limits are a route's own, where it has some.
func limits(b *lines, r *router.Route) {
	bal := r.Balance
	if bal.Timeout > 0 {
		b.add("    timeout server %dms", max(1, bal.Timeout.Milliseconds()))
	}
	if bal.QueueWait > 0 {
		b.add("    timeout queue %dms", max(1, bal.QueueWait.Milliseconds()))
	}
	if r.Protocol == router.TCP {
		return
	}
	if bal.MaxInFlight > 0 {
		queue := bal.MaxQueue
		if queue == 0 {
			queue = 1024
		}
		b.answer(503, "too many requests wait", " hdr Retry-After 1 if { queue ge %d }", queue)
	}
	b.add("    http-request disable-l7-retry if !{ method GET HEAD OPTIONS TRACE PUT DELETE }")
}

// weight is that of every server: it is how many of its points are right when it was added at run time, see bring.
const weight = 16

// serverOptions are those of a node's server, of one in the configuration and of one that is added at run time. A node that
// does not accept a connection is out until it does: it is tried four times a second.
func serverOptions(r *router.Route) string {
	o := "check inter 2s fastinter 250ms downinter 250ms rise 1 fall 3 observe layer4 error-limit 1 on-error mark-down pool-purge-delay 5s" + speaks(r)
	if n := r.Balance.MaxInFlight; n > 0 {
		o += fmt.Sprintf(" maxconn %d", n)
	}
	if d := r.Balance.SlowStart; d > 0 {
		o += fmt.Sprintf(" slowstart %dms", max(1, d.Milliseconds()))
	}
	return o
}

// speaks is what the nodes do.
func speaks(r *router.Route) string {
	if r.Nodes == router.NodeH2C {
		return " proto h2"
	}
	return ""
}

// lines gathers a text.
type lines struct{ strings.Builder }

func (l *lines) add(format string, args ...any) {
	fmt.Fprintf(&l.Builder, format, args...)
	l.WriteByte('\n')
}

// answer adds what HAProxy answers by itself, and after it when.
func (l *lines) answer(status int, text, when string, args ...any) {
	l.add("    http-request return status %d content-type \"text/plain; charset=utf-8\" string \"%s\\n\"%s", status, text, fmt.Sprintf(when, args...))
}
