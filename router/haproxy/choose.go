package haproxy

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bootandshoot/release/router"
)

// preview obeys the header X-Release of those who may. Neither it nor the key gets to a node.
func preview(b *lines, own []*placed) {
	b.add("    http-request set-var(txn.asked) req.fhdr(x-release)")
	asked := "{ var(txn.asked) -m len gt 0 }"
	for i, g := range grouped(own, func(r *router.Route) string { return strings.Join(r.Preview.From, " ") }) {
		name := fmt.Sprintf("preview%d", i)
		acl(b, name, "var(txn.src) -m ip", g[0].route.Preview.From)
		b.add("    http-request set-var(txn.release) var(txn.asked) if %s %s %s", asked, of(b, name+"_routes", g), name)
	}
	for i, g := range grouped(own, func(r *router.Route) string { return r.Preview.KeySHA256 }) {
		routes := of(b, fmt.Sprintf("key%d_routes", i), g)
		b.add("    http-request set-var(txn.release) var(txn.asked) if %s %s { req.fhdr(x-release-key),sha2(256),hex,lower -m str %s }",
			asked, routes, strings.ToLower(g[0].route.Preview.KeySHA256))
	}
	b.add("    http-request del-header x-release")
	b.add("    http-request del-header x-release-key")
	wanted := "{ var(txn.release) -m found }"
	b.add("    http-request set-var(txn.slot) str(p|),concat(,txn.route,|),concat(,txn.release),map_str(%s) if %s", mapMark, wanted)
	b.answer(503, "no node of this release", " if %s !{ var(txn.slot) -m found }", wanted)
	b.add("    http-request set-var(txn.only) str(1) if %s", wanted)
}

// rules send requests to fleets whatever the weights are. One whose fleet is not there has no slot in the map, and the next
// one is looked at.
func rules(b *lines, own []*placed) {
	for k, pr := range own {
		if len(pr.conditions) == 0 {
			continue
		}
		route := of(b, fmt.Sprintf("rules%d_route", k), []*placed{pr})
		for i, text := range pr.conditions {
			var c condition
			_ = json.Unmarshal([]byte(text), &c) // we wrote it
			b.add("    http-request set-var(txn.slot) str(u|),concat(,txn.route,|%d),map_str(%s) if !{ var(txn.slot) -m found } %s%s",
				i, mapMark, route, c.holds(b, fmt.Sprintf("rule%d_%d", k, i)))
		}
	}
}

// holds is the condition of all that is set.
func (c condition) holds(b *lines, name string) string {
	var all []string
	for _, h := range slices.Sorted(maps.Keys(c.Headers)) {
		all = append(all, equals("req.fhdr("+h+")", c.Headers[h]))
	}
	for _, k := range slices.Sorted(maps.Keys(c.Cookies)) {
		all = append(all, equals("req.cook("+k+")", c.Cookies[k]))
	}
	text := ""
	for i, a := range all {
		// Each is a line of its own: a condition may be longer than what a line takes.
		b.add("    acl %s_%d %s", name, i, a)
		text += fmt.Sprintf(" %s_%d", name, i)
	}
	if len(c.Paths) > 0 {
		var paths []string
		for _, p := range c.Paths {
			paths = append(paths, quote(strings.TrimRight(p, "/")+"/"))
		}
		acl(b, name+"_path", "var(txn.path) -m beg --", paths)
		text += " " + name + "_path"
	}
	if len(c.From) > 0 {
		acl(b, name+"_from", "var(txn.src) -m ip", c.From)
		text += " " + name + "_from"
	}
	return text
}

func equals(sample, value string) string {
	if value == "" {
		return sample + " -m found"
	}
	return sample + " -m str -- " + quote(value)
}

// sticky keeps a client on its fleet.
func sticky(b *lines, own []*placed, secure bool) {
	for i, pr := range own {
		if pr.route.Sticky == nil {
			continue
		}
		route := of(b, fmt.Sprintf("sticky%d", i), []*placed{pr})
		free := route + " !{ var(txn.slot) -m found }"
		switch s := pr.route.Sticky; s.By {
		case router.StickyHeader:
			b.add("    http-request set-var(txn.client) req.fhdr(%s) if %s { req.fhdr(%s) -m len gt 0 }", s.Header, route, s.Header)
		case router.StickyAddress:
			b.add("    http-request set-var(txn.client) var(txn.src),ipmask(32,64) if %s", route)
		case router.StickyCookie:
			visitor(b, i, route, free, *s)
		}
		b.add("    http-request set-var(txn.group) var(txn.client),xxh32,and(%d) if %s { var(txn.client) -m found }", groups-1, free)
		b.add("    http-request set-var(txn.slot) str(b|),concat(,txn.route,|),concat(,txn.group),map_str(%s) if %s { var(txn.group) -m found }", mapMark, free)
		if pr.route.Sticky.By == router.StickyCookie {
			tell(b, i, route, *pr.route.Sticky, secure)
		}
	}
}

