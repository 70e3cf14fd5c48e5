package config

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/strictyaml"
)

// maxName keeps app-environment-release-suffix within the 50 characters of a node's name.
const maxName = 20

// leastMemory is what a Docker engine takes at least.
const leastMemory Bytes = 6 << 20

// shortestInterval keeps a mistyped unit from turning health checks into an attack on the nodes.
const shortestInterval = Duration(10 * time.Millisecond)

var (
	namePattern = regexp.MustCompile(`^[a-z]([a-z0-9-]*[a-z0-9])?$`)
	envPattern  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	hostPattern = regexp.MustCompile(`^(\*\.)?([a-z0-9_]([a-z0-9_-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
)

// ValidName says whether a name may be that of an app, an environment or a role.
func ValidName(name string) bool { return validName(name) }

func validName(name string) bool { return len(name) <= maxName && namePattern.MatchString(name) }

// checker looks at the meaning of what was decoded. Values that did not decode are zero and reported already, so every
// check begins with whether the file has the value.
type checker struct {
	root      *strictyaml.Node
	errs      fault.List
	elsewhere bool // the files that are named are on another machine
}

func (c *checker) fail(pos Position, format string, args ...any) *fault.Error {
	err := pos.Errorf(format, args...)
	c.errs = append(c.errs, err)
	return err
}

func (c *checker) at(path ...any) Position { return c.root.Locate(path...) }

func (c *checker) app(a *App) {
	if c.decodes(new(string), "app") && !validName(a.App) {
		c.fail(c.at("app"), "app %q must be 1 to %d of a-z, 0-9 and -, beginning with a letter", a.App, maxName)
	}
	c.fleet(&a.Fleet)
	c.health(&a.Health)
	switch {
	case c.has("roles"):
		c.roles(a)
	case !c.has("route"):
		c.fail(c.root.Pos, "route is missing")
	default:
		c.onSwarm(&a.Fleet, &a.Health)
		c.instances(&a.Fleet)
		c.asMachines(&a.Fleet)
		c.listens(&a.Route)
		c.route(&a.Route)
		c.sticky(a, DefaultRole, a.Route.Sticky)
	}
	c.cutover(&a.Cutover)
	c.handover(a)
	c.drain(a)
	c.migrations(a.Migrations, a.Schema)
	c.onInstances(a)
}

func (c *checker) fleet(f *Fleet) {
	if f.Resources.Memory < leastMemory && c.decodes(new(Bytes), "fleet", "resources", "memory") {
		c.fail(c.at("fleet", "resources", "memory"), "fleet.resources.memory must be at least %s", leastMemory)
	}
	for _, name := range sortedKeys(f.Env) {
		c.variable("env", name)
	}
	for _, name := range sortedKeys(f.Secrets) {
		c.variable("secrets", name)
		if _, twice := f.Env[name]; twice {
			c.fail(c.root.LocateKey("fleet", "secrets", name), "%s is in fleet.env and in fleet.secrets", name)
		}
		c.reference(c.at("fleet", "secrets", name), "fleet.secrets."+name, f.Secrets[name])
	}
	c.drift(&f.Drift)
	c.volumes(f)
	c.hosts(f)
}

func (c *checker) variable(where, name string) {
	pos := c.root.LocateKey("fleet", where, name)
	switch {
	case !envPattern.MatchString(name):
		c.fail(pos, "%q in fleet.%s is not a name of an environment variable", name, where)
	case name == "PORT":
		c.fail(pos, "PORT in fleet.%s: it is given to every node by release", where).
			WithHint("the first of the recipe's ports is the one that the app is told to listen on")
	case strings.HasPrefix(name, addressPrefix):
		c.fail(pos, "%s in fleet.%s: such variables are given to nodes by release", name, where)
	}
}

// reference checks a secret's reference. The value is not shown: it may be the secret itself, written there by mistake.
func (c *checker) reference(pos Position, path, ref string) {
	kind, rest, _ := strings.Cut(ref, ":")
	switch {
	case kind == "file" && strings.HasPrefix(rest, "/") && !strings.ContainsAny(rest, "\n\x00"):
	case kind == "env" && envPattern.MatchString(rest):
	default:
		c.fail(pos, "%s must be a reference, file:/path or env:NAME", path).
			WithHint("secrets are never written into this file; put the value into a file or a variable of the agent")
	}
}

// has reports whether the file has a value at the path.
func (c *checker) has(path ...string) bool {
	n := c.root
	for _, key := range path {
		if n = n.Get(key); n == nil {
			return false
		}
	}
	return true
}

// decodes tells a zero that was written from a value that did not decode.
func (c *checker) decodes(into any, path ...any) bool {
	n := c.root.At(path...)
	return n != nil && len(strictyaml.DecodeAt(n, into, "")) == 0
}

func (c *checker) health(h *Health) {
	var kinds []string
	for _, k := range checkKinds() {
		if c.has("health", k) {
			kinds = append(kinds, k)
		}
	}
	if len(kinds) > 1 {
		c.fail(c.root.LocateKey("health", kinds[1]), "health.%s: there is health.%s already; a node has one kind of check", kinds[1], kinds[0])
	}
	if h.HTTP != nil {
		c.requestPath(h.HTTP.Path)
	}
	if h.Exec != nil && c.has("health", "exec", "command") && (len(h.Exec.Command) == 0 || h.Exec.Command[0] == "") {
		c.fail(c.at("health", "exec", "command"), "health.exec.command must begin with a program")
	}
	for _, d := range []struct {
		key   string
		value Duration
		least Duration
	}{
		{"interval", h.Interval, shortestInterval}, {"timeout", h.Timeout, Duration(time.Millisecond)},
		{"start_within", h.StartWithin, Duration(time.Millisecond)}, {"replace_after", h.ReplaceAfter, 0},
	} {
		if d.value < d.least {
			c.fail(c.at("health", d.key), "health.%s must be at least %s, not %s", d.key, d.least, d.value)
		}
	}
}

func (c *checker) requestPath(path string) {
	_, err := url.ParseRequestURI(path)
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || err != nil || strings.ContainsAny(path, " #") {
		c.fail(c.at("health", "http", "path"), "health.http.path %q must be a path such as /healthz", path)
	}
}

func (c *checker) route(r *Route) {
	if c.decodes(new(string), "route", "listen") && !validListen(r.Listen) {
		err := c.fail(c.at("route", "listen"), "route.listen %q must be host:port or :port, with an IP address or localhost as host", r.Listen)
		if validListen(":" + r.Listen) {
			_ = err.WithHint("listen: %q", ":"+r.Listen)
		}
	}
	for i, host := range r.Hosts {
		switch {
		case !hostPattern.MatchString(host) || len(host) > 253:
			c.fail(c.at("route", "hosts", i), "route.hosts[%d] %q must be a name such as shop.example or *.shop.example, in lower case, without a port", i, host)
		case slices.Index(r.Hosts, host) < i:
			c.fail(c.at("route", "hosts", i), "route.hosts[%d] %q is given twice", i, host)
		}
	}
	c.prefixes(r.Paths, "route.paths", "route", "paths")
	c.protocol(r)
	c.tls(r)
	c.proxies(r)
	for i := range r.Rules {
		c.rule(i, &r.Rules[i])
	}
	c.balance(&r.Balance)
	c.preview(&r.Preview)
}

// portHint says how a bare port is written: what is said of a number, to put it in quotes, would not help.
func portHint(root *strictyaml.Node, errs fault.List) {
	for _, r := range routesOf(root) {
		n := r.Get("listen")
		if n == nil || n.Kind != strictyaml.Int || !validListen(":"+n.Text) {
			continue
		}
		for _, e := range errs {
			if e.Line == n.Pos.Line && e.Column == n.Pos.Column {
				_ = e.WithHint("listen: %q", ":"+n.Text)
			}
		}
	}
}

// validListen takes what net.Listen takes, but for names that need a resolver and port 0.
func validListen(listen string) bool {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0 && port == strconv.FormatUint(n, 10)
}

func validPrefix(path string) bool {
	if !strings.HasPrefix(path, "/") || strings.Contains(path, "//") || strings.ContainsAny(path, " ?#*\\%") {
		return false
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return strings.IndexFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}

// prefixes checks a list of paths at a place of the file, which name names.
func (c *checker) prefixes(paths []string, name string, at ...any) {
	for i, path := range paths {
		pos := c.at(append(slices.Clone(at), i)...)
		switch {
		case !validPrefix(path):
			c.fail(pos, "%s[%d] %q must be a clean path that begins with /, such as /api", name, i, path)
		case slices.Index(paths, path) < i:
			c.fail(pos, "%s[%d] %q is given twice", name, i, path)
		}
	}
}

// networks checks a list of networks likewise, and puts it into CIDR form.
func (c *checker) networks(list []string, name string, at ...any) {
	for i, text := range list {
		network, ok := parseNetwork(text)
		if !ok {
			c.fail(c.at(append(slices.Clone(at), i)...), "%s[%d] %q must be an address or a network such as 10.0.0.0/8", name, i, text)
			continue
		}
		list[i] = network
	}
}

func (c *checker) preview(p *Preview) {
	c.networks(p.From, "route.preview.from", "route", "preview", "from")
	if c.decodes(new(string), "route", "preview", "key") {
		c.reference(c.at("route", "preview", "key"), "route.preview.key", p.Key)
	}
}

// parseNetwork gives the CIDR form of an address or network.
func parseNetwork(text string) (string, bool) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()).String(), true
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked().String(), err == nil
}

func (c *checker) cutover(cut *Cutover) {
	c.steps(cut.Steps)
	c.verdict(cut.Verdict)
	c.abortOn(cut.AbortOn)
}

// steps must rise and end at 100. A percentage that did not decode is 0 and reported already.
func (c *checker) steps(steps []Step) {
	if len(steps) == 0 {
		c.fail(c.at("cutover", "steps"), "cutover.steps must have at least one step")
		return
	}
	before := 0
	for i, s := range steps {
		if s.Percent == 0 {
			return
		}
		if s.Percent <= before {
			c.fail(c.at("cutover", "steps", i, "percent"), "cutover.steps[%d].percent must be above the step before it, %d", i, before)
		}
		before = s.Percent
		if s.Approve != "" && !validName(s.Approve) {
			c.fail(c.at("cutover", "steps", i, "approve"), "cutover.steps[%d].approve %q must be 1 to %d of a-z, 0-9 and -, beginning with a letter", i, s.Approve, maxName)
		}
		if s.Approve != "" && i == len(steps)-1 {
			c.fail(c.at("cutover", "steps", i, "approve"), "cutover.steps[%d].approve: after the last step there is nothing to approve", i).
				WithHint("put it on the step before")
		}
	}
	if last := len(steps) - 1; steps[last].Percent != 100 {
		c.fail(c.at("cutover", "steps", last, "percent"), "cutover.steps[%d].percent is the last and must be 100", last).
			WithHint("to stop earlier use: release cutover --percent %d", steps[last].Percent)
	}
}

// indexed names an entry of a list.
func indexed(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
