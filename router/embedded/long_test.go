package embedded

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// dialRaw sends text on a new connection.
func dialRaw(t *testing.T, address, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute)) // an upgrade alone may take 10 s
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

const (
	upgradeText     = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	switchingSocket = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
)

// socketNode answers upgrades and then does what serve does.
func socketNode(t *testing.T, name string, serve func(net.Conn, *bufio.Reader)) *routertest.TestNode {
	return rawNode(t, name, func(c net.Conn, r *bufio.Reader) {
		if readHead(r) {
			_, _ = io.WriteString(c, switchingSocket)
			serve(c, r)
		}
	})
}

// closing asks for the end of the node's long connections, the node being in no table any more.
func (e *engine) closing(t *testing.T, seq uint64, listen string, node *routertest.TestNode, within time.Duration) {
	t.Helper()
	other := routertest.StartNode(t, "other", nil)
	table := routertest.TableOf(seq, routertest.RouteTo(listen, routertest.FleetOf(2, 100, other)))
	table.Closing = []router.Closing{{Fleet: routertest.FleetOf(1, 0).ID, Node: node.Name, Within: within}}
	e.mustApply(t, table)
}

// A WebSocket whose node leaves stays; when it is to end, its client is told 1001, and not in the middle of a frame.
func TestWebSocketEndsInOrder(t *testing.T) {
	for _, middle := range []bool{false, true} {
		t.Run(fmt.Sprint("in a frame ", middle), func(t *testing.T) {
			e := startEngine(t, nil)
			e.patience.close = time.Minute // whoever has said goodbye does not wait for it
			rest := make(chan bool)
			node := socketNode(t, "a", func(c net.Conn, r *bufio.Reader) {
				_, _ = c.Write([]byte{0x82, 10, '0', '1', '2', '3', '4'})
				if !middle {
					_, _ = io.WriteString(c, "56789")
				}
				<-rest
				if middle {
					_, _ = io.WriteString(c, "56789")
				}
				_, _ = io.Copy(io.Discard, r)
			})
			listen := e.serveNodes(t, node)
			c, r := dialRaw(t, listen, upgradeText)
			if !readHead(r) {
				t.Fatal("no upgrade")
			}
			first := make([]byte, 7)
			if _, err := io.ReadFull(r, first); err != nil {
				t.Fatal(err)
			}
			e.mustApply(t, routertest.TableOf(2, routertest.RouteTo(listen, routertest.FleetOf(2, 100, routertest.StartNode(t, "b", nil)))))
			if n := e.nodeTraffic("a"); n.Long != 1 || n.InFlight != 1 {
				t.Fatalf("after its node left: %+v", n)
			}
			e.closing(t, 3, listen, node, 0)
			close(rest)
			want := []byte("56789\x88\x02\x03\xe9")
			got := make([]byte, len(want))
			if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%q, %v", got, err)
			}
			if n := e.nodeTraffic("a"); n.Long != 1 {
				t.Errorf("before its client has answered: %+v", n)
			}
			_, _ = c.Write([]byte{0x88, 0x82, 0, 0, 0, 0, 3, 0xe9}) // and waits for the server to end the connection
			if b, err := io.ReadAll(r); err != nil || len(b) > 0 {
				t.Errorf("after the close frame: %q, %v", b, err)
			}
			routertest.Eventually(t, "the node is empty", func() bool { return e.nodeTraffic("a").InFlight == 0 })
			if r := e.routeTraffic(); r.Failed != 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// A frame that is longer than what is read at a time ends before its client is told, and so does one that is no frame at all.
func TestWebSocketEndsInALongFrame(t *testing.T) {
	const long = 200_000
	for name, head := range map[string][]byte{
		"a long frame": {0x82, 127, 0, 0, 0, 0, 0, byte(long >> 16), byte(long >> 8 & 0xff), byte(long & 0xff)},
		"no frame":     {0xff, 0xff},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEngine(t, nil)
			e.patience.close = time.Minute
			rest := make(chan bool)
			node := socketNode(t, "a", func(c net.Conn, r *bufio.Reader) {
				_, _ = c.Write(head)
				<-rest
				_, _ = c.Write(make([]byte, long))
				_, _ = io.Copy(io.Discard, r)
			})
			listen := e.serveNodes(t, node)
			c, r := dialRaw(t, listen, upgradeText)
			if !readHead(r) {
				t.Fatal("no upgrade")
			}
			if _, err := io.ReadFull(r, make([]byte, len(head))); err != nil {
				t.Fatal(err)
			}
			e.closing(t, 2, listen, node, 0)
			close(rest)
			if name == "no frame" {
				_, _ = io.Copy(io.Discard, r) // it just ends
			} else {
				want := append(make([]byte, long), "\x88\x02\x03\xe9"...)
				got := make([]byte, len(want))
				if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%d bytes that end with %q, %v", len(got), got[len(got)-6:], err)
				}
			}
			_ = c.Close()
			routertest.Eventually(t, "the node is empty", func() bool { return e.nodeTraffic("a").InFlight == 0 })
		})
	}
}

