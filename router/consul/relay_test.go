package consul

import (
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
)

// relay is a way to Consul over a unix socket, which also processes with a network of their own can go, and which can be cut.
type relay struct {
	Address string // as Consul's address
	t       *testing.T
	target  string
	ln      net.Listener

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

func newRelay(t *testing.T, target string) *relay {
	t.Helper()
	path := filepath.Join(t.TempDir(), "consul.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Address: "unix://" + path, t: t, target: target, ln: ln, conns: map[net.Conn]bool{}}
	go r.serve()
	t.Cleanup(func() {
		_ = ln.Close()
		r.Cut(true)
	})
	return r
}

// Cut breaks all connections and holds new ones without an answer, as a network does that drops packets; or ends that.
func (r *relay) Cut(cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = cut
	for c := range r.conns {
		_ = c.Close()
	}
	r.conns = map[net.Conn]bool{}
}

func (r *relay) serve() {
	for {
		c, err := r.ln.Accept()
		if err != nil {
			return
		}
		go r.pass(c)
	}
}

// keep notes a connection; false while the way is cut.
func (r *relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[c] = true
	return !r.cut
}

func (r *relay) pass(c net.Conn) {
	if !r.keep(c) {
		return // it hears nothing until the way is free again, and is closed then
	}
	defer c.Close()
	out, err := net.Dial("tcp", r.target)
	if err != nil {
		return
	}
	defer out.Close()
	r.keep(out)
	go func() {
		defer out.Close()
		_, _ = io.Copy(out, c)
	}()
	_, _ = io.Copy(c, out)
}
