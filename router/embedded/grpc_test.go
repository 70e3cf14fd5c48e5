package embedded

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// grpcCall is a call whose client goes on sending.
type grpcCall struct {
	in   *io.PipeWriter
	done chan *http.Response // its answer; nil: none
}

func callGRPC(t *testing.T, listen, contentType string) *grpcCall {
	t.Helper()
	body, in := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+listen+"/svc/Watch", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Te", "trailers")
	c := &grpcCall{in: in, done: make(chan *http.Response, 1)}
	client := h2cClient(t)
	go func() {
		res, err := client.Do(req)
		if err != nil {
			t.Errorf("%s: %v", contentType, err)
		}
		c.done <- res
	}()
	_, _ = io.WriteString(in, "first")
	return c
}

// answer waits for the head of the answer.
func (c *grpcCall) answer(t *testing.T) *http.Response {
	t.Helper()
	select {
	case res := <-c.done:
		if res == nil {
			t.FailNow()
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		return res
	case <-time.After(20 * time.Second):
		t.Fatal("no answer")
	}
	return nil
}

// quietGRPC is a node that takes calls, and answers one when it is let.
func quietGRPC(t *testing.T, answer http.HandlerFunc) (node *routertest.TestNode, let chan bool) {
	let = make(chan bool)
	return h2cNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadFull(r.Body, make([]byte, 5))
		select {
		case <-let:
			answer(w, r)
		case <-r.Context().Done():
		}
	}), let
}

// A gRPC call counts as long before its node has answered, and is told UNAVAILABLE when it has to end.
func TestGRPCStreamWithoutAnAnswer(t *testing.T) {
	for _, kind := range []string{"application/grpc", "application/grpc+proto", "application/grpc;x=y"} {
		e := startEngine(t, nil)
		node, _ := quietGRPC(t, nil)
		listen := routertest.FreeListen(t)
		e.mustApply(t, routertest.TableOf(1, h2cRoute(listen, routertest.FleetOf(1, 100, node))))
		c := callGRPC(t, listen, kind)
		routertest.Eventually(t, "it counts as long", func() bool { return e.nodeTraffic("a").Long == 1 })
		e.closing(t, 2, listen, node, 100*time.Millisecond)
		res := c.answer(t)
		b, err := io.ReadAll(res.Body)
		if err != nil || len(b) > 0 || res.StatusCode != 200 || res.Header.Get("Grpc-Status") != "14" || res.Header.Get("Content-Type") != "application/grpc" {
			t.Errorf("%s: %d %v %q, %v", kind, res.StatusCode, res.Header, b, err)
		}
		routertest.Eventually(t, "the node is empty", func() bool { return e.nodeTraffic("a").InFlight == 0 })
		if n := e.nodeTraffic("a"); n.Cut != 1 || n.Long != 0 || n.Reset+n.Timeout > 0 || e.routeTraffic().Failed != 0 {
			t.Errorf("%s: %+v", kind, n)
		}
	}
}

// It goes on counting when the answer has come, if that is a stream; whatever else it is does not.
func TestGRPCStreamThatIsAnswered(t *testing.T) {
	for _, stream := range []bool{true, false} {
		t.Run(fmt.Sprint("as a stream ", stream), func(t *testing.T) {
			e := startEngine(t, nil)
			node, let := quietGRPC(t, func(w http.ResponseWriter, r *http.Request) {
				if stream {
					w.Header().Set("Content-Type", "application/grpc")
				}
				_ = http.NewResponseController(w).Flush()
				if stream {
					<-r.Context().Done()
				}
				_, _ = io.ReadFull(r.Body, make([]byte, 6))
				_, _ = io.WriteString(w, "to the end")
			})
			listen := routertest.FreeListen(t)
			e.mustApply(t, routertest.TableOf(1, h2cRoute(listen, routertest.FleetOf(1, 100, node))))
			c := callGRPC(t, listen, "application/grpc")
			routertest.Eventually(t, "it counts as long", func() bool { return e.nodeTraffic("a").Long == 1 })
			let <- true
			res := c.answer(t)
			if n := e.nodeTraffic("a"); (n.Long == 1) != stream || n.InFlight != 1 {
				t.Fatalf("when it is answered: %+v", n)
			}
			e.closing(t, 2, listen, node, 0)
			_, _ = io.WriteString(c.in, "second")
			want := map[bool]string{true: "", false: "to the end"}[stream]
			if b, err := io.ReadAll(res.Body); err != nil || string(b) != want || stream && res.Trailer.Get("Grpc-Status") != "14" {
				t.Errorf("%q, %v, trailers %v", b, err, res.Trailer)
			}
			_ = c.in.Close()
			routertest.Eventually(t, "the node is empty", func() bool { return e.nodeTraffic("a").InFlight == 0 })
		})
	}
}

