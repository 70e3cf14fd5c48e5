package embedded

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// engine is the data plane of one process: the effective table, and everything that serves it.
type engine struct {
	cfg    Config
	log    *slog.Logger
	now    func() time.Time
	random func() uint64
	bounds []float64
	bufs   *bufferPool
	access *accessLog

	current  atomic.Pointer[compiled] // nil: no table yet
	draining atomic.Bool              // it handed over or stops: answers say Connection: close
	conns    atomic.Int64             // clients' connections that the HTTP servers hold
	inFlight atomic.Int64             // requests, upgraded ones included

	mu        sync.Mutex // one Apply or handover at a time
	memory    *memory
	listeners *listeners
}

func newEngine(cfg Config) *engine {
	e := &engine{
		cfg:    cfg,
		log:    cfg.Log,
		now:    time.Now,
		random: rand.Uint64,
		bounds: router.LatencyBounds(),
		bufs:   newBufferPool(),
		memory: newMemory(),
	}
	e.listeners = newListeners(e)
	return e
}

// apply is router.Backend's Apply for this process. Order: validate, open what the table needs, make it durable, then
// effective, then close what it needs no more.
func (e *engine) apply(ctx context.Context, t router.Table) error {
	if err := t.Validate(); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("apply table %s: %w", t.Version, err)
	}
	if old := e.current.Load(); old != nil {
		if same, err := t.Supersedes(old.table); same || err != nil {
			return err
		}
	}
	t = t.Canonical()
	c := e.memory.compile(t, e.cfg)
	if err := c.loadCertificates(); err != nil {
		return err
	}
	opened, err := e.listeners.openNew(c)
	if err != nil {
		return err
	}
	if err := e.save(t); err != nil {
		e.listeners.undo(opened)
		return err
	}
	e.swap(c)
	return nil
}

// swap makes the table effective.
func (e *engine) swap(c *compiled) {
	e.current.Store(c)
	e.listeners.accept()
	e.memory.keep(c)
	e.listeners.retain(c)
}

// follow makes a table effective in a process that has handed over: its listeners and its disk are its successor's.
func (e *engine) follow(t router.Table) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if old := e.current.Load(); old != nil && t.Version.Compare(old.table.Version) <= 0 {
		return nil
	}
	c := e.memory.compile(t.Canonical(), e.cfg)
	if err := c.loadCertificates(); err != nil {
		return err
	}
	e.current.Store(c)
	e.memory.keep(c)
	return nil
}

func (c *compiled) loadCertificates() error {
	for _, r := range c.table.Routes {
		if r.TLS == nil {
			continue
		}
		if err := c.certs[*r.TLS].load(); err != nil {
			return fault.New(fault.Invalid, "route %q: %w", r.Name, err).
				WithHint("check that both files are PEM, belong together and can be read by the router's user")
		}
	}
	return nil
}

// save makes the table durable.
func (e *engine) save(t router.Table) error {
	b, err := t.Encode()
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(e.cfg.Dir, tableName), b, 0o600); err != nil {
		code := fault.Failed
		if errors.Is(err, syscall.ENOSPC) {
			code = fault.NoSpace
		}
		return fault.New(code, "apply table %s: %w", t.Version, err)
	}
	return nil
}

// restore serves the table on disk. Listeners that do not open are tried again later; certificates that do not load
// are read again at each handshake.
func (e *engine) restore() error {
	path := filepath.Join(e.cfg.Dir, tableName)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read table: %w", err)
	}
	t, err := router.Decode(b)
	if fault.Is(err, fault.Unsupported) {
		return err
	}
	if err != nil {
		e.log.Error("table on disk does not read, put aside", "path", path+".bad", "error", err)
		return os.Rename(path, path+".bad")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.memory.compile(t, e.cfg)
	if err := c.loadCertificates(); err != nil {
		e.log.Error("certificate does not load", "error", err)
	}
	e.listeners.openAll(c)
	e.swap(c)
	return nil
}

// tidy opens what a restored table needs and could not get, and forgets nodes that became empty.
func (e *engine) tidy() {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.current.Load()
	if c == nil {
		return
	}
	if !e.draining.Load() {
		e.listeners.openAll(c)
		e.listeners.accept()
	}
	e.memory.forget(c)
}

// applied is the effective table.
func (e *engine) applied() (router.Table, error) {
	c := e.current.Load()
	if c == nil {
		return router.Table{}, router.ErrNoTable
	}
	return c.table, nil
}

// tlsConfig shows the certificate that the effective table has for the listen address and server name.
func (e *engine) tlsConfig(address string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			c := e.current.Load()
			if c == nil || c.listens[address] == nil || c.listens[address].certs == nil {
				return nil, errors.New("no TLS route on " + address)
			}
			return c.listens[address].certificateFor(hello.ServerName).get(e.now(), e.log)
		},
	}
}

// secure says whether connections to the listen address are TLS in the effective table.
func (e *engine) secure(address string) bool {
	c := e.current.Load()
	return c != nil && c.listens[address] != nil && c.listens[address].certs != nil
}

// handler serves the requests of one listen address.
func (e *engine) handler(address string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.inFlight.Add(1)
		defer e.inFlight.Add(-1)
		newExchange(e, address, r).serve(w, r)
	})
}

// cut ends a node's upgraded connections.
func (e *engine) cut(fleet, name string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	cut := 0
	for k, n := range e.memory.nodes {
		if k.fleet == fleet && k.name == name {
			cut += n.cut()
		}
	}
	return cut
}

// cutAll ends every upgraded connection.
func (e *engine) cutAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range e.memory.nodes {
		n.cut()
	}
}
