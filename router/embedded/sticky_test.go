package embedded

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/embedded/http1"
	"github.com/bootandshoot/release/router/routertest"
)

var stickyCookie = &router.Sticky{By: router.StickyCookie, Cookie: "shop", Key: strings.Repeat("5a", 32), MaxAge: time.Hour}

// A share that grows takes clients from those that shrink, and moves nobody else; each fleet gets its share of the clients.
func TestPreferMovesOnlyWhoMust(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var before, after []*target
		n := rapid.IntRange(2, 4).Draw(t, "fleets")
		grows := rapid.IntRange(0, n-1).Draw(t, "grows")
		for i := range n {
			seed, weight := rapid.Uint64().Draw(t, "seed"), float64(rapid.IntRange(1, 100).Draw(t, "weight"))
			before = append(before, &target{seed: seed, weight: weight})
			if i == grows {
				weight += float64(rapid.IntRange(1, 100).Draw(t, "more"))
			}
			after = append(after, &target{seed: seed, weight: weight})
		}
		for range 50 {
			id := rapid.Uint64().Draw(t, "client")
			if was, is := prefer(before, id), prefer(after, id); was != is && is != grows {
				t.Fatalf("client %x moved from %d to %d when %d grew", id, was, is, grows)
			}
		}
	})
	fleets := []*target{{seed: hashBytes([]byte("a")), weight: 90}, {seed: hashBytes([]byte("b")), weight: 10}}
	var second int
	for id := range uint64(100000) {
		second += prefer(fleets, mix(id))
	}
	if math.Abs(float64(second)-10000) > 400 { // four standard deviations
		t.Errorf("%d of 100,000 clients at a share of 10 %%", second)
	}
}

// stickyTable splits between r1 and r2.
func stickyTable(seq uint64, listen string, s *router.Sticky, old, fresh router.Fleet, weight int) router.Table {
	old.Weight, fresh.Weight = 100-weight, weight
	r := routertest.RouteTo(listen, old, fresh)
	r.Sticky = s
	return routertest.TableOf(seq, r)
}

// Clients with a cookie go over one after the other as the new fleet's share grows, and none comes back.
func TestStickyCookie(t *testing.T) {
	e := startEngine(t, nil)
	old, fresh := routertest.FleetOf(1, 0, routertest.StartNode(t, "a", nil)), routertest.FleetOf(2, 0, routertest.StartNode(t, "b", nil))
	listen := routertest.FreeListen(t)
	cookies := make([]string, 60)
	moved := map[int]bool{}
	for step, weight := range []int{10, 50, 90} {
		e.mustApply(t, stickyTable(uint64(step+1), listen, stickyCookie, old, fresh, weight))
		for client := range cookies {
			for range 2 {
				res, body := fetch(t, "GET", "http://"+listen+"/", "", func(r *http.Request) {
					if cookies[client] != "" {
						r.Header.Set("Cookie", "x=1; "+cookies[client])
					}
				})
				if c := res.Cookies(); len(c) == 1 {
					cookies[client] = c[0].Name + "=" + c[0].Value
					if !c[0].HttpOnly || c[0].Path != "/" || c[0].MaxAge != 3600 || c[0].Secure {
						t.Fatalf("cookie %v", res.Header["Set-Cookie"])
					}
				}
				if body == "a" && moved[client] {
					t.Fatalf("client %d came back at %d %%", client, weight)
				}
				moved[client] = moved[client] || body == "b"
			}
		}
	}
	if n := len(moved); n < 40 {
		t.Errorf("%d of 60 clients are on the new fleet at 90 %%", n)
	}
}

// A session stays with its fleet as long as the table says so, also at weight 0; new clients do not go there.
func TestSessionsStay(t *testing.T) {
	e := startEngine(t, nil)
	old, fresh := routertest.FleetOf(1, 0, routertest.StartNode(t, "a", nil)), routertest.FleetOf(2, 0, routertest.StartNode(t, "b", nil))
	listen := routertest.FreeListen(t)
	e.mustApply(t, stickyTable(1, listen, stickyCookie, old, fresh, 0))
	res, _ := fetch(t, "GET", "http://"+listen+"/", "", nil)
	mine := func(r *http.Request) { r.AddCookie(res.Cookies()[0]) }
	old.Sessions = true
	e.mustApply(t, stickyTable(2, listen, stickyCookie, old, fresh, 100))
	for range 20 {
		if _, body := fetch(t, "GET", "http://"+listen+"/", "", mine); body != "a" {
			t.Fatalf("the session went to %q", body)
		}
		if _, body := fetch(t, "GET", "http://"+listen+"/", "", nil); body != "b" {
			t.Fatalf("a new client went to %q", body)
		}
	}
	old.Sessions = false
	e.mustApply(t, stickyTable(3, listen, stickyCookie, old, fresh, 100))
	if _, body := fetch(t, "GET", "http://"+listen+"/", "", mine); body != "b" {
		t.Errorf("after the deadline the session went to %q", body)
	}
}

