package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mholt/acmez/v3"
)

// ChallengeProtocol is the ALPN protocol of handshakes that only prove a name to a certificate authority. A connection that
// has negotiated it is closed after the handshake: nothing is served on it, and it may lack the certificate that clients
// of the listen address must show. [RFC 8737]
const ChallengeProtocol = acmez.ACMETLS1Protocol

// Set is what the routes of one table need.
type Set struct {
	m           *Manager
	listens     map[string]*listen // those with TLS
	pairs       map[pairFiles]*pair
	clients     map[string]*clientCA
	authorities map[authorityKey]*authority
	names       map[nameKey]*name
	hosts       map[string][]*authority // those that prove a host by HTTP-01
	roots       map[string]string       // contents of files of ACME roots
	named       map[naming]bool         // by the routes
}

// naming is that a route has files for a purpose.
type naming struct{ route, purpose, file, key string }

// source is where one certificate comes from.
type source interface {
	certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error)
	problems(now time.Time) []string // what a person should do something about
}

// listen is what one listen address shows.
type listen struct {
	exact   map[string]source
	wild    map[string]source  // key ".example"
	every   source             // for hosts that no other route names
	first   source             // for clients that name no host we know
	sources []source           // each once, in the order of the routes
	hosts   map[*pair][]string // of the routes that show a certificate from files
	clients *clientCA          // nil: clients show no certificate
	acme    bool
	lost    []string // files of ACME roots that do not load, and why
	config  atomic.Pointer[listenConfig]
}

// listenConfig is a configuration and the client authorities that it was made with.
type listenConfig struct {
	pool   *x509.CertPool
	config *tls.Config
}

// TLSConfig is what connections to a listen address are accepted with; nil for an address without TLS. It is the same one for
// all sets as long as the address has TLS, and always shows what the set in use has: h2 and HTTP/1.1 by ALPN, TLS 1.2 and
// later, certificates by server name. See ChallengeProtocol.
func (s *Set) TLSConfig(address string) *tls.Config {
	if s.listens[address] == nil {
		return nil
	}
	return s.m.base(address)
}

// protocols are those that a handshake may agree on, in the order of preference.
func protocols(challenges bool) []string {
	p := []string{"h2", "http/1.1"}
	if challenges {
		p = append(p, ChallengeProtocol)
	}
	return p
}

func (s *Set) configFor(address string, hello *tls.ClientHelloInfo) (*tls.Config, error) {
	l := s.listens[address]
	if l == nil {
		return nil, fmt.Errorf("no route with TLS on %s", address)
	}
	if l.acme && slices.Equal(hello.SupportedProtos, []string{ChallengeProtocol}) {
		return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: hello.SupportedProtos, GetCertificate: l.challenge}, nil
	}
	return l.ordinary()
}

// ordinary is the configuration for users.
func (l *listen) ordinary() (*tls.Config, error) {
	var pool *x509.CertPool
	if l.clients != nil {
		var err error
		if pool, err = l.clients.get(); err != nil {
			return nil, err
		}
	}
	if c := l.config.Load(); c != nil && c.pool == pool {
		return c.config, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols(false), GetCertificate: l.certificate}
	if l.clients != nil {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, pool
	}
	l.config.Store(&listenConfig{pool, config})
	return config, nil
}

func (l *listen) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	s := l.find(hello.ServerName)
	if s == nil {
		return nil, errors.New("no route here has a certificate")
	}
	return s.certificate(hello)
}

// challenge is the certificate that proves the server name to an authority.
func (l *listen) challenge(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	n, ok := l.exact[normal(hello.ServerName)].(*name)
	if !ok {
		return nil, fmt.Errorf("no certificate for %q is got by ACME", hello.ServerName)
	}
	return n.challenge(hello)
}

// find is the source for a server name: of the route that names it, else of that with the longest wildcard that fits, else
// of that for every host, else of the first.
func (l *listen) find(server string) source {
	host := normal(server)
	if s := l.exact[host]; s != nil {
		return s
	}
	for i := 1; len(l.wild) > 0 && i < len(host); i++ {
		if host[i] != '.' {
			continue
		}
		if s := l.wild[host[i:]]; s != nil {
			return s
		}
	}
	if l.every != nil {
		return l.every
	}
	return l.first
}

// add enters the source of a route for a host; "" is every one. Routes of one host may differ in path and certificate; the
// first one's is shown.
func (l *listen) add(host string, s source) {
	if l.first == nil {
		l.first = s
	}
	if !slices.Contains(l.sources, s) {
		l.sources = append(l.sources, s)
	}
	switch suffix, wild := strings.CutPrefix(host, "*"); {
	case host == "":
		if l.every == nil {
			l.every = s
		}
	case wild && l.wild[suffix] == nil:
		l.wild[suffix] = s
	case !wild && l.exact[host] == nil:
		l.exact[host] = s
	}
}

// normal is a host as handshakes name it.
func normal(host string) string {
	return strings.ToLower(strings.TrimSuffix(strings.TrimSpace(host), "."))
}
