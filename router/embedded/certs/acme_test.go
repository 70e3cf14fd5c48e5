package certs

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/test/tools/pebbletest"
)

// within is how long a certificate may take: an order has several steps, and the machine other work.
const within = 90 * time.Second

func TestObtainByHTTP(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ca := pebbletest.New(t, pebbletest.Options{HTTPPort: port(s.plain), TLSPort: closedPort(t)})
	ca.Start()
	var listening atomic.Value
	look := func() { listening.Store(listeners(t)) }
	s.asked.Store(&look)
	m := s.start(t, Options{})
	use(t, m, s.route(ca, true, "http.example", "Other.HTTP.example"))
	c := s.await(t, ca, within, "http.example", "other.http.example")
	if got := c.DNSNames; len(got) != 1 || got[0] != "other.http.example" {
		t.Errorf("names %v", got)
	}
	if s.plainAnswers.Load() == 0 || s.shakeAnswers.Load() != 0 {
		t.Errorf("%d answers by HTTP-01, %d by TLS-ALPN-01", s.plainAnswers.Load(), s.shakeAnswers.Load())
	}
	eventually(t, within, "no problems", func() bool { return len(m.Problems()) == 0 })
	for _, p := range listening.Load().([]int) {
		if p < 1024 {
			t.Errorf("the library listens on port %d", p)
		}
	}
	for _, path := range []string{ChallengePrefix + "none", ChallengePrefix, ChallengePrefix + "a/b", ChallengePrefix + "..%2f", "/"} {
		if body, ok := m.HTTPChallenge(context.Background(), "http.example", path); ok {
			t.Errorf("%s is answered: %s", path, body)
		}
	}
	info, err := os.Stat(m.dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v", info.Mode(), err)
	}
}

// listeners are the TCP ports that this process listens on.
func listeners(t *testing.T) (ports []int) {
	ours := map[string]bool{}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Error(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil {
			ours[strings.TrimSuffix(strings.TrimPrefix(to, "socket:["), "]")] = true
		}
	}
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		b, err := os.ReadFile(table)
		if err != nil {
			continue // a machine without IPv6
		}
		for _, line := range strings.Split(string(b), "\n") {
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != "0A" || !ours[f[9]] {
				continue
			}
			_, hex, _ := strings.Cut(f[1], ":")
			p, err := strconv.ParseUint(hex, 16, 16)
			if err != nil {
				t.Error(err)
			}
			ports = append(ports, int(p))
		}
	}
	return ports
}

// TestObtainByTLS proves the name on the very listener where users must show certificates.
func TestObtainByTLS(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ca := pebbletest.New(t, pebbletest.Options{HTTPPort: closedPort(t), TLSPort: port(s.listen)})
	ca.Start()
	users := issue(t, nil, 1, later())
	r := s.route(ca, false, "tls.example")
	r.TLS.ClientCA = filepath.Join(t.TempDir(), "ca.pem")
	put(t, r.TLS.ClientCA, users.certPEM())
	use(t, s.start(t, Options{}), r)
	user := issue(t, users, 2, later(), "user").tls()
	roots := ca.Roots()
	enter := func(show ...tls.Certificate) error {
		_, err := call(s.listen.Addr().String(), &tls.Config{ServerName: "tls.example", RootCAs: roots, Certificates: show})
		return err
	}
	eventually(t, within, "a certificate", func() bool { return enter(user) == nil })
	if enter() == nil {
		t.Error("a user without certificate enters")
	}
	if s.plainAnswers.Load() != 0 || s.shakeAnswers.Load() == 0 {
		t.Errorf("%d answers by HTTP-01, %d by TLS-ALPN-01", s.plainAnswers.Load(), s.shakeAnswers.Load())
	}
	answers := s.shakeAnswers.Load()
	for _, name := range []string{"tls.example", "other.example"} {
		_, err := call(s.listen.Addr().String(), &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{ChallengeProtocol}})
		if err == nil || s.shakeAnswers.Load() != answers {
			t.Errorf("%s is proved when nobody asked for it", name)
		}
	}
}

func TestRenewal(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ca := pebbletest.New(t, pebbletest.Options{HTTPPort: port(s.plain), TLSPort: port(s.listen), Lifetime: 20 * time.Second})
	ca.Start()
	use(t, s.start(t, Options{RenewEvery: time.Second}), s.route(ca, true, "renew.example"))
	first := s.await(t, ca, within, "renew.example")
	roots := ca.Roots()
	eventually(t, within, "another certificate", func() bool {
		c, err := s.shown(roots, "renew.example")
		if err != nil {
			t.Errorf("a handshake fails: %v", err)
		}
		return err != nil || c.SerialNumber.Cmp(first.SerialNumber) != 0
	})
}