// An event stream ends as if its node had ended it.
func TestEventStreamEndsInOrder(t *testing.T) {
	e := startEngine(t, nil)
	node := routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: one\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	listen := e.serveNodes(t, node)
	res, err := http.Get("http://" + listen + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	line := make([]byte, 11)
	if _, err := io.ReadFull(res.Body, line); err != nil {
		t.Fatal(err)
	}
	routertest.Eventually(t, "it counts as long", func() bool { return e.nodeTraffic("a").Long == 1 })
	e.closing(t, 2, listen, node, 50*time.Millisecond)
	if b, err := io.ReadAll(res.Body); err != nil || len(b) > 0 {
		t.Errorf("end of the stream: %q, %v", b, err)
	}
	routertest.Eventually(t, "the node is empty", func() bool { return e.nodeTraffic("a").InFlight == 0 })
}

// An ordinary answer is not cut by what ends long connections.
func TestClosingSparesOrdinaryAnswers(t *testing.T) {
	e := startEngine(t, nil)
	go1 := make(chan struct{})
	node := routertest.StartNode(t, "a", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "one ")
		_ = http.NewResponseController(w).Flush()
		<-go1
		fmt.Fprint(w, "two")
	})
	listen := e.serveNodes(t, node)
	res, err := http.Get("http://" + listen + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	e.closing(t, 2, listen, node, 0)
	close(go1)
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != "one two" {
		t.Errorf("%q, %v", b, err)
	}
}

// A client that goes away from a silent stream is noticed, and its node too.
func TestSilentStreamWithoutClientEnds(t *testing.T) {
	e := startEngine(t, nil)
	left := make(chan struct{})
	node := routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(left)
	})
	listen := e.serveNodes(t, node)
	c, r := dialRaw(t, listen, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if !readHead(r) {
		t.Fatal("no answer")
	}
	_ = c.Close()
	select {
	case <-left:
	case <-time.After(10 * time.Second):
		t.Fatal("the node still waits")
	}
	routertest.Eventually(t, "nothing is in flight", func() bool { return e.inFlight.Load() == 0 })
	if n := e.nodeTraffic("a"); n.Reset+n.Timeout > 0 {
		t.Errorf("counted as the node's: %+v", n)
	}
}

// Connections of a TCP route are split, counted as long, and end when they are to.
func TestTCPRoute(t *testing.T) {
	e := startEngine(t, nil)
	echo := func(name string) *routertest.TestNode {
		return rawNode(t, name, func(c net.Conn, r *bufio.Reader) {
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				fmt.Fprintf(c, "%s %s", name, line)
			}
		})
	}
	a, dead := echo("a"), routertest.DeadNode(t, "dead")
	listen := routertest.FreeListen(t)
	route := routertest.RouteTo(listen, routertest.FleetOf(1, 100, a, dead))
	route.Protocol = router.TCP
	e.mustApply(t, routertest.TableOf(1, route))
	c, r := dialRaw(t, listen, "hello\n")
	if line, err := r.ReadString('\n'); err != nil || line != "a hello\n" {
		t.Fatalf("%q, %v", line, err)
	}
	for range 10 {
		c, r := dialRaw(t, listen, "x\n")
		if line, err := r.ReadString('\n'); err != nil || line != "a x\n" {
			t.Fatalf("with a dead node: %q, %v", line, err)
		}
		_ = c.(*net.TCPConn).CloseWrite()
		if b, err := io.ReadAll(r); err != nil || len(b) > 0 {
			t.Fatalf("half closed: %q, %v", b, err)
		}
	}
	routertest.Eventually(t, "one connection is left", func() bool { return e.nodeTraffic("a").Long == 1 })
	other := route
	other.Fleets = []router.Fleet{routertest.FleetOf(2, 100, echo("b"))}
	table := routertest.TableOf(2, other)
	e.mustApply(t, table)
	_, _ = io.WriteString(c, "still\n")
	if line, _ := r.ReadString('\n'); line != "a still\n" {
		t.Fatalf("after its node left: %q", line)
	}
	table.Version.Seq, table.Closing = 3, []router.Closing{{Fleet: route.Fleets[0].ID, Node: "a"}}
	e.mustApply(t, table)
	if _, err := r.ReadString('\n'); err == nil {
		t.Error("the connection did not end")
	}
	if n := e.nodeTraffic("a").Cut; n != 1 {
		t.Errorf("%d cut", n)
	}
}

// The PROXY protocol is obeyed from trusted networks, and asked of them.
func TestProxyProtocol(t *testing.T) {
	e := startEngine(t, nil)
	node := routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-Forwarded-For")) })
	listen := routertest.FreeListen(t)
	route := routertest.RouteTo(listen, routertest.FleetOf(1, 100, node))
	route.ProxyProtocol, route.Trusted = true, []string{"127.0.0.1/32"}
	e.mustApply(t, routertest.TableOf(1, route))
	ask := func(before string) string {
		_, r := dialRaw(t, listen, before+"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		b, _ := io.ReadAll(r)
		_, body, _ := strings.Cut(string(b), "\r\n\r\n")
		return body
	}
	if got := ask("PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n"); got != "192.0.2.7" {
		t.Errorf("version 1: %q", got)
	}
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + "\xc6\x33\x64\x09\x7f\x00\x00\x01\x12\x34\x00\x50"
	if got := ask(v2); got != "198.51.100.9" {
		t.Errorf("version 2: %q", got)
	}
	if got := ask(""); got != "" {
		t.Errorf("without a header: %q", got)
	}
	if n := e.reasons.read()["no PROXY protocol header"]; n != 1 {
		t.Errorf("%d rejections counted", n)
	}
}
