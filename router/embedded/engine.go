package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bootandshoot/release/internal/failpoint"
	"github.com/bootandshoot/release/internal/pairfile"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/embedded/certs"
)

// engine is the data plane of one process: the effective table, and everything that serves it.
type engine struct {
	cfg      Config
	log      *slog.Logger
	now      func() time.Time
	random   func() uint64
	bounds   []float64
	bufs     *buffers
	access   *accessLog
	tracer   *tracer // nil: no spans
	sweeper  *sweeper
	reasons  rejections
	patience patience

	descriptors *descriptors

	current   atomic.Pointer[compiled]   // nil: no table yet
	successor atomic.Pointer[idleSender] // takes idle connections over
	draining  atomic.Bool                // it handed over or stops: answers say Connection: close
	conns     atomic.Int64               // clients' connections that the HTTP servers hold
	inFlight  atomic.Int64               // requests, upgraded ones included
	follows   atomic.Bool                // its predecessor still finishes
	closeBy   atomic.Int64               // when all long connections are to have ended, an instant; 0: they may stay

	mu        sync.Mutex // one Apply or handover at a time
	tables    *pairfile.File
	put       pairfile.Put // writes a table
	memory    *memory
	listeners *listeners
	certs     *certs.Manager
}

func newEngine(cfg Config) *engine {
	e := &engine{
		cfg:      cfg,
		log:      cfg.Log,
		now:      time.Now,
		random:   rand.Uint64,
		bounds:   router.LatencyBounds(),
		bufs:     newBuffers(),
		sweeper:  newSweeper(),
		memory:   newMemory(),
		patience: newPatience(),
		tables:   pairfile.New(filepath.Join(cfg.Dir, tableName), 0o600),
		put:      pairfile.PutWaiting,

		descriptors: newDescriptors(),
	}
	e.listeners = newListeners(e)
	e.certs = certs.New(certs.Options{
		Dir: filepath.Join(cfg.Dir, certsName), Storage: cfg.CertStorage, Log: cfg.Log, Now: func() time.Time { return e.now() },
	})
	return e
}

// apply is router.Backend's Apply for this process.
func (e *engine) apply(ctx context.Context, t router.Table) error {
	if err := t.Validate(); err != nil {
		return err
	}
	b, err := t.Encode()
	if err != nil {
		return err
	}
	return e.place(ctx, t.Canonical(), b)
}

// place applies a table as router.Decode gives it; b is what it was decoded from, and goes to the disk. Order: open what the
// table needs, make it durable, then effective, then close what it needs no more.
func (e *engine) place(ctx context.Context, t router.Table, b []byte) error {
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
	c := e.memory.compile(t, instant(e.now()))
	var err error
	if c.certs, err = e.certs.Prepare(t.Routes); err != nil {
		return err
	}
	opened, err := e.listeners.openNew(c, false)
	if err != nil {
		return err
	}
	failpoint.Pass(failpoint.RouterWrite)
	if err := e.save(t.Version, b); err != nil {
		e.listeners.undo(opened)
		return err
	}
	failpoint.Pass(failpoint.RouterWritten)
	e.swap(c, true)
	failpoint.Pass(failpoint.RouterSwapped)
	return nil
}

// swap makes the table effective. In a process that does not listen any more, listeners and certificates are another one's.
func (e *engine) swap(c *compiled, listens bool) {
	if listens {
		e.certs.Use(c.certs)
	}
	c.forgive()
	e.current.Store(c)
	if listens {
		e.listeners.accept()
	}
	e.memory.keep(e, c)
	if listens {
		e.listeners.retain(c)
	}
	e.memory.serveAll(true)
	e.memory.closeLong(c, e.now())
	e.memory.fail(c)
}

// follow makes a table effective in a process that has handed over: its listeners and its disk are its successor's.
func (e *engine) follow(t router.Table) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if old := e.current.Load(); old != nil && t.Version.Compare(old.table.Version) <= 0 {
		return nil
	}
	c := e.memory.compile(t.Canonical(), instant(e.now()))
	if old := e.current.Load(); old != nil {
		c.certs = old.certs
	}
	e.swap(c, false)
	return nil
}

// restore serves the table on disk. Listeners that do not open are tried again later; certificates that do not load
// are read again at each handshake.
func (e *engine) restore() error {
	t, err := e.load()
	if errors.Is(err, router.ErrNoTable) {
		return nil
	}
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.memory.compile(t, instant(e.now()))
	if c.certs, err = e.certs.Prepare(t.Routes); err != nil {
		e.log.Error("certificate does not load", "error", err)
	}
	e.listeners.openAll(c)
	e.swap(c, true)
	return nil
}

// takeTurn begins to accept where the listeners were held.
func (e *engine) takeTurn() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.listeners.held = false
	if e.current.Load() != nil {
		e.listeners.accept()
	}
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
	for _, n := range e.memory.nodes {
		n.tidy(e, e.now())
	}
	e.memory.forget(e, c)
	e.memory.serveAll(false)
}

// applied is the effective table.
func (e *engine) applied() (router.Table, error) {
	c := e.current.Load()
	if c == nil {
		return router.Table{}, router.ErrNoTable
	}
	return c.table, nil
}

// listenOf is what a listen address serves in the effective table, or nil.
func (e *engine) listenOf(address string) *listen {
	if c := e.current.Load(); c != nil {
		return c.listens[address]
	}
	return nil
}

// cut ends a node's long connections.
func (e *engine) cut(fleet, name string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	cut := 0
	for k, n := range e.memory.nodes {
		if k.fleet == fleet && k.name == name {
			cut += n.cut(0)
		}
	}
	return cut
}

// cutAll ends every long connection.
func (e *engine) cutAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range e.memory.nodes {
		n.cut(0)
	}
}
