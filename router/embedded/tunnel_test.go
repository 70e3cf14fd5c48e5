package embedded

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/router/routertest"
)

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

// echoNode changes the protocol and sends back what comes.
func echoNode(t *testing.T) *routertest.TestNode {
	return rawNode(t, "a", func(c net.Conn, r *bufio.Reader) {
		if readHead(r) {
			_, _ = io.WriteString(c, switching)
			_, _ = io.Copy(c, r)
		}
	})
}

func upgradeOf(path string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
}

// opened is a client whose upgrade was accepted.
func (r *rig) opened(path string) *client {
	r.t.Helper()
	c := r.dial(upgradeOf(path))
	res, _, err := c.answer("GET")
	if err != nil || res.StatusCode != 101 || res.Header.Get("Upgrade") != "echo" {
		r.t.Fatalf("%+v, %v", res, err)
	}
	return c
}

// echo sends text and wants it back.
func (c *client) echo(text string) {
	c.t.Helper()
	go c.send(text)
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c.r, got); err != nil || string(got) != text {
		c.t.Fatalf("echo of %d bytes: %.100q, %v", len(text), got, err)
	}
}

// What was said after an upgrade does not change what the log says of the request.
func TestTunnelsAreLogged(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		r := startRig(t, secure, echoNode(t))
		defer r.settle()
		for i := range 5 {
			c := r.opened("/path/" + strings.Repeat("x", i))
			c.echo(strings.Repeat("y", 100<<10))
			_ = c.Conn.Close()
			routertest.Eventually(t, "it is over", func() bool { return r.e.inFlight.Load() == 0 })
		}
		for i, entry := range r.logged() {
			if entry.Path != "/path/"+strings.Repeat("x", i) || entry.Method != "GET" || entry.Host != "x" || entry.Status != 101 || entry.Bytes != 100<<10 {
				t.Errorf("%+v", entry)
			}
		}
	})
}

// What comes right behind the request, or the node's answer, belongs to the new protocol.
func TestTunnelBytesThatComeEarly(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		node := rawNode(t, "a", func(c net.Conn, r *bufio.Reader) {
			if readHead(r) {
				_, _ = io.WriteString(c, switching+"node first,")
				_, _ = io.Copy(c, r)
			}
		})
		r := startRig(t, secure, node)
		defer r.settle()
		c := r.dial(upgradeOf("/") + "client first")
		if res, _, err := c.answer("GET"); err != nil || res.StatusCode != 101 {
			t.Fatal(res, err)
		}
		want := "node first,client first"
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c.r, got); err != nil || string(got) != want {
			t.Fatalf("%q, %v", got, err)
		}
	})
}

// Each end may close its sending side and still read.
func TestHalfClosedTunnel(t *testing.T) {
	r := startRig(t, false, rawNode(t, "a", func(c net.Conn, r *bufio.Reader) {
		if readHead(r) {
			_, _ = io.WriteString(c, switching)
			b, _ := io.ReadAll(r)
			time.Sleep(3 * sweepEvery) // nobody is gone meanwhile
			_, _ = c.Write(b)
		}
	}))
	defer r.settle()
	c := r.opened("/")
	c.send("all of it")
	_ = c.tcp.CloseWrite()
	if b, err := io.ReadAll(c.r); err != nil || string(b) != "all of it" {
		t.Errorf("%q, %v", b, err)
	}
}

// A tunnel whose node has closed its sending side, and whose client has not, can be ended.
func TestHalfClosedTunnelIsCut(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		r := startRig(t, secure, rawNode(t, "a", func(c net.Conn, r *bufio.Reader) {
			if readHead(r) {
				_, _ = io.WriteString(c, switching)
				_ = c.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, r)
			}
		}))
		defer r.settle()
		r.e.patience.close = 200 * time.Millisecond
		c := r.opened("/")
		c.end()
		if n := r.e.nodeTraffic("a"); n.Long != 1 {
			t.Fatalf("%+v", n)
		}
		r.e.cut(routertest.FleetOf(1, 0).ID, "a")
		routertest.Eventually(t, "the node is empty", func() bool { return r.e.nodeTraffic("a").InFlight == 0 })
	})
}