func TestStickyCookieThatIsNotOurs(t *testing.T) {
	s := newSticky(stickyCookie)
	good := s.setCookie(visitor{known: true, id: 7}, 9, time.Unix(1000, 0), true)
	value, _, _ := strings.Cut(strings.TrimPrefix(good, "shop="), ";")
	if v, ok := s.open([]byte(value)); !ok || v.id != 7 || v.fleet != 9 || v.issued != 1000 {
		t.Fatalf("%q reads as %+v, %v", good, v, ok)
	}
	other := newSticky(&router.Sticky{By: router.StickyCookie, Cookie: "shop", Key: strings.Repeat("5b", 32)})
	if _, ok := other.open([]byte(value)); ok {
		t.Error("another key's cookie is taken")
	}
	for i := range value {
		b := []byte(value)
		b[i] ^= 1
		if _, ok := s.open(b); ok && i < len(value)-1 { // the last letter has unused bits
			t.Errorf("changed at %d it is taken", i)
		}
	}
	for _, bad := range []string{"", "x", value + "x", strings.Repeat("%", len(value))} {
		if _, ok := s.open([]byte(bad)); ok {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestStickyByHeaderAndAddress(t *testing.T) {
	head := func(text string) *http1.Head {
		var h http1.Head
		if _, err := http1.ParseRequest([]byte("GET / HTTP/1.1\r\nHost: x\r\n"+text+"\r\n"), &h); err != nil {
			t.Fatal(err)
		}
		return &h
	}
	user := newSticky(&router.Sticky{By: router.StickyHeader, Header: "X-User"})
	a, b := user.visitor(head("x-user: ann\r\n"), netip.Addr{}), user.visitor(head("X-User: ann\r\n"), netip.Addr{})
	if a != b || !a.known || a == user.visitor(head("X-User: bob\r\n"), netip.Addr{}) || user.visitor(head(""), netip.Addr{}).known {
		t.Errorf("by header: %+v, %+v", a, b)
	}
	address := newSticky(&router.Sticky{By: router.StickyAddress})
	of := func(text string) visitor { return address.visitor(head(""), netip.MustParseAddr(text)) }
	if of("10.0.0.1") == of("10.0.0.2") || of("2001:db8::1") != of("2001:db8::2") || of("2001:db8::1") == of("2001:db8:0:1::1") {
		t.Error("by address: IPv4 by the whole address, IPv6 by its /64")
	}
}

func TestRules(t *testing.T) {
	e := startEngine(t, nil)
	old, fresh := routertest.FleetOf(1, 100, routertest.StartNode(t, "a", nil)), routertest.FleetOf(2, 0, routertest.StartNode(t, "b", nil))
	listen := routertest.FreeListen(t)
	r := routertest.RouteTo(listen, old, fresh)
	r.Trusted = []string{"127.0.0.0/8"}
	r.Rules = []router.Rule{
		{Headers: map[string]string{"X-Team": "beta"}, Fleet: "absent"},
		{Headers: map[string]string{"X-Team": "beta", "X-Any": ""}, Fleet: fresh.ID},
		{Cookies: map[string]string{"beta": "1"}, Paths: []string{"/shop/"}, Fleet: fresh.ID},
		{From: []string{"10.1.0.0/16"}, Fleet: fresh.ID},
	}
	e.mustApply(t, routertest.TableOf(1, r))
	for _, tt := range []struct{ path, header, want string }{
		{"/", "", "a"}, {"/", "X-Team: beta", "a"}, {"/", "X-Team: beta|X-Any: x", "b"}, {"/", "X-Team: alpha|X-Any: x", "a"},
		{"/shop/x", "Cookie: a=b; beta=1", "b"}, {"/shop", "Cookie: beta=1", "b"}, {"/shopping", "Cookie: beta=1", "a"}, {"/shop/", "Cookie: beta=2", "a"},
		{"/", "X-Forwarded-For: 10.1.2.3", "b"}, {"/", "X-Forwarded-For: 10.1.2.3, 192.0.2.1", "a"}, {"/", "X-Forwarded-For: 192.0.2.1, 10.1.2.3", "b"},
	} {
		_, body := fetch(t, "GET", "http://"+listen+tt.path, "", func(r *http.Request) {
			for line := range strings.SplitSeq(tt.header, "|") {
				if name, value, ok := strings.Cut(line, ": "); ok {
					r.Header.Set(name, value)
				}
			}
		})
		if body != tt.want {
			t.Errorf("%s %q went to %q", tt.path, tt.header, body)
		}
	}
	if got := fmt.Sprint(e.nodeTraffic("a").Requests); got == "0" {
		t.Error("nothing was counted")
	}
}

// A visit by a rule or a preview does not move a client, and a spill does not either.
func TestCookieNamesWhereTheClientBelongs(t *testing.T) {
	e := startEngine(t, nil)
	old, fresh := routertest.FleetOf(1, 100, routertest.StartNode(t, "a", nil)), routertest.FleetOf(2, 0, routertest.StartNode(t, "b", nil))
	listen := routertest.FreeListen(t)
	r := routertest.RouteTo(listen, old, fresh)
	r.Sticky, r.Preview.From = stickyCookie, []string{"127.0.0.0/8"}
	r.Rules = []router.Rule{{Headers: map[string]string{"X-Team": "beta"}, Fleet: fresh.ID}}
	e.mustApply(t, routertest.TableOf(1, r))
	for _, header := range []string{"X-Team: beta", "X-Release: r2"} {
		name, value, _ := strings.Cut(header, ": ")
		res, body := fetch(t, "GET", "http://"+listen+"/", "", func(req *http.Request) { req.Header.Set(name, value) })
		if body != "b" || len(res.Cookies()) != 0 {
			t.Errorf("%s: %q, cookies %v", header, body, res.Cookies())
		}
	}
	if res, body := fetch(t, "GET", "http://"+listen+"/", "", nil); body != "a" || len(res.Cookies()) != 1 {
		t.Errorf("%q, cookies %v", body, res.Cookies())
	}
}
