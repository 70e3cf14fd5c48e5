package embedded

import (
	"context"
	"errors"
	"io/fs"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

const (
	readHeaderTimeout = 10 * time.Second
	maxHeaderBytes    = 64 << 10
	acceptPause       = 5 * time.Millisecond // after an error such as too many open files
)

// listeners is the set of open listen addresses. Its methods are called with engine.mu held; states may be read at
// any time.
type listeners struct {
	e      *engine
	mu     sync.Mutex
	open   map[string]*listener
	failed map[string]string // listen address → why it does not serve
}

func newListeners(e *engine) *listeners {
	return &listeners{e: e, open: map[string]*listener{}, failed: map[string]string{}}
}

// openNew opens what the table needs beyond what is open, or nothing at all.
func (s *listeners) openNew(c *compiled) (opened []string, err error) {
	for _, r := range c.table.Routes {
		if s.has(r.Listen) {
			continue
		}
		if err := s.openOne(c, r.Listen); err != nil {
			s.undo(opened)
			return nil, listenFault(&r, err)
		}
		opened = append(opened, r.Listen)
	}
	return opened, nil
}

// openAll opens what it can and remembers why the rest does not serve.
func (s *listeners) openAll(c *compiled) {
	for _, r := range c.table.Routes {
		if s.has(r.Listen) {
			continue
		}
		err := s.openOne(c, r.Listen)
		s.mu.Lock()
		if err == nil {
			delete(s.failed, r.Listen)
		} else {
			if s.failed[r.Listen] == "" {
				s.e.log.Error("listen address does not open, it is tried again", "route", r.Name, "error", err)
			}
			s.failed[r.Listen] = err.Error()
		}
		s.mu.Unlock()
	}
}

func (s *listeners) has(address string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[address] != nil
}

// openOne opens one address. When the port is held by one of our own that the table no longer needs (":80" became
// "127.0.0.1:80"), that one gives way.
func (s *listeners) openOne(c *compiled, address string) error {
	ln, err := listenTCP(address)
	if errors.Is(err, syscall.EADDRINUSE) {
		if way := s.inTheWay(c, address); way != nil {
			_ = way.ln.Close()
			if ln, err = listenTCP(address); err != nil {
				s.reopen(way)
			}
		}
	}
	if err != nil {
		return err
	}
	s.adopt(address, ln)
	return nil
}

func (s *listeners) inTheWay(c *compiled, address string) *listener {
	_, port, _ := net.SplitHostPort(address)
	s.mu.Lock()
	defer s.mu.Unlock()
	for other, l := range s.open {
		if _, p, _ := net.SplitHostPort(other); p == port && c.listens[other] == nil {
			return l
		}
	}
	return nil
}

// reopen brings back a listener that gave way in vain.
func (s *listeners) reopen(l *listener) {
	ln, err := listenTCP(l.address)
	if err != nil {
		s.e.log.Error("listen address was lost", "listen", l.address, "error", err)
		s.mu.Lock()
		s.failed[l.address] = err.Error()
		delete(s.open, l.address)
		s.mu.Unlock()
		return
	}
	s.adopt(l.address, ln)
	s.accept()
}

// adopt keeps an open socket. Connections wait in the kernel until accept is called, so that none finds no route.
func (s *listeners) adopt(address string, ln *net.TCPListener) {
	l := newListener(s.e, address, ln)
	s.mu.Lock()
	s.open[address] = l
	s.mu.Unlock()
}

// accept begins to serve what is open. It is called once the table is effective.
func (s *listeners) accept() {
	for _, l := range s.all() {
		l.begin.Do(l.start)
	}
}

// undo closes what openNew opened for a table that is refused after all. Nobody was told that it serves.
func (s *listeners) undo(opened []string) {
	for _, a := range opened {
		s.remove(a)
	}
}

// retain closes what the effective table needs no more: no new connections; those there finish what they have.
func (s *listeners) retain(c *compiled) {
	for _, a := range s.addresses() {
		if c.listens[a] == nil {
			s.remove(a)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for a := range s.failed {
		if c.listens[a] == nil {
			delete(s.failed, a)
		}
	}
}

func (s *listeners) remove(address string) {
	s.mu.Lock()
	l := s.open[address]
	delete(s.open, address)
	s.mu.Unlock()
	if l == nil {
		return
	}
	_ = l.ln.Close()
	go l.shutdown(s.e.cfg.HandoffTimeout)
}

func (s *listeners) addresses() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]string, 0, len(s.open))
	for a := range s.open {
		out = append(out, a)
	}
	slices.Sort(out)
	return out
}

// all is the open listeners.
func (s *listeners) all() []*listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*listener, 0, len(s.open))
	for _, l := range s.open {
		out = append(out, l)
	}
	return out
}

