package certs

import (
	"context"
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
)

// Storage is where accounts and certificates are kept and locked, as the ACME library sees it.
type Storage = certmagic.Storage

// Options is what a Manager is made with. One of Dir and Storage is required for routes with ACME.
type Options struct {
	Dir     string  // folder for accounts and certificates; it is made with mode 0700
	Storage Storage // instead of Dir: shared by several routers
	Log     *slog.Logger
	Now     func() time.Time // for what files hold; the ACME library knows the machine's clock only. nil: time.Now
	// RenewEvery is how often it is looked which certificates are due, a third of their life before they end (default 10 m).
	RenewEvery time.Duration
}

// Manager holds the certificates of a router process. Its methods may be called at any time by any goroutine.
type Manager struct {
	storage    certmagic.Storage
	dir        string
	log        *slog.Logger
	now        func() time.Time
	renewEvery time.Duration
	lookups    chan struct{} // bounds how many challenges are looked up in storage at a time

	current atomic.Pointer[Set]

	mu     sync.Mutex             // of what follows
	bases  map[string]*tls.Config // by listen address; they hold the keys of session tickets
	socket *os.File               // see unreachable
	tidied context.CancelFunc     // ends tidying of the storage; nil: it was never begun
	closed bool
}

const maxLookups = 16

// New returns a manager that holds nothing yet.
func New(o Options) *Manager {
	m := &Manager{
		storage: o.Storage, dir: o.Dir, log: o.Log, now: o.Now, renewEvery: o.RenewEvery,
		lookups: make(chan struct{}, maxLookups),
		bases:   map[string]*tls.Config{},
	}
	if m.storage == nil {
		m.storage = &certmagic.FileStorage{Path: o.Dir}
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.now == nil {
		m.now = time.Now
	}
	if m.renewEvery <= 0 {
		m.renewEvery = certmagic.DefaultRenewCheckInterval
	}
	m.current.Store(&Set{})
	return m
}

// Use makes a prepared set effective for all listen addresses, also for TLS configurations that were handed out before. A set is
// used once: what the next one does not need is ended.
func (m *Manager) Use(s *Set) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	old := m.current.Load()
	for _, a := range s.authorities {
		a.open()
	}
	m.current.Store(s)
	for _, n := range s.names {
		n.begin()
	}
	for key, n := range old.names {
		if s.names[key] != n {
			n.end()
		}
	}
	for key, a := range old.authorities {
		if s.authorities[key] != a {
			a.close()
		}
	}
	for address := range m.bases {
		if s.listens[address] == nil {
			delete(m.bases, address)
		}
	}
	m.tidy(len(s.authorities) > 0)
}

// Close ends what is done in the background. Certificates that are there are shown on.
func (m *Manager) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.closed = true
	s := m.current.Load()
	for _, n := range s.names {
		n.keep.Store(true)
		n.end()
	}
	for _, a := range s.authorities {
		a.close()
	}
	if m.tidied != nil {
		m.tidied()
	}
}

// base is the configuration that connections to a listen address are accepted with. It is the same one as long as the
// address has TLS, so that the keys of its session tickets are; what it shows is the effective set's.
func (m *Manager) base(address string) *tls.Config {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.bases[address]; c != nil {
		return c
	}
	c := &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: protocols(true),
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return m.current.Load().configFor(address, hello)
		},
	}
	m.bases[address] = c
	return c
}
