package alb

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// supports finds what an Application Load Balancer cannot do. The error is a fault.List of class Unsupported, but for certificates
// (Invalid: they are the listener's, whatever the route says); each entry names its route.
func supports(t router.Table) error {
	var problems fault.List
	for i := range t.Routes {
		r := &t.Routes[i]
		if r.TLS != nil {
			problems = append(problems, fault.New(fault.Invalid, "route %q: tls is there, but a load balancer has certificates of its own", r.Name).
				WithHint("leave tls out: a listener of protocol HTTPS on the port of listen does it, with a certificate of ACM"))
		}
		for _, what := range lacks(r) {
			problems = append(problems, fault.New(fault.Unsupported, "route %q: a load balancer cannot do this: %s", r.Name, what))
		}
	}
	return problems.Err()
}

func lacks(r *router.Route) (list []string) {
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if r.Protocol == router.TCP {
		add("protocol tcp")
	}
	if r.Preview.KeySHA256 != "" {
		add("preview by a key; name networks in preview.from")
	}
	if len(r.Trusted) > 0 || r.ProxyProtocol {
		add("proxies in front that are trusted, or the PROXY protocol: it takes the connection's address for the client's")
	}
	if r.Sticky != nil && r.Sticky.By != router.StickyCookie {
		add("sticky by %s; it has a cookie of its own (sticky: cookie)", r.Sticky.By)
	}
	if r.Sticky != nil && r.Sticky.MaxAge > longestSticky {
		add("a sticky cookie older than %s", longestSticky)
	}
	if r.Balance.MaxInFlight > 0 || r.Balance.Timeout > 0 {
		add("max_in_flight, or a timeout for one route: the balancer has an idle timeout for all of them")
	}
	if r.Balance.HedgeAfter > 0 {
		add("hedge_after: a request is at one target at a time")
	}
	if s := r.Balance.SlowStart; s > 0 && (s < 30*time.Second || s > 15*time.Minute) {
		add("slow_start %s; 30s to 15m are possible", s)
	}
	for _, h := range r.Hosts {
		if !goodHost(h) {
			add("host %q: its last part must be letters, and it must have a dot", h)
		}
	}
	for _, p := range r.Paths {
		if !goodPath(p) {
			add("path %q: characters are a-z, A-Z, 0-9 and _-.$/~\"'@:+&, at most 126", p)
		}
	}
	for i, u := range r.Rules {
		for _, what := range lacksRule(u) {
			add("rule %d %s", i+1, what)
		}
	}
	if n := len(weigh(r)); n > mostGroups {
		add("a split over %d fleets; %d are possible", n, mostGroups)
	}
	return list
}

func lacksRule(u router.Rule) (list []string) {
	if len(u.Cookies) > 0 {
		list = append(list, "by a cookie")
	}
	for name, value := range u.Headers {
		if len(name) > 40 || len(value) > 128 || strings.ContainsAny(value, "*?\\") {
			list = append(list, fmt.Sprintf("with header %s: %q; values have at most 128 characters and none of *?\\", name, value))
		}
	}
	for _, p := range u.Paths {
		if !goodPath(p) {
			list = append(list, fmt.Sprintf("with path %q", p))
		}
	}
	return list
}

// goodHost is what a host-header condition takes. [ELB user guide: condition types]
func goodHost(h string) bool {
	dotted := strings.Contains(h, ".")
	h = strings.TrimPrefix(h, "*.")
	dot := strings.LastIndexByte(h, '.')
	letters := func(text, more string) bool {
		return text != "" && !strings.ContainsFunc(text, func(c rune) bool {
			return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.ContainsRune(more, c))
		})
	}
	return dotted && len(h) <= 126 && letters(h[dot+1:], "") && letters(h, "0123456789-_.")
}

// goodPath is what a path-pattern condition takes, with room for "/*". [ELB user guide: condition types]
func goodPath(p string) bool {
	return len(p) <= 126 && !strings.ContainsFunc(p, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("_-.$/~\"'@:+&", c))
	})
}

const (
	// mostGroups of a forward action, values of a condition and of all conditions of a rule. [ELB user guide: quotas]
	mostGroups, mostEach, mostValues = 5, 3, 5
	longestSticky                    = 7 * 24 * time.Hour
	// usualSticky is the age of a cookie that is to last until the browser ends, which the balancer's cannot.
	usualSticky = 24 * time.Hour
	// mostWeight of a target group in a rule.
	mostWeight = 999
	// priorities are those that rules of ours have; mostPriority is the balancer's highest.
	priorities, mostPriority = 1000, 50000
)

// weigh is the split of a route: weight in units of 999 at most, by fleet. A fleet without nodes has none, since a balancer does not
// go on to another group by itself; when no weighted fleet has nodes, those on standby get it all.
func weigh(r *router.Route) map[string]int {
	split := map[string]int{}
	heaviest := 0
	for _, f := range r.Fleets {
		if f.Weight > 0 && len(f.Nodes) > 0 {
			split[f.ID], heaviest = f.Weight, max(heaviest, f.Weight)
		}
	}
	if len(split) == 0 {
		for _, f := range r.Fleets {
			if f.Standby && len(f.Nodes) > 0 {
				split[f.ID], heaviest = 1, 1
			}
		}
	}
	for id, weight := range split {
		if heaviest > mostWeight {
			split[id] = max(1, weight*mostWeight/heaviest)
		}
	}
	return split
}

// stays are the fleets whose clients stay on them though they have no weight.
func stays(r *router.Route) (ids []string) {
	if r.Sticky == nil {
		return nil
	}
	split := weigh(r)
	for _, f := range r.Fleets {
		if f.Sessions && split[f.ID] == 0 && len(f.Nodes) > 0 {
			ids = append(ids, f.ID)
		}
	}
	slices.Sort(ids)
	return ids[:min(len(ids), max(0, mostGroups-len(split)))]
}
