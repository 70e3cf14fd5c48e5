package embedded

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/embedded/certs"
	"github.com/bootandshoot/release/router/embedded/proxyproto"
)

const (
	acceptPause  = 5 * time.Millisecond // after an error such as too many open files
	roomPatience = time.Second          // for others to make room, before it is looked whether there is still a listener
)

func listenTCP(address string) (*net.TCPListener, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return ln.(*net.TCPListener), nil
}

func listenFault(r *router.Route, address string, err error) error {
	_, port, _ := net.SplitHostPort(address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fault.New(fault.Exists, "route %q: listen on %s: the port is taken by another program", r.Name, address).
			WithHint("ss -ltnp 'sport = :%s' shows which; or choose another route.listen", port)
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.Denied, "route %q: listen on %s: %w", r.Name, address, err).
			WithHint("ports below net.ipv4.ip_unprivileged_port_start need root; or choose another route.listen")
	}
	return fault.New(fault.Failed, "route %q: listen on %s: %w", r.Name, address, err)
}

// listener accepts on one address. What a connection speaks is decided by the effective table at that moment, then by
// what the client begins with: HTTP/1.1 is served here, h2 by net/http.
type listener struct {
	e       *engine
	address string
	ln      *net.TCPListener
	h2      *connQueue
	server  *http.Server // of h2
	begin   sync.Once
	quit    context.Context // over when accepting is to end
	end     context.CancelFunc
	stopped chan struct{}

	mu       sync.Mutex
	conns    map[*h1conn]struct{}
	tcp      map[*tcpConn]struct{}
	starting map[*net.TCPConn]int64 // before their first request, since an instant
	resting  map[net.Conn]*resting  // h2, without a request
	leaving  bool                   // connections end as they become idle
}

func newListener(e *engine, address string, ln *net.TCPListener) *listener {
	l := &listener{
		e: e, address: address, ln: ln, h2: newConnQueue(ln.Addr()), stopped: make(chan struct{}),
		conns: map[*h1conn]struct{}{}, tcp: map[*tcpConn]struct{}{}, starting: map[*net.TCPConn]int64{}, resting: map[net.Conn]*resting{},
	}
	l.quit, l.end = context.WithCancel(context.Background())
	l.server = newH2Server(l)
	return l
}

// serverLog takes net/http's remarks on single connections (broken handshakes and the like): noise but for debugging.
func serverLog(l *slog.Logger) *log.Logger { return slog.NewLogLogger(l.Handler(), slog.LevelDebug) }

func (l *listener) start() {
	go l.acceptAll()
	go func() { _ = l.server.Serve(l.h2) }()
}

// acceptAll runs until the socket is closed or stop is called. Where descriptors are short, connections wait in the kernel.
func (l *listener) acceptAll() {
	defer close(l.stopped)
	for {
		c, err := l.ln.AcceptTCP()
		switch {
		case err == nil:
			number := numberOf(c)
			l.e.conns.Add(1)
			go l.serve(c, nil)
			if number >= l.e.descriptors.clients {
				l.awaitRoom()
			}
		case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
			return
		default:
			l.e.short("connections are not accepted", "listen", l.address, "error", err)
			time.Sleep(acceptPause)
			l.awaitRoom()
		}
	}
}

// awaitRoom waits until there are descriptors for clients, or accepting ends.
func (l *listener) awaitRoom() {
	for room := false; !room && l.quit.Err() == nil && numberOf(l.ln) != 0; {
		ctx, cancel := context.WithTimeout(l.quit, roomPatience)
		room = l.e.awaitRoom(ctx.Done(), l.e.descriptors.clients)
		cancel()
	}
}

// serve finds out what a connection speaks. given is the peer's address that a process before this one was told.
func (l *listener) serve(c *net.TCPConn, given *netip.AddrPort) {
	listen := l.e.listenOf(l.address)
	peer := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	var begun []byte
	if given != nil {
		peer = *given
	} else if listen != nil && listen.proxied != nil && listen.proxied.contain(peer.Addr().Unmap().WithZone("")) {
		var ok bool
		if peer, begun, ok = l.readProxy(c, peer); !ok {
			l.drop(c)
			return
		}
	}
	switch {
	case listen != nil && listen.tcp != nil:
		l.serveTCP(c, peer, begun)
	case listen != nil && listen.secure:
		l.serveTLS(c, peer, begun)
	default:
		l.serveH1(c, c, peer, begun)
	}
}

// drop ends a connection that served nothing.
func (l *listener) drop(c net.Conn) {
	_ = c.Close()
	l.e.conns.Add(-1)
}

// readProxy reads who a trusted proxy connects for.
func (l *listener) readProxy(c *net.TCPConn, peer netip.AddrPort) (src netip.AddrPort, rest []byte, ok bool) {
	defer l.starts(c)()
	_ = c.SetReadDeadline(l.e.now().Add(l.e.patience.handshake))
	src, _, rest, err := proxyproto.Read(c, make([]byte, 4<<10))
	_ = c.SetReadDeadline(time.Time{})
	if err != nil {
		l.e.rejected("no PROXY protocol header")
		return peer, nil, false
	}
	if !src.IsValid() {
		src = peer // the proxy's own connection
	}
	return src, rest, true
}

