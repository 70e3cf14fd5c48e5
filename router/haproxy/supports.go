package haproxy

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"unicode"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// supports finds what HAProxy cannot do. The error is a fault.List of class Unsupported, each entry names its route.
func supports(t router.Table) error {
	var problems fault.List
	for i := range t.Routes {
		r := &t.Routes[i]
		for _, what := range lacks(r) {
			problems = append(problems, fault.New(fault.Unsupported, "route %q: haproxy cannot do this: %s", r.Name, what))
		}
	}
	return problems.Err()
}

func lacks(r *router.Route) (list []string) {
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if r.TLS != nil && r.TLS.ACME != nil {
		add("tls by acme; get the certificate by other means and name its files")
	}
	if r.Balance.HedgeAfter > 0 {
		add("hedge_after: a request is at one node at a time")
	}
	for _, listen := range []string{r.Listen, redirectOf(r)} {
		host, _, _ := net.SplitHostPort(listen)
		if _, err := netip.ParseAddr(host); host != "" && host != "localhost" && err != nil {
			add("listen on the name %q; give its address", host)
		}
	}
	for _, p := range r.Paths {
		if !oneWord(p) {
			add("path %q, with a blank", p)
		}
	}
	for i, u := range r.Rules {
		for _, texts := range []map[string]string{u.Headers, u.Cookies} {
			for name, value := range texts {
				if !oneWord(name) || strings.ContainsFunc(value, unicode.IsControl) {
					add("rule %d, with a control character in %q", i+1, name)
				}
			}
		}
		for _, p := range u.Paths {
			if strings.ContainsFunc(p, unicode.IsControl) {
				add("rule %d, with a control character in path %q", i+1, p)
			}
		}
		if n := len(u.Headers) + len(u.Cookies); n > mostConditions {
			add("rule %d, with %d headers and cookies; %d are possible", i+1, n, mostConditions)
		}
	}
	if len(r.Fleets) > maxSlots {
		add("%d fleets at a time; %d are possible", len(r.Fleets), maxSlots)
	}
	for _, f := range r.Fleets {
		if !oneWord(f.Release) || strings.Contains(f.Release, "|") {
			add("a release named %q", f.Release)
		}
	}
	return list
}

// mostConditions keeps a rule within the 64 words of a line.
const mostConditions = 40

func redirectOf(r *router.Route) string {
	if r.TLS == nil {
		return ""
	}
	return r.TLS.Redirect
}

// oneWord says whether text is what HAProxy's maps take as a key.
func oneWord(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) })
}
