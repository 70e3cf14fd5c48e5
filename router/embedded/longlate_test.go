package embedded

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/bootandshoot/release/router/routertest"
)

// What was on its way to a node as a request when the node's long connections were ended, and becomes one of them, ends in order
// too: at once when their time is over, within the rest of it else.
func TestLongConnectionThatBeginsLate(t *testing.T) {
	const stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n7\r\ndata: \n\r\n"
	for name, kind := range map[string]struct{ request, answer, end string }{
		"websocket":    {upgradeText, switchingSocket, "\x88\x02\x03\xe9"},
		"event stream": {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", stream, "7\r\ndata: \n\r\n0\r\n\r\n"},
	} {
		for _, within := range []time.Duration{0, time.Second} {
			t.Run(fmt.Sprint(name, " within ", within), func(t *testing.T) {
				e := startEngine(t, nil)
				has, answers := make(chan bool, 1), make(chan bool)
				node := rawNode(t, "a", func(c net.Conn, r *bufio.Reader) {
					if !readHead(r) {
						return
					}
					has <- true
					<-answers
					_, _ = io.WriteString(c, kind.answer)
					_, _ = io.Copy(io.Discard, r)
				})
				listen := e.serveNodes(t, node)
				_, r := dialRaw(t, listen, kind.request)
				<-has
				e.closing(t, 2, listen, node, within)
				began := time.Now()
				close(answers)
				if !readHead(r) {
					t.Fatal("no answer")
				}
				got := make([]byte, len(kind.end))
				if _, err := io.ReadFull(r, got); err != nil || string(got) != kind.end {
					t.Fatalf("the end: %q, %v", got, err)
				}
				if took := time.Since(began); took > within+10*time.Second {
					t.Errorf("it ended after %s", took)
				}
				routertest.Eventually(t, "the node is empty", func() bool { return e.nodeTraffic("a").InFlight == 0 })
				if n := e.nodeTraffic("a"); n.Cut != 1 || e.routeTraffic().Failed != 0 {
					t.Errorf("%+v", n)
				}
			})
		}
	}
}

// The same for gRPC, which is told UNAVAILABLE.
func TestGRPCStreamThatBeginsLate(t *testing.T) {
	e := startEngine(t, nil)
	has, answers := make(chan bool, 1), make(chan bool)
	node := h2cNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		has <- true
		<-answers
		w.Header().Set("Content-Type", "application/grpc")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	listen := routertest.FreeListen(t)
	e.mustApply(t, routertest.TableOf(1, h2cRoute(listen, routertest.FleetOf(1, 100, node))))
	ended := make(chan error, 1)
	go func() {
		res, err := h2cClient(t).Get("http://" + listen + "/svc/Watch")
		if err == nil {
			defer res.Body.Close()
			if _, err = io.ReadAll(res.Body); err == nil && res.Trailer.Get("Grpc-Status") != "14" {
				err = fmt.Errorf("trailers %v", res.Trailer)
			}
		}
		ended <- err
	}()
	<-has
	e.closing(t, 2, listen, node, 0)
	close(answers)
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it goes on")
	}
}

// A node that serves again keeps what begins there, and loses it when it is closed once more.
func TestNodeServesAgainAfterClosing(t *testing.T) {
	e := startEngine(t, nil)
	node := socketNode(t, "a", func(c net.Conn, r *bufio.Reader) {
		b := make([]byte, 7)
		if _, err := io.ReadFull(r, b); err == nil {
			_, _ = c.Write([]byte{0x82, 1, 'x'})
		}
		_, _ = io.Copy(io.Discard, r)
	})
	listen := e.serveNodes(t, node)
	e.closing(t, 2, listen, node, 0)
	e.mustApply(t, routertest.TableOf(3, routertest.RouteTo(listen, routertest.FleetOf(1, 100, node))))
	c, r := dialRaw(t, listen, upgradeText)
	if !readHead(r) {
		t.Fatal("no upgrade")
	}
	_, _ = c.Write([]byte{0x82, 0x81, 0, 0, 0, 0, 'x'})
	got := make([]byte, 3)
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "\x82\x01x" {
		t.Fatalf("at a node that serves again: %q, %v", got, err)
	}
	e.closing(t, 4, listen, node, 0)
	if _, err := io.ReadFull(r, append(got, 0)); err != nil {
		t.Errorf("closed once more: %v", err)
	}
}

// Each connection ends at a time of its own within the given one, and none before it began.
func TestEndsAreSpread(t *testing.T) {
	const sockets, parts, within = 100, 4, 4 * time.Second
	e := startEngine(t, nil)
	node := socketNode(t, "a", func(_ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) })
	listen := e.serveNodes(t, node)
	ends := make(chan time.Time, sockets)
	for range sockets {
		c, r := dialRaw(t, listen, upgradeText)
		if !readHead(r) {
			t.Fatal("no upgrade")
		}
		go func() {
			b := make([]byte, 4)
			if _, err := io.ReadFull(r, b); err != nil || string(b) != "\x88\x02\x03\xe9" {
				t.Errorf("the end: %q, %v", b, err)
			}
			ends <- time.Now()
			_ = c.Close()
		}()
	}
	routertest.Eventually(t, "all are there", func() bool { return e.nodeTraffic("a").Long == sockets })
	began := time.Now()
	e.closing(t, 2, listen, node, within)
	var count [parts]int
	for range sockets {
		at := (<-ends).Sub(began)
		if at < 0 || at > within+10*time.Second {
			t.Fatalf("one ended %s after it was asked for", at)
		}
		count[min(int(at*parts/within), parts-1)]++
	}
	// 25 each are likely. A fair draw has fewer than 8 in a part once in 50,000 times; a busy machine sees ends late.
	if count[0] < 5 || count[0]+count[1] < 20 || count[2]+count[3] < 20 || count[parts-1] < 5 {
		t.Errorf("ends in each quarter of the time: %v", count)
	}
	if n := e.nodeTraffic("a"); n.Cut != sockets {
		t.Errorf("%+v", n)
	}
}