// states lists open and failed addresses.
func (s *listeners) states() []router.ListenerState {
	var out []router.ListenerState
	for _, a := range s.addresses() {
		out = append(out, router.ListenerState{Listen: a})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for a, why := range s.failed {
		out = append(out, router.ListenerState{Listen: a, Error: why})
	}
	slices.SortFunc(out, func(a, b router.ListenerState) int { return strings.Compare(a.Listen, b.Listen) })
	return out
}

func listenTCP(address string) (*net.TCPListener, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return ln.(*net.TCPListener), nil
}

func listenFault(r *router.Route, err error) error {
	_, port, _ := net.SplitHostPort(r.Listen)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fault.New(fault.Exists, "route %q: listen on %s: the port is taken by another program", r.Name, r.Listen).
			WithHint("ss -ltnp 'sport = :%s' shows which; or choose another route.listen", port)
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.Denied, "route %q: listen on %s: %w", r.Name, r.Listen, err).
			WithHint("ports below net.ipv4.ip_unprivileged_port_start need root; or choose another route.listen")
	}
	return fault.New(fault.Failed, "route %q: listen on %s: %w", r.Name, r.Listen, err)
}

// listener accepts on one address and hands each connection to the plain or the TLS server, as the effective table
// says at that moment.
type listener struct {
	e          *engine
	address    string
	ln         *net.TCPListener
	plain, tls *connQueue
	servers    [2]*http.Server
	begin      sync.Once
	stopped    chan struct{}
}

func newListener(e *engine, address string, ln *net.TCPListener) *listener {
	l := &listener{
		e: e, address: address, ln: ln,
		plain: newConnQueue(ln.Addr()), tls: newConnQueue(ln.Addr()),
		stopped: make(chan struct{}),
	}
	for i := range l.servers {
		l.servers[i] = e.newServer(address)
	}
	l.servers[1].TLSConfig = e.tlsConfig(address)
	return l
}

func (e *engine) newServer(address string) *http.Server {
	return &http.Server{
		Handler:           e.handler(address),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       e.cfg.IdleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          serverLog(e.log),
		ConnContext:       withClientConn,
		ConnState: func(_ net.Conn, s http.ConnState) {
			switch s {
			case http.StateNew:
				e.conns.Add(1)
			case http.StateClosed, http.StateHijacked:
				e.conns.Add(-1)
			}
		},
	}
}

// serverLog takes net/http's remarks on single connections (broken handshakes and the like): noise but for debugging.
func serverLog(l *slog.Logger) *log.Logger { return slog.NewLogLogger(l.Handler(), slog.LevelDebug) }

func (l *listener) start() {
	go l.acceptAll()
	go func() { _ = l.servers[0].Serve(l.plain) }()
	go func() { _ = l.servers[1].ServeTLS(l.tls, "", "") }()
}

// acceptAll runs until the socket is closed or stop is called.
func (l *listener) acceptAll() {
	defer close(l.stopped)
	for {
		c, err := l.ln.AcceptTCP()
		switch {
		case err == nil:
			if l.e.secure(l.address) {
				l.tls.put(c)
			} else {
				l.plain.put(&clientConn{TCPConn: c})
			}
		case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
			return
		default:
			l.e.log.Warn("accept", "listen", l.address, "error", err)
			time.Sleep(acceptPause)
		}
	}
}

// stop ends accepting without closing the socket, which another process has too. Connections stay.
func (l *listener) stop() {
	l.begin.Do(func() { close(l.stopped) })
	_ = l.ln.SetDeadline(time.Unix(1, 0))
	<-l.stopped
	_ = l.ln.Close()
}

// shutdown closes every listener, then their connections as they get idle, at most for the given time.
func (s *listeners) shutdown(limit time.Duration) {
	var wait sync.WaitGroup
	for _, l := range s.all() {
		_ = l.ln.Close()
		wait.Go(func() { l.shutdown(limit) })
	}
	wait.Wait()
}

// shutdown closes idle connections and waits for the others, at most for the given time.
func (l *listener) shutdown(limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var wait sync.WaitGroup
	for _, s := range l.servers {
		wait.Go(func() {
			if s.Shutdown(ctx) != nil {
				_ = s.Close()
			}
		})
	}
	wait.Wait()
}

// connQueue is a net.Listener fed by hand.
type connQueue struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newConnQueue(addr net.Addr) *connQueue {
	return &connQueue{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (q *connQueue) put(c net.Conn) {
	select {
	case q.conns <- c:
	case <-q.closed:
		_ = c.Close()
	}
}

func (q *connQueue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

func (q *connQueue) Close() error {
	q.once.Do(func() { close(q.closed) })
	return nil
}

func (q *connQueue) Addr() net.Addr { return q.addr }
