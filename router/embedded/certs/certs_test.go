package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
)

// issued is a certificate of a test, with its key.
type issued struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate for names, valid until the given time; by is who signs it, nil for itself.
func issue(t testing.TB, by *issued, serial int64, until time.Time, names ...string) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, DNSNames: names,
		NotBefore: until.Add(-90 * 24 * time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IsCA:        by == nil, BasicConstraintsValid: true,
	}
	if by == nil {
		by = &issued{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{cert, key}
}

func (i *issued) certPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw})
}

func (i *issued) keyPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func (i *issued) tls() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{i.cert.Raw}, PrivateKey: i.key, Leaf: i.cert}
}

// write puts the pair into files of dir.
func (i *issued) write(t testing.TB, dir string) *router.TLS {
	t.Helper()
	files := &router.TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	put(t, files.Cert, i.certPEM())
	put(t, files.Key, i.keyPEM(t))
	return files
}

// put replaces a file at once, as those who are careful do.
func put(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// record is a log that tests read.
type record struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.Write(b)
}

func (r *record) count(text string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Count(r.b.Bytes(), []byte(text))
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.String()
}

func newLog(t *testing.T) (*slog.Logger, *record) {
	r := &record{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", r)
		}
	})
	return slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug})), r
}

const address = "127.0.0.1:443" // of routes whose connections are pipes

// route is one of address for hosts.
func route(name string, files *router.TLS, hosts ...string) router.Route {
	return router.Route{Name: name, Listen: address, Hosts: hosts, TLS: files}
}

// use prepares routes without an error and makes them effective.
func use(t *testing.T, m *Manager, routes ...router.Route) *Set {
	t.Helper()
	s, err := m.Prepare(routes)
	if err != nil {
		t.Fatal(err)
	}
	m.Use(s)
	return s
}

// shake makes a handshake on the machine's own network, and returns what each side knows of it.
func shake(server, client *tls.Config) (got tls.ConnectionState, serverErr, clientErr error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return got, err, err
	}
	defer ln.Close()
	var wait sync.WaitGroup
	wait.Go(func() {
		var c net.Conn
		if c, serverErr = ln.Accept(); serverErr != nil {
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		s := tls.Server(c, server)
		if serverErr = s.Handshake(); serverErr == nil {
			_, serverErr = s.Write([]byte("x")) // TLS 1.3 tells a client late that it is refused
		}
	})
	got, clientErr = call(ln.Addr().String(), client)
	wait.Wait()
	return got, serverErr, clientErr
}

// call makes a client's handshake with an address and reads a byte.
func call(address string, config *tls.Config) (tls.ConnectionState, error) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", address, config)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, err = c.Read(make([]byte, 1))
	return c.ConnectionState(), err
}

// serial is the serial number of the certificate that is shown for a name; 0 when the handshake fails.
func serial(t *testing.T, s *Set, name string) int64 {
	t.Helper()
	got, serverErr, err := shake(s.TLSConfig(address), &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		t.Logf("handshake for %q: %v, %v", name, serverErr, err)
		return 0
	}
	return got.PeerCertificates[0].SerialNumber.Int64()
}

// eventually waits until a condition holds.
func eventually(t *testing.T, within time.Duration, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}