// TestAuthorityAway starts while nobody answers: handshakes fail and say so, applying does not wait, and the certificate comes soon
// after the authority does.
func TestAuthorityAway(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ca := pebbletest.New(t, pebbletest.Options{HTTPPort: port(s.plain), TLSPort: port(s.listen)})
	log, said := newLog(t)
	m := s.start(t, Options{Log: log})
	files := issue(t, nil, 7, later(), "files.example").write(t, t.TempDir())
	began := time.Now()
	use(t, m, s.route(ca, true, "away.example"), router.Route{Name: "files", Listen: s.listen.Addr().String(), Hosts: []string{"files.example"}, TLS: files})
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %v to apply", took)
	}
	eventually(t, within, "a problem", func() bool {
		got := m.Problems()[s.listen.Addr().String()]
		return strings.Contains(got, "no certificate for away.example yet: ") && strings.Contains(got, "connection refused")
	})
	if _, err := s.shown(nil, "away.example"); err == nil {
		t.Error("a certificate is shown")
	}
	if said.count("handshakes fail: no certificate yet") == 0 || said.count("certificate not obtained") == 0 {
		t.Error("the log says nothing")
	}
	if c, err := call(s.listen.Addr().String(), &tls.Config{ServerName: "files.example", InsecureSkipVerify: true}); err != nil || c.PeerCertificates[0].SerialNumber.Int64() != 7 {
		t.Errorf("the other route: %v", err)
	}
	ca.Start()
	s.await(t, ca, within, "away.example")
	eventually(t, within, "no problems", func() bool { return len(m.Problems()) == 0 })
}

// TestRefused: an authority that takes no such account, and one that refuses a name and not the other.
func TestRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	strict := pebbletest.New(t, pebbletest.Options{HTTPPort: port(s.plain), TLSPort: port(s.listen), Binding: true})
	strict.Start()
	m := s.start(t, Options{})
	use(t, m, s.route(strict, true, "account.example"))
	problem := func(want ...string) {
		t.Helper()
		eventually(t, within, fmt.Sprint("problems with ", want), func() bool {
			got := m.Problems()[s.listen.Addr().String()]
			for _, w := range want {
				if !strings.Contains(got, w) {
					return false
				}
			}
			return true
		})
	}
	problem("account.example", "externalAccountRequired")
	blocking := pebbletest.New(t, pebbletest.Options{HTTPPort: port(s.plain), TLSPort: port(s.listen), Blocked: []string{"blocked.example"}})
	blocking.Start()
	r := s.route(blocking, true, "blocked.example", "allowed.example")
	r.TLS.ACME.Email = "" // nobody is asked for one
	use(t, m, r)
	s.await(t, blocking, within, "allowed.example")
	problem("blocked.example", "rejectedIdentifier")
	if got := m.Problems()[s.listen.Addr().String()]; strings.Contains(got, "account.example") || strings.Contains(got, "allowed.example") {
		t.Errorf("problems: %s", got)
	}
}

// TestRestart shows the certificates of before at once, without the authority, and orders none.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ca := pebbletest.New(t, pebbletest.Options{HTTPPort: port(s.plain), TLSPort: port(s.listen)})
	ca.Start()
	dir := t.TempDir()
	routes := []router.Route{s.route(ca, true, "restart.example", "again.example")}
	m := s.start(t, Options{Dir: dir})
	use(t, m, routes...)
	first := s.await(t, ca, within, "again.example", "restart.example")
	roots, orders := ca.Roots(), ca.Orders()
	if orders != 2 {
		t.Errorf("%d orders for two names", orders)
	}
	m.Close()
	if _, err := s.shown(roots, "restart.example"); err != nil {
		t.Errorf("after Close: %v", err)
	}
	ca.Stop()
	m = s.start(t, Options{Dir: dir})
	use(t, m, routes...)
	c, err := s.shown(roots, "restart.example")
	if err != nil || c.SerialNumber.Cmp(first.SerialNumber) != 0 {
		t.Fatalf("at once: %v", err)
	}
	names := m.current.Load().names
	eventually(t, within, "the library to take over", func() bool {
		for _, n := range names {
			if !n.cached() {
				return false
			}
		}
		return true
	})
	if c, err = s.shown(roots, "restart.example"); err != nil || c.SerialNumber.Cmp(first.SerialNumber) != 0 {
		t.Errorf("later: %v", err)
	}
	ca.Start() // it has forgotten accounts and orders
	use(t, m, s.route(ca, true, "restart.example", "again.example", "third.example"))
	s.await(t, ca, within, "third.example")
	if got := ca.Orders() - orders; got != 1 {
		t.Errorf("%d orders for one name", got)
	}
}

