package embedded

import (
	"bytes"
	"net/netip"
	"strings"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/embedded/http1"
)

// rule is a router.Rule whose fleet is in the table.
type rule struct {
	to      *target
	headers []wanted
	cookies []wanted
	paths   []string // without the trailing slash
	from    networks
}

// wanted is a name and the value that it must have, or any.
type wanted struct{ name, value string }

func newRule(r router.Rule, to *target) rule {
	u := rule{to: to, from: newNetworks(r.From)}
	for name, value := range r.Headers {
		u.headers = append(u.headers, wanted{name, value})
	}
	for name, value := range r.Cookies {
		u.cookies = append(u.cookies, wanted{name, value})
	}
	for _, p := range r.Paths {
		u.paths = append(u.paths, strings.TrimRight(p, "/"))
	}
	return u
}

// matches says whether all that is set holds.
func (u *rule) matches(req *http1.Head, path string, client netip.Addr) bool {
	if len(u.from) > 0 && !u.from.contain(client) || len(u.paths) > 0 && !underAny(path, u.paths) {
		return false
	}
	for _, w := range u.headers {
		if !hasHeader(req, w) {
			return false
		}
	}
	for _, w := range u.cookies {
		value, found := cookie(req, w.name)
		if !found || w.value != "" && string(value) != w.value {
			return false
		}
	}
	return true
}

func underAny(path string, prefixes []string) bool {
	for _, p := range prefixes {
		if underPrefix(path, p) {
			return true
		}
	}
	return false
}

func hasHeader(req *http1.Head, w wanted) bool {
	for i := range req.Fields {
		f := &req.Fields[i]
		if len(f.Name) == len(w.name) && strings.EqualFold(view(f.Name), w.name) && (w.value == "" || string(f.Value) == w.value) {
			return true
		}
	}
	return false
}

// cookie is the value of the first cookie of a name. [RFC 6265, 4.2.1]
func cookie(req *http1.Head, name string) ([]byte, bool) {
	for i := range req.Fields {
		if req.Fields[i].Known != http1.Cookie {
			continue
		}
		rest := req.Fields[i].Value
		for len(rest) > 0 {
			var pair []byte
			pair, rest, _ = bytes.Cut(rest, []byte{';'})
			k, v, ok := bytes.Cut(bytes.TrimSpace(pair), []byte{'='})
			if ok && string(k) == name {
				return bytes.Trim(v, `"`), true
			}
		}
	}
	return nil, false
}
