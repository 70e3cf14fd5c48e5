package certs

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"

	"github.com/bootandshoot/release/internal/pause"
	"github.com/bootandshoot/release/router"
)

// authorityKey is what makes certificates be got in another way.
type authorityKey struct {
	router.ACME
	roots string // contents of RootCA
	http  bool   // names are proved by HTTP-01 too
}

// authority is an account at an ACME directory, with the library's cache of what was got there and the upkeep of it.
type authority struct {
	key    authorityKey
	m      *Manager
	config *certmagic.Config // these three are set by open
	cache  *certmagic.Cache
	issuer *certmagic.ACMEIssuer

	begun map[string]*name // by host, the last one; guarded by the manager's mu
	names sync.Map         // host → *name, of those that are not ended
	work  sync.WaitGroup
}

func newAuthority(key authorityKey, m *Manager) *authority {
	return &authority{key: key, m: m, begun: map[string]*name{}}
}

// open starts the upkeep, if that was not done yet.
func (a *authority) open() {
	if a.config != nil {
		return
	}
	log := libraryLog(a.m.log)
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   a.configFor,
		RenewCheckInterval: a.m.renewEvery,
		Logger:             log,
	})
	config := certmagic.New(a.cache, certmagic.Config{Storage: a.m.storage, Logger: log, OnEvent: a.event})
	a.issuer = certmagic.NewACMEIssuer(config, certmagic.ACMEIssuer{
		CA:                   a.key.Directory,
		Email:                a.key.Email,
		Agreed:               true,
		TrustedRoots:         a.roots(),
		DisableHTTPChallenge: !a.key.http,
		ListenHost:           a.m.listenHost(),
		Logger:               log,
	})
	config.Issuers = []certmagic.Issuer{a.issuer}
	if a.key.Email == "" {
		config.Issuers = []certmagic.Issuer{anonymous{a.issuer}}
	}
	a.config = config
}

// close ends the upkeep when nothing is under way any more; what is cached stays.
func (a *authority) close() {
	go func() {
		a.work.Wait()
		a.cache.Stop()
	}()
}

// anonymous is an issuer for an account without an address. The library's own check would ask for one on the terminal, or take
// that of another account.
type anonymous struct{ *certmagic.ACMEIssuer }

func (anonymous) PreCheck(context.Context, []string, bool) error { return nil }

func (a *authority) roots() *x509.CertPool {
	if a.key.RootCA == "" {
		return nil
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(a.key.roots))
	return pool
}

// configFor tells the library how to renew a certificate. One that is not used any more, which a renewal that was under way
// put back, is forgotten.
func (a *authority) configFor(c certmagic.Certificate) (*certmagic.Config, error) {
	for _, host := range c.Names {
		if _, ok := a.names.Load(host); ok {
			return a.config, nil
		}
	}
	go a.forget(c.Names...) // the library holds a lock that this needs
	return nil, errors.New("it is not used any more")
}

func (a *authority) forget(hosts ...string) {
	var subjects []certmagic.SubjectIssuer
	for _, host := range hosts {
		subjects = append(subjects, certmagic.SubjectIssuer{Subject: host})
	}
	a.cache.RemoveManaged(subjects)
}

// event hears from the library how renewals go.
func (a *authority) event(_ context.Context, what string, data map[string]any) error {
	host, _ := data["identifier"].(string)
	found, ok := a.names.Load(host)
	if !ok {
		return nil
	}
	n := found.(*name)
	renewal, _ := data["renewal"].(bool)
	switch what {
	case "cert_obtained":
		n.failed("")
		a.m.log.Info("certificate obtained", "host", host, "renewal", renewal)
	case "cert_failed":
		if err, ok := data["error"].(error); ok && renewal {
			n.failed(summary(err))
			a.m.log.Warn("certificate is not renewed, it is tried again", "host", host, "error", summary(err))
		}
	}
	return nil
}

// summary is what a person needs of the library's long errors: what the authority said, if it said something.
func summary(err error) string {
	var p acme.Problem
	if !errors.As(err, &p) {
		return err.Error()
	}
	text := fmt.Sprintf("the certificate authority refuses: %s (%s)", p.Detail, p.Type)
	for _, sub := range p.Subproblems {
		text += fmt.Sprintf("; %s: %s", sub.Identifier.Value, sub.Detail)
	}
	return text
}

// prepareACME makes what obtaining needs on this machine.
func (m *Manager) prepareACME() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dir != "" {
		if err := os.MkdirAll(m.dir, 0o700); err != nil {
			return err
		}
	}
	if m.socket != nil {
		return nil
	}
	var err error
	m.socket, err = unreachable()
	return err
}

// unreachable is a listening socket that nobody can connect to. The library answers challenges on a listener of its own when
// it can have one; on this one it waits in vain, and the router's own listeners answer.
func unreachable() (*os.File, error) {
	dir, err := os.MkdirTemp("", "release-acme-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(dir, "none")})
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	return ln.File()
}

// listenHost names the unreachable socket as the library wants it: its descriptor, which the library duplicates. The file must
// stay open as long as any of the library's work may go on; so it is never closed, but collected with the manager.
func (m *Manager) listenHost() string {
	if m.socket == nil { // prepareACME failed; without an address the library would open ports
		return "127.0.0.1.invalid"
	}
	return fmt.Sprintf("fd/%d", m.socket.Fd())
}

const (
	tidyEvery  = 24 * time.Hour
	keepUnused = 30 * 24 * time.Hour // after their end
)

// tidy begins or ends, as told, to remove from the storage what has expired long ago. It is called with mu held.
func (m *Manager) tidy(on bool) {
	switch {
	case !on && m.tidied != nil:
		m.tidied()
		m.tidied = nil
	case on && m.tidied == nil:
		var ctx context.Context
		ctx, m.tidied = context.WithCancel(context.Background())
		go m.keepTidy(ctx)
	}
}

func (m *Manager) keepTidy(ctx context.Context) {
	for pause.For(ctx, tidyEvery) == nil {
		err := certmagic.CleanStorage(ctx, m.storage, certmagic.CleanStorageOptions{
			Logger: libraryLog(m.log), Interval: tidyEvery, OCSPStaples: true, ExpiredCerts: true, ExpiredCertGracePeriod: keepUnused,
		})
		if err != nil && ctx.Err() == nil {
			m.log.Warn("storage of certificates is not tidied", "error", err)
		}
	}
}