// TestLetGoOfNames: what no route uses is not renewed, and can come back at once.
func TestLetGoOfNames(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ca := pebbletest.New(t, pebbletest.Options{HTTPPort: port(s.plain), TLSPort: port(s.listen)})
	ca.Start()
	m := s.start(t, Options{})
	both, one := s.route(ca, true, "stays.example", "goes.example"), s.route(ca, true, "stays.example")
	use(t, m, both)
	s.await(t, ca, within, "stays.example", "goes.example")
	goes := m.current.Load().names[nameKey{m.current.Load().listens[s.listen.Addr().String()].first.(*name).key.authority, "goes.example"}]
	use(t, m, one)
	eventually(t, within, "the name is let go", func() bool { return !goes.cached() })
	roots := ca.Roots()
	if c, err := call(s.listen.Addr().String(), &tls.Config{ServerName: "goes.example", InsecureSkipVerify: true}); err != nil || c.PeerCertificates[0].DNSNames[0] != "stays.example" {
		t.Errorf("a name of no route: %v", err)
	}
	conn, _ := net.Pipe()
	defer conn.Close()
	for range 20 { // quicker than what runs in the background, and while that takes over
		use(t, m, both)
		back := m.current.Load().names[goes.key]
		for begin := time.Now(); ; {
			if c, err := back.certificate(&tls.ClientHelloInfo{Conn: conn}); err != nil {
				t.Fatalf("it came back without certificate: %v", err)
			} else if leaf, err := x509.ParseCertificate(c.Certificate[0]); err != nil || leaf.DNSNames[0] != "goes.example" {
				t.Fatalf("it came back with the certificate of %v: %v", leaf.DNSNames, err)
			}
			if back.stored.Load() == nil || time.Since(begin) > 100*time.Millisecond {
				break
			}
		}
		use(t, m, one)
	}
	use(t, m, both)
	back := m.current.Load().names[goes.key]
	eventually(t, within, "the library has it again", func() bool { return back.cached() && back.stored.Load() == nil })
	if _, err := s.shown(roots, "goes.example"); err != nil {
		t.Error(err)
	}
	if got := ca.Orders(); got != 2 {
		t.Errorf("%d orders for two names", got)
	}
	use(t, m)
	if s := m.current.Load(); len(s.names)+len(s.authorities) != 0 || m.tidied != nil {
		t.Error("something is kept")
	}
}

// startEdge starts another router with the site's listeners. It is killed with the test.
func startEdge(t *testing.T, s *site, dir, directory, root, host string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, asEdge, dir, directory, root, host)
	for _, ln := range []net.Listener{s.listen, s.plain} {
		f, err := ln.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("edge: %q, %v", line, err)
	}
	return cmd
}

// newIdleSite has listeners that this process does not serve.
func newIdleSite(t *testing.T) *site {
	t.Helper()
	s := &site{}
	for _, ln := range []*net.Listener{&s.listen, &s.plain} {
		var err error
		if *ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = (*ln).Close() })
	}
	return s
}

func TestPause(t *testing.T) {
	refused, limited := acme.Problem{Type: "urn:ietf:params:acme:error:unauthorized"}, acme.Problem{Type: acme.ProblemTypeRateLimited}
	tests := []struct {
		attempt int
		err     error
		want    time.Duration
	}{
		{0, errors.New("connection refused"), 5 * time.Second},
		{1, errors.New("connection refused"), 10 * time.Second},
		{100, errors.New("connection refused"), 5 * time.Minute},
		{0, fmt.Errorf("order: %w", refused), time.Minute},
		{3, fmt.Errorf("order: %w", refused), 8 * time.Minute},
		{100, fmt.Errorf("order: %w", refused), time.Hour},
		{0, fmt.Errorf("order: %w", limited), time.Hour},
	}
	for _, test := range tests {
		for range 100 {
			if got := pauseAfter(test.attempt, test.err); got < test.want || got > test.want*6/5 {
				t.Errorf("attempt %d, %v: %v, want about %v", test.attempt, test.err, got, test.want)
			}
		}
	}
}