// visitor reads the sticky cookie, "CLIENT.FLEET.ISSUED.MAC": a random id for life, the tag of a fleet, Unix seconds, and
// HMAC-SHA-256 in hex over all before. A client without a good one gets a new identity.
func visitor(b *lines, i int, route, free string, s router.Sticky) {
	b.add("    http-request set-var(txn.told) req.cook(%s),field(1,.,3) if %s", s.Cookie, route)
	b.add("    http-request set-var(txn.mac) req.cook(%s),field(4,.) if %s", s.Cookie, route)
	b.add("    acl visitor%d var(txn.told),hmac(sha256,%s),hex,lower,secure_memcmp(txn.mac) -m bool", i, keyOf(s))
	b.add("    http-request set-var(txn.known) bool(true) if %s { var(txn.mac) -m found } visitor%d", route, i)
	known := "{ var(txn.known) -m bool }"
	b.add("    http-request set-var(txn.client) var(txn.told),field(1,.) if %s %s", route, known)
	b.add("    http-request set-var(txn.fleet) var(txn.told),field(2,.) if %s %s", route, known)
	b.add("    http-request set-var(txn.issued) var(txn.told),field(3,.) if %s %s", route, known)
	b.add("    http-request set-var(txn.client) uuid if %s !%s", route, known)
	b.add("    http-request set-var(txn.slot) str(k|),concat(,txn.route,|),concat(,txn.fleet),map_str(%s) if %s %s", mapMark, free, known)
}

// tell gives the client a cookie when it has none, when it names another fleet, and when half of its time is over.
func tell(b *lines, i int, route string, s router.Sticky, secure bool) {
	b.add("    http-request set-var(txn.tag) str(g|),concat(,txn.route,|),concat(,txn.slot),map_str(%s) if %s { var(txn.slot) -m found }", mapMark, route)
	b.add("    acl fresh%d var(txn.tag),strcmp(txn.fleet) eq 0", i)
	if s.MaxAge > 0 {
		b.add("    http-request set-var(txn.age) date,sub(txn.issued) if %s { var(txn.known) -m bool }", route)
		b.add("    acl aged%d var(txn.age) -m int ge %d", i, max(1, int64(s.MaxAge.Seconds()/2)))
	} else {
		b.add("    acl aged%d always_false", i)
	}
	due := fmt.Sprintf("%s { var(txn.tag) -m found }", route)
	b.add("    http-request set-var(txn.keeps) bool(true) if %s { var(txn.known) -m bool } fresh%d !aged%d", due, i, i)
	b.add("    http-request set-var-fmt(txn.tells) '%%[var(txn.client)].%%[var(txn.tag)].%%[date]' if %s !{ var(txn.keeps) -m bool }", due)
	b.add("    http-request set-var(txn.sign) var(txn.tells),hmac(sha256,%s),hex,lower if { var(txn.tells) -m found }", keyOf(s))
	attributes := "; Path=/; HttpOnly; SameSite=Lax"
	if secure {
		attributes += "; Secure"
	}
	if s.MaxAge > 0 {
		attributes += fmt.Sprintf("; Max-Age=%d", int64(s.MaxAge.Seconds()))
	}
	b.add("    http-response add-header Set-Cookie %s if { var(txn.tells) -m found } %s", quote(formatted(s.Cookie)+"=%[var(txn.tells)].%[var(txn.sign)]"+attributes), route)
}

// keyOf is a sticky key as HAProxy's hmac wants it.
func keyOf(s router.Sticky) string {
	key, _ := hex.DecodeString(s.Key) // the table was validated
	return base64.StdEncoding.EncodeToString(key)
}

// latency counts answers by server and bucket of router.LatencyBounds, from the request's arrival to the end of the answer's
// header, and long connections by server. Bucket i ends at 2^(i/2) ms, so of v µs it is the number of bits of (v²-1)/10⁶.
func latency(b *lines) {
	buckets := len(router.LatencyBounds())
	b.add("    http-response set-var(txn.took) date(0,us),sub(txn.t0)")
	b.add("    http-response set-var(txn.took) int(0) if { var(txn.took) -m int lt 0 }") // the clock was set back
	b.add("    http-response set-var(txn.took) int(%d) if { var(txn.took) -m int gt %d }", 1<<27, 1<<27)
	b.add("    http-response set-var(txn.left) var(txn.took),mul(txn.took),sub(1),div(1000000)")
	b.add("    http-response set-var(txn.left) int(0) if { var(txn.took) -m int le 1000 }")
	b.add("    http-response set-var(txn.bits) int(0)")
	for n := 32; n >= 1; n /= 2 {
		b.add("    http-response set-var(txn.bits) var(txn.bits),add(%d) if { var(txn.left) -m int ge %d }", n, uint64(1)<<n)
		b.add("    http-response set-var(txn.left) var(txn.left),div(%d) if { var(txn.left) -m int ge %d }", uint64(1)<<n, uint64(1)<<n)
	}
	b.add("    http-response set-var(txn.bits) var(txn.bits),add(txn.left)")
	b.add("    http-response set-var(txn.bits) int(%d) if { var(txn.bits) -m int gt %d }", buckets, buckets)
	b.add("    http-response set-var-fmt(txn.server) '%%[be_id].%%[srv_id]'")
	b.add("    http-response set-var-fmt(txn.cell) '%%[be_id].%%[srv_id].%%[var(txn.bits)]'")
	b.add("    http-response track-sc0 var(txn.cell) table release:latency")
	b.add("    http-response sc-inc-gpc0(0)")
	for _, long := range []string{"{ status 101 }", "{ res.hdr(content-type) -m beg text/event-stream }", "{ res.hdr(content-type) -m beg application/grpc }"} {
		b.add("    http-response track-sc1 var(txn.server) table release:long if %s", long)
	}
}