// The end of which nobody reads any more is noticed when it is gone.
func TestHalfClosedTunnelOfTheGone(t *testing.T) {
	t.Run("client", func(t *testing.T) {
		silent := make(chan struct{})
		defer close(silent)
		r := startRig(t, false, rawNode(t, "a", func(c net.Conn, r *bufio.Reader) {
			if readHead(r) {
				_, _ = io.WriteString(c, switching)
				<-silent
			}
		}))
		defer r.settle()
		c := r.opened("/")
		_ = c.tcp.CloseWrite()
		time.Sleep(2 * sweepEvery)
		if r.e.inFlight.Load() != 1 {
			t.Error("it ended with the client still there")
		}
		_ = c.tcp.SetLinger(0)
		_ = c.tcp.Close()
		routertest.Eventually(t, "it is over", func() bool { return r.e.inFlight.Load() == 0 })
	})
	t.Run("node", func(t *testing.T) {
		gone := make(chan struct{})
		r := startRig(t, false, rawNode(t, "a", func(c net.Conn, r *bufio.Reader) {
			if readHead(r) {
				_, _ = io.WriteString(c, switching)
				_ = c.(*net.TCPConn).CloseWrite()
				<-gone
				_ = c.(*net.TCPConn).SetLinger(0)
			}
		}))
		defer r.settle()
		c := r.opened("/")
		if _, err := c.r.ReadByte(); err != io.EOF {
			t.Fatal(err)
		}
		time.Sleep(2 * sweepEvery)
		if r.e.inFlight.Load() != 1 {
			t.Error("it ended with the node still there")
		}
		close(gone)
		routertest.Eventually(t, "it is over", func() bool { return r.e.inFlight.Load() == 0 })
	})
}

// An end that takes nothing any more ends the tunnel, and only then.
func TestTunnelThatIsNotRead(t *testing.T) {
	stuck := make(chan struct{})
	defer close(stuck)
	for name, node := range map[string]func(net.Conn){
		"by its client": func(c net.Conn) {
			for b := pattern(1 << 20); ; {
				if _, err := c.Write(b); err != nil {
					return
				}
			}
		},
		"by its node": func(net.Conn) { <-stuck },
	} {
		t.Run(name, func(t *testing.T) {
			r := startRig(t, false, rawNode(t, "a", func(c net.Conn, r *bufio.Reader) {
				if readHead(r) {
					_, _ = io.WriteString(c, switching)
					node(c)
				}
			}))
			defer r.settle()
			r.e.patience.stall = 300 * time.Millisecond
			c := r.opened("/")
			if name == "by its node" {
				go func() {
					for b := string(pattern(1 << 20)); ; {
						if _, err := io.WriteString(c.Conn, b); err != nil {
							return
						}
					}
				}()
			}
			routertest.Eventually(t, "it is over", func() bool { return r.e.inFlight.Load() == 0 })
		})
	}
}

// A node may refuse to change the protocol: then it is an answer like any other.
func TestRefusedUpgrade(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		for _, answer := range []string{"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", "HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: other\r\nContent-Length: 2\r\n\r\nno"} {
			r := startRig(t, secure, rawNode(t, "a", says(answer, false)))
			c := r.dial("")
			for range 3 {
				c.send(upgradeOf("/"))
				if res, body, err := c.answer("GET"); err != nil || body != "no" || res.Close {
					t.Errorf("%+v %q %v", res, body, err)
				}
			}
			r.settle()
		}
	})
}

// A client that has a body to send first is not given another protocol before that.
func TestUpgradeWithABody(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		r := startRig(t, secure, rawNode(t, "a", func(c net.Conn, r *bufio.Reader) {
			asked := false
			for line, err := r.ReadString('\n'); line != "\r\n"; line, err = r.ReadString('\n') {
				if err != nil {
					return
				}
				asked = asked || strings.HasPrefix(strings.ToLower(line), "upgrade:")
			}
			if asked {
				_, _ = io.WriteString(c, switching) // without a look at the body, as many do
				_, _ = io.Copy(c, r)
				return
			}
			body := make([]byte, 10)
			_, _ = io.ReadFull(r, body)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"+string(body))
		}))
		defer r.settle()
		text := strings.Replace(upgradeOf("/"), "Host: x\r\n", "Host: x\r\nContent-Length: 10\r\n", 1)
		c := r.dial(text + "01234")
		routertest.Eventually(t, "the node has it", func() bool { return r.e.nodeTraffic("a").InFlight == 1 })
		c.send("56789")
		c.want(200, "0123456789")
		c = r.dial(text + "0123456789") // all of it is here: the node may do what it likes
		if res, _, err := c.answer("GET"); err != nil || res.StatusCode != 101 {
			t.Fatalf("%+v, %v", res, err)
		}
		got := make([]byte, 10)
		if _, err := io.ReadFull(c.r, got); err != nil || string(got) != "0123456789" {
			t.Errorf("%q, %v", got, err)
		}
		c.echo("more")
	})
}

// HTTP/2 cannot be asked for behind the router's back, nor TLS.
func TestUpgradesThatPassNothing(t *testing.T) {
	r := startRig(t, false, rawNode(t, "a", func(c net.Conn, r *bufio.Reader) {
		for line, err := r.ReadString('\n'); line != "\r\n"; line, err = r.ReadString('\n') {
			if err != nil || strings.HasPrefix(strings.ToLower(line), "upgrade:") || strings.HasPrefix(line, "HTTP2-Settings") {
				_, _ = io.WriteString(c, switching)
				return
			}
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}))
	defer r.settle()
	for _, protocol := range []string{"h2c", "H2C", "websocket, h2c", "HTTP/2.0", "TLS/1.0"} {
		c := r.dial("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: " + protocol + "\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n")
		c.want(200, "ok")
	}
}
