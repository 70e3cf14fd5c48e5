package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ChallengePrefix is what the paths of HTTP-01 begin with. [RFC 8555, section 8.3]
const ChallengePrefix = "/.well-known/acme-challenge/"

// lookupWithin bounds how long a storage may take that is asked for a challenge.
const lookupWithin = 5 * time.Second

// HTTPChallenge is the body of the answer, as text/plain, to a GET request for a path below ChallengePrefix on plain HTTP, with the
// host without its port; false when this or another router with the same storage is not proving the host just now, and the request is like any other.
func (m *Manager) HTTPChallenge(ctx context.Context, host, path string) (body string, ok bool) {
	token, found := strings.CutPrefix(path, ChallengePrefix)
	if !found || !validToken(token) {
		return "", false
	}
	host = normal(host)
	for _, a := range m.current.Load().hosts[host] {
		if body, ok := a.answer(ctx, host, path); ok {
			return body, true
		}
	}
	return "", false
}

// validToken says whether a token is of base64url's letters only, as all are.
func validToken(token string) bool {
	for _, c := range []byte(token) {
		if (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return token != ""
}

// answer has the library answer.
func (a *authority) answer(ctx context.Context, host, path string) (string, bool) {
	ctx, cancel := context.WithTimeout(ctx, lookupWithin)
	defer cancel()
	if a.m.enter(ctx) != nil {
		return "", false
	}
	defer a.m.leave()
	request := (&http.Request{Method: http.MethodGet, Host: host, URL: &url.URL{Path: path}, RequestURI: path, Header: http.Header{}}).WithContext(ctx)
	got := answer{header: http.Header{}}
	if !a.issuer.HandleHTTPChallenge(&got, request) {
		return "", false
	}
	return got.body.String(), true
}

// challenge proves the name in a handshake.
func (n *name) challenge(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	ctx, cancel := context.WithTimeout(hello.Context(), lookupWithin)
	defer cancel()
	if err := n.authority.m.enter(ctx); err != nil {
		return nil, fmt.Errorf("prove %s: %w", n.key.host, err)
	}
	defer n.authority.m.leave()
	c, err := n.authority.config.GetCertificateWithContext(ctx, hello)
	if err != nil {
		return nil, fmt.Errorf("prove %s: %w", n.key.host, err)
	}
	return c, nil
}

// enter and leave bound how many challenges are looked up at a time: anybody may ask for one.
func (m *Manager) enter(ctx context.Context) error {
	select {
	case m.lookups <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *Manager) leave() { <-m.lookups }

// answer is an http.ResponseWriter that keeps the body.
type answer struct {
	header http.Header
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }
func (a *answer) WriteHeader(int)             {}
