package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
	"github.com/bootandshoot/release/router/consul"
)

const (
	// consulAsked bounds one question to Consul.
	consulAsked = 5 * time.Second
	// oldestConsul is the first minor version of Consul 1 whose transactions read keys that may be absent (get-or-empty).
	oldestConsul = 14
	// certSoon is how long before its end a certificate is warned of.
	certSoon = 14 * 24 * time.Hour
)

// consulExam looks at the Consul that the settings name, as agents and edges of this machine use it.
type consulExam struct {
	opts   consul.Options
	prefix string
	policy string
	routed bool // routes go through it too
}

// consulChecks looks at Consul, if agents or edges here use it. It changes nothing there but for a session that it ends at once.
func consulChecks(ctx context.Context, settings *config.Agent) []api.Check {
	routed := settings.Router.Backend == config.RouterConsul
	if settings.Store.Consul == nil && !routed {
		return nil
	}
	opts, err := consulRouter(settings, slog.New(slog.DiscardHandler))
	if err != nil {
		return []api.Check{fails("consul", err)}
	}
	x := &consulExam{opts: opts, prefix: prefixOf(opts), routed: routed}
	x.policy = consulapi.Policy(x.prefix)
	if routed {
		x.policy = consul.Policy(x.prefix)
	}
	reached := x.reach(ctx)
	checks := append([]api.Check{reached}, x.tls(settings.Store.Consul, time.Now())...)
	if reached.State == "fail" {
		return checks
	}
	checks = append(checks, x.token(ctx))
	if routed {
		checks = append(checks, x.edges(ctx)...)
	}
	return checks
}

// reach says whether Consul answers, has a leader, and is new enough.
func (x *consulExam) reach(ctx context.Context) api.Check {
	ctx, cancel := context.WithTimeout(ctx, consulAsked)
	defer cancel()
	s, err := x.opts.Settings.Servers(ctx)
	if err != nil {
		return fails("consul", err)
	}
	if major, minor, ok := minorOf(s.Version); ok && (major < 1 || major == 1 && minor < oldestConsul) {
		return fails("consul", fault.New(fault.Unsupported, "Consul %s is too old", s.Version).WithHint("1.%d is the oldest that works", oldestConsul))
	}
	version := s.Version
	if version == "" {
		version = "(its version is not told to this token)"
	}
	answers := fmt.Sprintf("Consul %s answers at %s, %s", version, x.opts.Settings.Where(), human.Count(s.Count, "server"))
	if s.Count < 3 {
		return warn("consul", "run three servers, so that any of them may die", "%s: while one is away nothing is deployed or replaced", answers)
	}
	return ok("consul", "%s", answers)
}

// minorOf reads the first two numbers of a version such as "1.20.6+ent".
func minorOf(version string) (major, minor int, ok bool) {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return 0, 0, false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return major, minor, err1 == nil && err2 == nil
}

// token says whether the ACL token has every right that is needed.
func (x *consulExam) token(ctx context.Context) api.Check {
	ctx, cancel := context.WithTimeout(ctx, consulAsked)
	defer cancel()
	rights := x.opts.Settings.MayStore
	if x.routed {
		rights = x.opts.Settings.MayRoute
	}
	if err := rights(ctx, x.prefix, x.policy); err != nil {
		return fails("consul token", err)
	}
	return ok("consul token", "may all that is needed below %s", x.prefix)
}

// tls says what protects the way to Consul.
func (x *consulExam) tls(c *config.Consul, now time.Time) []api.Check {
	where := x.opts.Settings.Where()
	secure := strings.HasPrefix(where, "https://") || strings.EqualFold(os.Getenv("CONSUL_HTTP_SSL"), "true") || c != nil && c.CA+c.Cert != ""
	if !secure {
		if local(where) {
			return nil
		}
		return []api.Check{warn("consul tls", "write the address with https:// and name the CA: store.consul.ca",
			"%s is reached without TLS: the token, and the keys of certificates, can be read on the way", where)}
	}
	file := os.Getenv("CONSUL_CLIENT_CERT")
	if c != nil && c.Cert != "" {
		file = c.Cert
	}
	if file == "" {
		return []api.Check{ok("consul tls", "the way to Consul is encrypted")}
	}
	end, err := certEnd(file)
	switch {
	case err != nil:
		return []api.Check{fails("consul tls", fault.New(fault.Invalid, "read our certificate: %w", err).WithHint("store.consul.cert names a PEM file"))}
	case end.Before(now):
		return []api.Check{fails("consul tls", fault.New(fault.Invalid, "our certificate %s ended on %s", file, end.Format(time.DateOnly)).WithHint("renew it"))}
	case end.Sub(now) < certSoon:
		return []api.Check{warn("consul tls", "renew it", "our certificate %s ends on %s", file, end.Format(time.DateOnly))}
	}
	return []api.Check{ok("consul tls", "the way to Consul is encrypted; our certificate lasts until %s", end.Format(time.DateOnly))}
}

// local says whether an address is on this machine.
func local(where string) bool {
	if strings.HasPrefix(where, "unix:") {
		return true
	}
	if u, err := url.Parse(where); err == nil && u.Host != "" {
		where = u.Host
	}
	host, _, err := net.SplitHostPort(where)
	if err != nil {
		host = where
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// certEnd is when the first certificate of a PEM file ends.
func certEnd(file string) (time.Time, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return time.Time{}, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return time.Time{}, fmt.Errorf("%s: no PEM block", file)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: %w", file, err)
	}
	return cert.NotAfter, nil
}

// edges says which edges are registered, and of those that are silent what to type.
func (x *consulExam) edges(ctx context.Context) []api.Check {
	b, err := consul.New(x.opts)
	if err != nil {
		return []api.Check{fails("edges", err)}
	}
	ctx, cancel := context.WithTimeout(ctx, consulAsked)
	defer cancel()
	seen, err := b.Observe(ctx)
	if err != nil {
		return []api.Check{fails("edges", err)}
	}
	var live []string
	var checks []api.Check
	for _, e := range seen.Edges {
		if e.Silent.IsZero() {
			live = append(live, fmt.Sprintf("%s on %s", e.ID, e.Host))
			continue
		}
		checks = append(checks, warn("edges", "start it again; when its machine is gone for good: release router forget "+e.ID,
			"%s on %s is silent since %s: nothing is shot that it may route to", e.ID, e.Host, e.Silent.Local().Format(time.DateTime)))
	}
	if len(live) == 0 {
		return append(checks, warn("edges", "on each machine that users come to: release router run --consul", "none lives: nobody serves the routes"))
	}
	return append([]api.Check{ok("edges", "%s", strings.Join(live, ", "))}, checks...)
}