// What is no gRPC stays a request until its answer says otherwise.
func TestNoGRPCStream(t *testing.T) {
	for _, kind := range []string{"application/grpc-web", "application/grpc-web-text+proto", "application/json"} {
		e := startEngine(t, nil)
		node, let := quietGRPC(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "whole") })
		listen := routertest.FreeListen(t)
		e.mustApply(t, routertest.TableOf(1, h2cRoute(listen, routertest.FleetOf(1, 100, node))))
		c := callGRPC(t, listen, kind)
		routertest.Eventually(t, "the node has it", func() bool { return e.nodeTraffic("a").InFlight == 1 })
		e.closing(t, 2, listen, node, 0)
		if n := e.nodeTraffic("a"); n.Long != 0 || n.Cut != 0 {
			t.Errorf("%s: %+v", kind, n)
		}
		let <- true
		_ = c.in.Close()
		if b, err := io.ReadAll(c.answer(t).Body); err != nil || string(b) != "whole" {
			t.Errorf("%s: %q, %v", kind, b, err)
		}
	}
}

// A stream whose node has nothing to say for longer than an answer may take stays, and nobody takes the node for ill.
func TestGRPCStreamOfASilentNode(t *testing.T) {
	e := startEngine(t, nil)
	node, let := quietGRPC(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		_, _ = io.WriteString(w, "message")
	})
	listen := routertest.FreeListen(t)
	route := h2cRoute(listen, routertest.FleetOf(1, 100, node))
	route.Balance = router.Balance{EjectAfter: 1, Timeout: 100 * time.Millisecond}
	e.mustApply(t, routertest.TableOf(1, route))
	c := callGRPC(t, listen, "application/grpc")
	_ = c.in.Close()
	routertest.Eventually(t, "it counts as long", func() bool { return e.nodeTraffic("a").Long == 1 })
	time.Sleep(500 * time.Millisecond)
	if n := e.nodeTraffic("a"); n.Long != 1 || n.Ejected || n.Timeout > 0 {
		t.Fatalf("after five times the limit: %+v", n)
	}
	let <- true
	res := c.answer(t)
	if b, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 || string(b) != "message" {
		t.Errorf("%d %q, %v", res.StatusCode, b, err)
	}
	if n := e.nodeTraffic("a"); n.Ejected || n.Timeout+n.Reset > 0 {
		t.Errorf("node %+v", n)
	}
}

// A node that hangs is noticed although none of its streams has a limit.
func TestGRPCStreamOfANodeThatHangs(t *testing.T) {
	e := startEngine(t, nil)
	e.patience.ping, e.patience.pong = 100*time.Millisecond, 100*time.Millisecond
	hung := make(chan struct{})
	node := rawNode(t, "a", func(c net.Conn, br *bufio.Reader) {
		serveFrames(c, br, func(_ *http2.Framer, frame http2.Frame) {
			if frame.Header().StreamID > 0 {
				<-hung
			}
		})
	})
	defer close(hung)
	listen := routertest.FreeListen(t)
	e.mustApply(t, routertest.TableOf(1, h2cRoute(listen, routertest.FleetOf(1, 100, node))))
	if res := callGRPC(t, listen, "application/grpc").answer(t); res.StatusCode != 502 {
		t.Errorf("status %d, want 502", res.StatusCode)
	}
	if n := e.nodeTraffic("a"); n.Reset != 1 || n.Long != 0 {
		t.Errorf("node %+v", n)
	}
}

// Servers of gRPC close the connection of whoever pings more often than each 5 minutes.
func TestPingsAreRare(t *testing.T) {
	if p := newPatience().ping; p <= 5*time.Minute {
		t.Errorf("pings after %s", p)
	}
}