func (l *listener) serveTLS(c *net.TCPConn, peer netip.AddrPort, begun []byte) {
	config := l.e.current.Load().certs.TLSConfig(l.address)
	if config == nil {
		l.drop(c) // the table has changed just now
		return
	}
	started := l.starts(c)
	t := tls.Server(&peeked{TCPConn: c, begun: begun, peer: peer}, config)
	ctx, cancel := context.WithTimeout(context.Background(), l.e.patience.handshake)
	err := t.HandshakeContext(ctx)
	cancel()
	started()
	if err != nil {
		l.e.rejected("tls handshake")
		l.drop(c)
		return
	}
	switch t.ConnectionState().NegotiatedProtocol {
	case certs.ChallengeProtocol:
		l.drop(t)
	case "h2":
		l.toH2(t)
	default:
		l.serveH1(t, c, peer, nil)
	}
}

func (l *listener) serveH1(conn net.Conn, tcp *net.TCPConn, peer netip.AddrPort, begun []byte) {
	c, err := newH1(l, conn, tcp, peer, begun)
	if err != nil {
		l.drop(tcp)
		return
	}
	l.e.sweeper.add(c)
	defer l.e.sweeper.remove(c)
	c.serve()
	if !c.taken {
		l.e.conns.Add(-1)
	}
}

// toH2 lets net/http serve a connection.
func (l *listener) toH2(c net.Conn) {
	if !l.h2.put(c) {
		l.drop(c)
	}
}

// add keeps a connection in the list until remove. It may have been on its way here while the others were told to end.
func (l *listener) add(c *h1conn) {
	l.mu.Lock()
	l.conns[c] = struct{}{}
	leaving := l.leaving
	l.mu.Unlock()
	if leaving || c.plain && l.e.successor.Load() != nil {
		c.finishIdle()
	}
}

func (l *listener) remove(c *h1conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// finishIdle lets connections end as they become idle.
func (l *listener) finishIdle() {
	l.mu.Lock()
	l.leaving = true
	list := make([]*h1conn, 0, len(l.conns))
	for c := range l.conns {
		list = append(list, c)
	}
	l.mu.Unlock()
	for _, c := range list {
		c.finishIdle()
	}
}

// giveIdle makes plain connections go to the process after this one, now or when they become idle.
func (l *listener) giveIdle() {
	l.mu.Lock()
	list := make([]*h1conn, 0, len(l.conns))
	for c := range l.conns {
		if c.plain {
			list = append(list, c)
		}
	}
	l.mu.Unlock()
	for _, c := range list {
		c.finishIdle()
	}
}

// stop ends accepting without closing the socket, which another process has too. Connections stay.
func (l *listener) stop() {
	l.end()
	l.begin.Do(func() { close(l.stopped) })
	_ = l.ln.SetDeadline(time.Unix(1, 0))
	<-l.stopped
	_ = l.ln.Close()
}

// finish closes idle connections and waits for the others until ctx ends. Those of h2 are told that no more requests may come.
func (l *listener) finish(ctx context.Context) {
	l.finishIdle()
	h2 := make(chan struct{})
	go func() {
		defer close(h2)
		l.finishResting(ctx)
		_ = l.server.Shutdown(ctx)
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for l.count() > 0 && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	<-h2
}

// shutdown closes idle connections and waits for the others, at most for the given time; then it cuts them.
func (l *listener) shutdown(limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	l.finish(ctx)
	l.cutAll()
}

// count is how many connections there are that h2's server does not know of.
func (l *listener) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns) + len(l.tcp)
}

func (l *listener) cutAll() {
	_ = l.server.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.tcp.Close()
	}
	for c := range l.tcp {
		c.end()
	}
}

// peeked is a connection of which something was read already, and whose peer may be another than it seems.
type peeked struct {
	*net.TCPConn
	begun []byte
	peer  netip.AddrPort
}

// Read gives what was read already first.
func (p *peeked) Read(b []byte) (int, error) {
	if len(p.begun) > 0 {
		n := copy(b, p.begun)
		p.begun = p.begun[n:]
		return n, nil
	}
	return p.TCPConn.Read(b)
}

// RemoteAddr is the client's.
func (p *peeked) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(p.peer) }

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

// put says whether there is still somebody who accepts.
func (q *connQueue) put(c net.Conn) bool {
	select {
	case q.conns <- c:
		return true
	case <-q.closed:
		return false
	}
}

// Accept is net.Listener's.
func (q *connQueue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

// Close is net.Listener's.
func (q *connQueue) Close() error {
	q.once.Do(func() { close(q.closed) })
	return nil
}

// Addr is net.Listener's.
func (q *connQueue) Addr() net.Addr { return q.addr }
