package embedded

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// connTo is a connection whose other end already got and answered one request.
func connTo(t *testing.T) (ours *nodeConn, theirs *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e := newEngine(Config{Dir: t.TempDir()}.withDefaults())
	ours, err = newNode(nodeKey{address: l.Addr().String()}, 0).dial(context.Background(), e)
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ours.close(e)
		_ = peer.Close()
	})
	b := make([]byte, 5)
	ours.begin()
	_, _ = ours.Write([]byte("first"))
	_, _ = io.ReadFull(peer, b)
	_, _ = peer.Write([]byte("reply"))
	_, _ = io.ReadFull(ours, b)
	return ours, peer.(*net.TCPConn)
}

func TestUnseen(t *testing.T) {
	request := []byte("POST / HTTP/1.1\r\n\r\n")
	tests := []struct {
		name string
		node func(*net.TCPConn) // after the request was written
		idle func(*net.TCPConn) // before
		want bool
	}{
		{"closed while idle", nil, func(c *net.TCPConn) { _ = c.Close() }, true},
		{"read and closed", func(c *net.TCPConn) { _, _ = io.ReadFull(c, make([]byte, len(request))); _ = c.Close() }, nil, false},
		{"half read and closed", func(c *net.TCPConn) { _, _ = io.ReadFull(c, make([]byte, 3)); _ = c.Close() }, nil, false},
		{"reset unread", func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() }, nil, false},
		{"end of stream after the request came", func(c *net.TCPConn) { _ = c.CloseWrite() }, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, peer := connTo(t)
			if tt.idle != nil {
				tt.idle(peer)
			}
			c.begin()
			_, _ = c.Write(request)
			if tt.node != nil {
				tt.node(peer)
			}
			if err := c.fill(time.Now); err == nil {
				t.Fatal("the connection did not end")
			}
			if got := c.unseen(); got != tt.want {
				t.Errorf("unseen %v, want %v (acknowledged %d, begun at %d)", got, tt.want, c.acked.Load(), c.mark)
			}
		})
	}
}

// A node that closes after each answer without saying so costs POSTs at most while that is being learned.
func TestPostOnAClosedIdleConnection(t *testing.T) {
	e := startEngine(t, nil)
	node := rawNode(t, "a", func(c net.Conn, r *bufio.Reader) {
		if readHead(r) {
			_, _ = io.CopyN(io.Discard, r, 4)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	listen := e.serveNodes(t, node)
	lost := 0
	for range 300 {
		if res, _ := fetch(t, http.MethodPost, "http://"+listen+"/", "body", nil); res.StatusCode != 200 {
			lost++ // it reached the node's kernel before the node closed: nothing can tell whether it was read
		}
	}
	r := e.routeTraffic()
	if lost > 2 || r.Failed != uint64(lost) || r.Retried != 0 {
		t.Errorf("%d of 300 lost, route %+v", lost, r)
	}
}
