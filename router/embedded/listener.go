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
