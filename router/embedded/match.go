package embedded

import (
	"net"
	"slices"
	"strings"
)

// matcher finds the route of a request on one listen address: of the routes whose host and path match, the most
// specific host wins (a name, then the longest "*." suffix, then every host), then the longest path. "*.example"
// stands for any name that ends in ".example", also over several labels.
type matcher[R any] struct {
	exact map[string][]prefix[R]
	wild  map[string][]prefix[R] // key ".example"
	every []prefix[R]
}

type prefix[R any] struct {
	path  string // without the trailing slash, so "" is every path
	route R
}

func newMatcher[R any]() *matcher[R] {
	return &matcher[R]{exact: map[string][]prefix[R]{}, wild: map[string][]prefix[R]{}}
}

// add enters a route for its hosts and paths, both as in router.Route.
func (m *matcher[R]) add(hosts, paths []string, route R) {
	if len(paths) == 0 {
		paths = []string{"/"}
	}
	for _, p := range paths {
		entry := prefix[R]{strings.TrimRight(p, "/"), route}
		if len(hosts) == 0 {
			m.every = insertPrefix(m.every, entry)
		}
		for _, h := range hosts {
			if suffix, is := strings.CutPrefix(h, "*"); is {
				m.wild[suffix] = insertPrefix(m.wild[suffix], entry)
			} else {
				m.exact[h] = insertPrefix(m.exact[h], entry)
			}
		}
	}
}

// insertPrefix keeps the longest path first.
func insertPrefix[R any](list []prefix[R], entry prefix[R]) []prefix[R] {
	list = append(list, entry)
	slices.SortStableFunc(list, func(a, b prefix[R]) int { return len(b.path) - len(a.path) })
	return list
}

// find takes a host as normalHost gives it and a decoded path.
func (m *matcher[R]) find(host, path string) (route R, found bool) {
	if len(m.exact) > 0 {
		if r, ok := findPrefix(m.exact[host], path); ok {
			return r, true
		}
	}
	if len(m.wild) > 0 {
		for i := 1; i < len(host); i++ {
			if host[i] != '.' {
				continue
			}
			if r, ok := findPrefix(m.wild[host[i:]], path); ok {
				return r, true
			}
		}
	}
	return findPrefix(m.every, path)
}

func findPrefix[R any](list []prefix[R], path string) (route R, found bool) {
	for i := range list {
		if underPrefix(path, list[i].path) {
			return list[i].route, true
		}
	}
	return route, false
}

// underPrefix says whether path is p or below it, on segment borders.
func underPrefix(path, p string) bool {
	return strings.HasPrefix(path, p) && (p == "" || len(path) == len(p) || path[len(p)] == '/')
}

// normalHost is the name in a Host header: without port, brackets, trailing dot, in lower case.
func normalHost(host string) string {
	if strings.IndexByte(host, ':') >= 0 {
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
