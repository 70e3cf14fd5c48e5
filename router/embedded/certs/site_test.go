package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/test/tools/pebbletest"
)

// site is a small router: it shows certificates on one listener, and answers challenges on another.
type site struct {
	listen, plain net.Listener
	m             atomic.Pointer[Manager]
	asked         atomic.Pointer[func()] // called when a challenge by HTTP-01 is asked for
	plainAnswers  atomic.Int64           // answers by HTTP-01
	shakeAnswers  atomic.Int64           // by TLS-ALPN-01
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{}
	for _, ln := range []*net.Listener{&s.listen, &s.plain} {
		var err error
		if *ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = (*ln).Close() })
	}
	go s.serveTLS()
	go func() { _ = http.Serve(s.plain, s) }()
	return s
}

func port(ln net.Listener) int { return ln.Addr().(*net.TCPAddr).Port }

func (s *site) serveTLS() {
	for {
		c, err := s.listen.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			m := s.m.Load()
			if m == nil {
				return
			}
			config := m.current.Load().TLSConfig(s.listen.Addr().String())
			if config == nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			conn := tls.Server(c, config)
			if conn.Handshake() != nil {
				return
			}
			if conn.ConnectionState().NegotiatedProtocol == ChallengeProtocol {
				s.shakeAnswers.Add(1)
				return
			}
			_, _ = conn.Write([]byte("x"))
		}()
	}
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	if m := s.m.Load(); m != nil {
		if body, ok := m.HTTPChallenge(r.Context(), host, r.URL.Path); ok {
			s.plainAnswers.Add(1)
			if f := s.asked.Load(); f != nil {
				(*f)()
			}
			_, _ = io.WriteString(w, body)
			return
		}
	}
	http.NotFound(w, r)
}

// start makes a manager for the site.
func (s *site) start(t *testing.T, o Options) *Manager {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "acme")
	}
	if o.Log == nil {
		o.Log, _ = newLog(t)
	}
	m := New(o)
	t.Cleanup(m.Close)
	s.m.Store(m)
	return m
}

// route is one whose certificates the server issues. Hosts are proved by HTTP-01 too when plain is set.
func (s *site) route(ca *pebbletest.Server, plain bool, hosts ...string) router.Route {
	r := router.Route{Name: "shop/live/web", Listen: s.listen.Addr().String(), Hosts: hosts,
		TLS: &router.TLS{ACME: &router.ACME{Email: "ops@shop.example", Directory: ca.Directory, RootCA: ca.RootCA}}}
	if plain {
		r.TLS.Redirect = s.plain.Addr().String()
	}
	return r
}

// shown is the certificate that the site shows for a host to clients who trust the roots; nil for none.
func (s *site) shown(roots *x509.CertPool, host string) (*x509.Certificate, error) {
	got, err := call(s.listen.Addr().String(), &tls.Config{ServerName: host, RootCAs: roots})
	if err != nil {
		return nil, err
	}
	return got.PeerCertificates[0], nil
}

// await waits until the site shows a certificate for each host.
func (s *site) await(t *testing.T, ca *pebbletest.Server, within time.Duration, hosts ...string) (last *x509.Certificate) {
	t.Helper()
	roots := ca.Roots()
	for _, host := range hosts {
		var err error
		deadline := time.Now().Add(within)
		for {
			if last, err = s.shown(roots, host); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("no certificate for %s within %v: %v; problems: %v", host, within, err, s.m.Load().Problems())
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	return last
}

// closedPort is one that refuses connections.
func closedPort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return port(ln)
}

// asEdge as first argument makes the test binary a router that shares a storage with others: folder, directory, root, host, the
// descriptors of its listeners being 3 and 4.
const asEdge = "edge-under-test"

func TestMain(m *testing.M) {
	if len(os.Args) == 6 && os.Args[1] == asEdge {
		if err := edge(os.Args[2], os.Args[3], os.Args[4], os.Args[5]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// edge runs until its input ends.
func edge(dir, directory, root, host string) error {
	s := &site{}
	for fd, ln := range map[uintptr]*net.Listener{3: &s.listen, 4: &s.plain} {
		var err error
		if *ln, err = net.FileListener(os.NewFile(fd, strconv.Itoa(int(fd)))); err != nil {
			return err
		}
	}
	m := New(Options{Dir: dir})
	s.m.Store(m)
	set, err := m.Prepare([]router.Route{{Name: "edge", Listen: s.listen.Addr().String(), Hosts: []string{host},
		TLS: &router.TLS{Redirect: s.plain.Addr().String(), ACME: &router.ACME{Email: "ops@shop.example", Directory: directory, RootCA: root}}}})
	if err != nil {
		return err
	}
	go s.serveTLS()
	go func() { _ = http.Serve(s.plain, s) }()
	m.Use(set)
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
