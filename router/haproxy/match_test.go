package haproxy

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// TestMatching holds what the map and HAProxy's rules make of random hosts and paths against the contract's own words.
func TestMatching(t *testing.T) {
	_, b := newProxy(t, "")
	listen := routertest.FreeListen(t)
	var nodes []*routertest.TestNode
	for i := range 6 {
		nodes = append(nodes, routertest.StartNode(t, fmt.Sprintf("n%d", i), nil))
	}
	random := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	for seq := range uint64(8) {
		tab := matchTable(random, seq+1, listen, nodes)
		apply(t, b, tab)
		for range 120 {
			host, path := pick(random, askedHosts), pick(random, askedPaths)
			got := raw(t, listen, host, path)
			if want := expected(tab, host, path); got != want {
				t.Errorf("host %q path %q: %q, want %q of %s", host, path, got, want, described(tab))
			}
		}
	}
}

var (
	routeHosts = []string{"", "a.test", "b.test", "x.a.test", "*.a.test", "*.test", "*.x.a.test", "::1", "192.0.2.1"}
	routePaths = []string{"/", "/a", "/a/", "/a/b", "/b", "/it's", "/a|b", "/ü", "/a.b"}
	askedHosts = []string{"a.test", "A.Test", "a.test.", "a.test:81", "b.test", "x.a.test", "y.x.a.test", "c.test", "test", "other", "[::1]", "[::1]:80", "192.0.2.1", "a.b.c.d.e.f.test",
		"a.test/b", "*", "*.test", ""}
	askedPaths = []string{"/", "/a", "/a/", "/ab", "/a/b", "/a/bc", "/%61", "/a%2Fb/c", "/b?x=/a", "/it's/x", "/a|b", "/%C3%BC/x", "//a", "/a.b", "/a/../b"}
)

func pick(r *rand.Rand, list []string) string { return list[r.IntN(len(list))] }

// matchTable draws routes that do not collide.
func matchTable(r *rand.Rand, seq uint64, listen string, nodes []*routertest.TestNode) router.Table {
	var routes []router.Route
	for i, n := range nodes {
		route := router.Route{Name: fmt.Sprintf("app%d", i), Listen: listen, Fleets: []router.Fleet{{ID: fmt.Sprintf("app%d/r1", i), Release: "r1", Weight: 1,
			Nodes: []router.Node{{Name: n.Name, Address: n.Address}}}}}
		for range r.IntN(3) {
			if h := pick(r, routeHosts); h != "" && !slices.Contains(route.Hosts, h) {
				route.Hosts = append(route.Hosts, h)
			}
		}
		for range r.IntN(3) {
			if p := pick(r, routePaths); !slices.ContainsFunc(route.Paths, func(q string) bool { return strings.TrimRight(p, "/") == strings.TrimRight(q, "/") }) {
				route.Paths = append(route.Paths, p)
			}
		}
		if next := routertest.TableOf(seq, append(slices.Clone(routes), route)...); next.Validate() == nil {
			routes = append(routes, route)
		}
	}
	return routertest.TableOf(seq, routes...)
}

// raw sends host and path as they are, and gives the answering node's name, or the status.
func raw(t *testing.T, listen, host, path string) string {
	t.Helper()
	conn, err := net.Dial("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 {
		return res.Status
	}
	return string(body)
}

// expected is what router.Route says: the most specific host that has a path for it, and of its paths the longest.
func expected(t router.Table, host, target string) string {
	if strings.Contains(host, "/") {
		return "400 Bad Request"
	}
	path, _, _ := strings.Cut(target, "?")
	path, _ = url.PathUnescape(path) // all of askedPaths can be read
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	best, name := []int{-1, -1}, "404 Not Found"
	for _, r := range t.Routes {
		for _, h := range orAll(r.Hosts, "") {
			for _, p := range orAll(r.Paths, "/") {
				p = strings.TrimRight(p, "/")
				rank := []int{specific(h, host), len(p)}
				if rank[0] >= 0 && (path == p || strings.HasPrefix(path, p+"/")) && slices.Compare(rank, best) > 0 {
					best, name = rank, r.Fleets[0].Nodes[0].Name
				}
			}
		}
	}
	return name
}

func orAll(list []string, all string) []string {
	if len(list) == 0 {
		return []string{all}
	}
	return list
}

// specific ranks how well a route's host fits: -1 not at all.
func specific(pattern, host string) int {
	suffix, wild := strings.CutPrefix(pattern, "*")
	switch {
	case pattern == "":
		return 0
	case wild && strings.HasSuffix(host, suffix) && len(host) > len(suffix):
		return len(suffix)
	case !wild && pattern == host:
		return 1 << 20
	}
	return -1
}

func described(t router.Table) string {
	var b strings.Builder
	for _, r := range t.Routes {
		fmt.Fprintf(&b, "\n  %s: hosts %q paths %q", r.Fleets[0].Nodes[0].Name, r.Hosts, r.Paths)
	}
	return b.String()
}
