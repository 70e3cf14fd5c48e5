package embedded

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// A connection that one end resets is reset at the other: what ends in the middle must not look whole.
func TestTCPReset(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan *net.TCPConn, 2)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello")
			accepted <- c.(*net.TCPConn)
		}
	}()
	e := startEngine(t, nil)
	listen := routertest.FreeListen(t)
	route := router.Route{Name: "db", Listen: listen, Protocol: router.TCP, Fleets: []router.Fleet{
		{ID: "db/1", Release: "r1", Weight: 100, Nodes: []router.Node{{Name: "a", Address: l.Addr().String()}}},
	}}
	e.mustApply(t, routertest.TableOf(1, route))

	for name, nodeFirst := range map[string]bool{"by the node": true, "by the client": false} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", listen)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
			first, second := <-accepted, c.(*net.TCPConn)
			if !nodeFirst {
				first, second = second, first
			}
			defer second.Close()
			_ = first.SetLinger(0)
			_ = first.Close()
			if n, err := second.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the other end read %d bytes, %v; want that it was reset", n, err)
			}
			routertest.Eventually(t, "nothing is left", func() bool { return e.inFlight.Load() == 0 })
		})
	}
}
