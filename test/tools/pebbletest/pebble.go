// Package pebbletest runs the real ACME test server for tests: it proves names by connecting to ports that the test says, and
// issues certificates that nobody else trusts. Every name resolves to 127.0.0.1 for it.
package pebbletest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bootandshoot/release/test/tools"
)

// Options say how a server behaves.
type Options struct {
	HTTPPort int           // where names are proved by HTTP-01
	TLSPort  int           // where names are proved by TLS-ALPN-01
	Lifetime time.Duration // of certificates, at least 1 s; 0: 90 days
	Binding  bool          // accounts need an external binding, so that none is accepted without
	Blocked  []string      // names that are refused
}

// Server is a server that can be started and stopped, with its address staying the same. It keeps nothing over a stop.
type Server struct {
	Directory string // URL
	RootCA    string // file with what its own address is trusted by

	t          testing.TB
	program    string
	config     string
	management string
	dns        string
	trust      *x509.CertPool
	cmd        *exec.Cmd
	output     output
}

// New prepares a server; Start starts it. It is stopped at the end of the test.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	dir := t.TempDir()
	listen, management := freeAddress(t), freeAddress(t)
	s := &Server{
		Directory: "https://" + listen + "/dir", RootCA: filepath.Join(dir, "root.pem"),
		t: t, config: filepath.Join(dir, "config.json"), management: management, dns: serveNames(t),
		program: tools.Build(t, "pebble", "github.com/letsencrypt/pebble/v2", "github.com/letsencrypt/pebble/v2/cmd/pebble"),
	}
	key := s.identity(t)
	lifetime := o.Lifetime
	if lifetime == 0 {
		lifetime = 90 * 24 * time.Hour
	}
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": management,
		"certificate": s.RootCA, "privateKey": key,
		"httpPort": o.HTTPPort, "tlsPort": o.TLSPort, "keyAlgorithm": "ecdsa",
		"externalAccountBindingRequired": o.Binding, "domainBlocklist": o.Blocked,
		"externalAccountMACKeys": map[string]string{"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"},
		"retryAfter":             map[string]int{"authz": 1, "order": 1},
		"profiles":               map[string]any{"default": map[string]any{"description": "of the test", "validityPeriod": int(lifetime.Seconds())}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.config, config, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Start starts the server and waits until it answers.
func (s *Server) Start() {
	s.t.Helper()
	s.cmd = exec.Command(s.program, "-config", s.config, "-dnsserver", s.dns, "-strict")
	s.cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_AUTHZREUSE=0")
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := s.get(s.Directory, io.Discard)
		if err == nil {
			err = s.get("https://"+s.management+"/roots/0", io.Discard)
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("pebble does not answer: %v\n%s", err, s.output.String())
		}
	}
}

// Stop ends the server at once.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
	if s.t.Failed() {
		s.t.Logf("pebble:\n%s", s.output.String())
	}
}

// Orders is how many orders clients have made, over all starts. What was refused is not one.
func (s *Server) Orders() int { return s.output.count("Added order ") }

// Roots is what trusts the certificates that the running server issues.
func (s *Server) Roots() *x509.CertPool {
	s.t.Helper()
	var b bytes.Buffer
	if err := s.get("https://"+s.management+"/roots/0", &b); err != nil {
		s.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b.Bytes()) {
		s.t.Fatalf("pebble's root is no certificate: %s", b.Bytes())
	}
	return pool
}

func (s *Server) get(url string, to io.Writer) error {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.trust}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport, Timeout: 5 * time.Second}).Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	_, err = io.Copy(to, resp.Body)
	return err
}

// identity makes the certificate of the server's own address, and returns the file of its key.
func (s *Server) identity(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	s.trust = x509.NewCertPool()
	s.trust.AppendCertsFromPEM(certificate)
	file := filepath.Join(filepath.Dir(s.RootCA), "key.pem")
	for name, b := range map[string][]byte{s.RootCA: certificate, file: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// freeAddress is one that nobody listens on just now.
func freeAddress(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// output keeps what a program writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func (o *output) count(text string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Count(o.b.Bytes(), []byte(text))
}
