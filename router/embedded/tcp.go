package embedded

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"

	"github.com/bootandshoot/release/router/embedded/http1"
)

// tcpConn is a client's connection of a TCP route, joined with one to a node.
type tcpConn struct {
	client, node *net.TCPConn
	once         sync.Once
}

// end is longConn's: there is no way to tell either end why.
func (t *tcpConn) end() {
	t.once.Do(func() {
		_ = t.client.Close()
		_ = t.node.Close()
	})
}

// finish tells one end that the other has sent all it had; after an error both are reset: half of what was sent must not
// look like all of it.
func (t *tcpConn) finish(to *net.TCPConn, err error) {
	if err == nil {
		_ = to.CloseWrite()
		return
	}
	t.once.Do(func() {
		for _, c := range []*net.TCPConn{t.client, t.node} {
			_ = c.SetLinger(0)
			_ = c.Close()
		}
	})
}

// serveTCP splits connections as requests are split.
func (l *listener) serveTCP(c *net.TCPConn, peer netip.AddrPort, begun []byte) {
	defer l.drop(c)
	x := &exchange{e: l.e, address: l.address, peer: peer, proto: "TCP", ctx: context.Background()}
	x.begin(&http1.Head{Method: []byte("CONNECT"), Path: []byte("/")}, nil)
	l.e.inFlight.Add(1)
	defer x.finish()
	if !x.match() {
		return
	}
	node, err := x.dialTCP()
	if err != nil {
		x.outcome = err.Error()
		x.route.stats.failed.Add(1)
		if errors.Is(err, errNoNode) {
			x.route.stats.noNode.Add(1)
		}
		return
	}
	if len(begun) > 0 {
		if _, err := node.Write(begun); err != nil {
			x.outcome = err.Error()
		}
	}
	l.join(x, &tcpConn{client: c, node: node})
}

// dialTCP connects to one node after another, as far as a request would go: a fleet in trouble must not get more connections.
func (x *exchange) dialTCP() (*net.TCPConn, error) {
	last := errNoNode
	for {
		if err := x.acquire(); err != nil {
			return nil, last
		}
		x.tries++
		x.node.stats.requests.Add(1)
		c, err := x.e.dial(x.ctx, &net.Dialer{}, x.node.address)
		if err == nil {
			x.node.reached()
			return c, nil
		}
		last = err
		why := x.classify(err)
		x.countFailure(why)
		if why == causeLocal {
			x.node.stats.requests.Add(^uint64(0)) // it never got there
		}
		if !x.mayRepeat(why) {
			return nil, last
		}
		x.choice.tried = append(x.choice.tried, x.node)
		x.release()
		x.route.stats.retried.Add(1)
	}
}

// join moves bytes both ways until both ends have closed.
func (l *listener) join(x *exchange, t *tcpConn) {
	x.node.beginLong(x.e, t)
	defer x.node.endLong(t)
	l.mu.Lock()
	l.tcp[t] = struct{}{}
	l.mu.Unlock()
	up := make(chan struct{})
	go func() {
		defer close(up)
		_, err := io.Copy(t.node, t.client)
		t.finish(t.node, err)
	}()
	var err error
	x.bytes, err = io.Copy(t.client, t.node)
	t.finish(t.client, err)
	<-up
	l.mu.Lock()
	delete(l.tcp, t)
	l.mu.Unlock()
	t.end()
}
