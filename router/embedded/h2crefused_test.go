package embedded

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// What an h2c node gave back without having processed it goes to another one, whatever the method and though its body has begun.
// Nothing else does that may not be repeated.
func TestRefusedByAnH2CNode(t *testing.T) {
	small, large := "0123456789", string(pattern(4*replayLimit))
	reset := func(code http2.ErrCode) func(net.Conn, *http2.Framer, uint32) {
		return func(_ net.Conn, f *http2.Framer, id uint32) { _ = f.WriteRSTStream(id, code) }
	}
	goAway := func(last uint32, code http2.ErrCode) func(net.Conn, *http2.Framer, uint32) {
		return func(c net.Conn, f *http2.Framer, _ uint32) {
			_ = f.WriteGoAway(last, code, []byte("; REFUSED_STREAM; graceful shutdown GOAWAY")) // what it says for people decides nothing
			if last > 0 {
				_ = c.Close()
			}
		}
	}
	tests := map[string]struct {
		method, body string
		after        int // bytes of the body
		does         func(net.Conn, *http2.Framer, uint32)
		drained      bool // the budget is used up
		status       int
	}{
		"refused":                               {"POST", small, 0, reset(http2.ErrCodeRefusedStream), false, 200},
		"refused after the body":                {"POST", small, len(small), reset(http2.ErrCodeRefusedStream), false, 200},
		"refused, no body":                      {"GET", "", 0, reset(http2.ErrCodeRefusedStream), false, 200},
		"refused, no body, no repeating":        {"POST", "", 0, reset(http2.ErrCodeRefusedStream), false, 200},
		"refused, no budget":                    {"POST", small, 0, reset(http2.ErrCodeRefusedStream), true, 200},
		"refused, no body, no budget":           {"GET", "", 0, reset(http2.ErrCodeRefusedStream), true, 200},
		"refused after more than is kept of it": {"POST", large, replayLimit + 1, reset(http2.ErrCodeRefusedStream), false, 502},
		"goes away":                             {"POST", small, 0, goAway(0, http2.ErrCodeNo), false, 200},
		"goes away, no body":                    {"GET", "", 0, goAway(0, http2.ErrCodeNo), false, 200},
		"goes away for a reason":                {"POST", small, 0, goAway(0, http2.ErrCodeEnhanceYourCalm), false, 200},
		"goes away and has the request":         {"POST", small, len(small), goAway(1, http2.ErrCodeEnhanceYourCalm), false, 502},
		"cancelled":                             {"POST", small, 0, reset(http2.ErrCodeCancel), false, 502},
		"protocol error":                        {"POST", small, 0, reset(http2.ErrCodeProtocol), false, 502},
		"internal error":                        {"POST", small, len(small), reset(http2.ErrCodeInternal), false, 502},
		"internal error, may be repeated":       {"PUT", small, len(small), reset(http2.ErrCodeInternal), false, 200},
		"no budget, may be repeated":            {"PUT", small, len(small), reset(http2.ErrCodeInternal), true, 502},
	}
	for name, tt := range tests {
		for _, how := range []string{"whole", "in pieces", "h2"} {
			if tt.body == "" && how == "in pieces" {
				continue
			}
			t.Run(name+", "+how, func(t *testing.T) {
				r := startRig(t, false)
				defer r.settle()
				bad := rawNode(t, "bad", func(c net.Conn, br *bufio.Reader) {
					got, done := 0, false
					serveFrames(c, br, func(f *http2.Framer, frame http2.Frame) {
						if data, ok := frame.(*http2.DataFrame); ok && len(data.Data()) > 0 {
							got += len(data.Data())
							_ = f.WriteWindowUpdate(0, uint32(len(data.Data())))
						}
						if id := frame.Header().StreamID; id > 0 && got >= tt.after && !done {
							done = true
							tt.does(c, f, id)
						}
					})
				})
				good := h2cNode(t, "good", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
				standby := routertest.FleetOf(2, 0, good)
				standby.Standby = true
				r.route = h2cRoute(r.listen, routertest.FleetOf(1, 1, bad), standby)
				r.serve()
				if tt.drained {
					r.e.memory.routes[r.route.Name].budget.spent.Store(budgetReserve)
				}
				status, body := r.sendAs(how, tt.method, tt.body)
				if status != tt.status || status == 200 && body != tt.body {
					t.Errorf("%d %.50q, want %d", status, body, tt.status)
				}
				if route := r.e.routeTraffic(); (route.Retried == 1) != (tt.status == 200) || (route.Failed == 1) == (tt.status == 200) {
					t.Errorf("route %+v", route)
				}
				if n := r.e.nodeTraffic("bad"); n.Reset != 1 || n.Requests != 1 {
					t.Errorf("node %+v", n)
				}
			})
		}
	}
}

// A node that goes away on one connection, as one that starts anew, and takes others gets the request again when there is no other.
func TestOnlyNodeGivesARequestBack(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) {
			var conns atomic.Int32
			node := rawNode(t, "a", func(c net.Conn, br *bufio.Reader) {
				if conns.Add(1) > 1 {
					serveStatuses(c, br)
					return
				}
				serveFrames(c, br, func(f *http2.Framer, frame http2.Frame) {
					if _, ok := frame.(*http2.MetaHeadersFrame); ok {
						_ = f.WriteGoAway(0, http2.ErrCodeNo, nil)
					}
				})
			})
			r := startRig(t, false, node)
			defer r.settle()
			r.route.Nodes = "h2c"
			c := r.dial(method + " /204 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
			c.want(204, "")
			if n := r.e.nodeTraffic("a"); n.Requests != 2 || n.Reset != 1 || n.Ejected {
				t.Errorf("node %+v", n)
			}
		})
	}
}

// A connection of h2c that ends before a request could be sent on it is one that could not be made: the node is skipped.
func TestH2CConnectionThatEndsAtOnce(t *testing.T) {
	e := startEngine(t, nil)
	bad := rawNode(t, "bad", func(c net.Conn, _ *bufio.Reader) { _ = c.(*net.TCPConn).SetLinger(0) })
	transport := newNode(nodeKey{name: "bad", address: bad.Address}, 0).h2cTransport(e)
	x := &exchange{e: e, ctx: t.Context()}
	for range 5000 { // net/http sees the end before it sends in some of them
		req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+bad.Address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = transport.RoundTrip(req); err == nil {
			t.Fatal("an answer")
		}
		if strings.Contains(err.Error(), "could not be established") {
			if why := x.classify(h2cError(err)); why != causeConnect {
				t.Errorf("%v: %d", err, why)
			}
			return
		}
	}
	t.Error("net/http has other words for it")
}

// A request that one node gave back, and that waits for another one, may go to the first when that has answered since, and not before.
func TestNodeThatGaveARequestBackIsForgiven(t *testing.T) {
	const wait = 30 * time.Second
	var refuses atomic.Bool
	refuses.Store(true)
	busy := make(chan struct{})
	bad := rawNode(t, "bad", func(c net.Conn, br *bufio.Reader) {
		serveFrames(c, br, func(f *http2.Framer, frame http2.Frame) {
			h, ok := frame.(*http2.MetaHeadersFrame)
			switch {
			case !ok:
			case refuses.Load():
				_ = f.WriteRSTStream(h.StreamID, http2.ErrCodeRefusedStream)
			default:
				answerStatus(f, h)
			}
		})
	})
	good := h2cNode(t, "good", func(http.ResponseWriter, *http.Request) { <-busy })
	r := startRig(t, false)
	defer r.settle()
	defer close(busy)
	r.route = h2cRoute(r.listen, routertest.FleetOf(1, 1, bad, good))
	r.route.Balance = router.Balance{MaxInFlight: 1, QueueWait: wait}
	text := "POST /204 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
	r.dial(text)
	routertest.Eventually(t, "one node is busy", func() bool { return r.e.nodeTraffic("good").InFlight == 1 })
	before := r.e.nodeTraffic("bad").Requests
	first := r.dial(text)
	gate := &r.e.memory.routes[r.route.Name].gate
	routertest.Eventually(t, "a request waits that the other one gave back", func() bool { return gate.waiting.Load() == 1 })
	if n := r.e.nodeTraffic("bad"); n.Requests != before+1 {
		t.Errorf("it was sent %d times", n.Requests-before)
	}
	refuses.Store(false)
	since := time.Now()
	r.dial(text).want(204, "")
	first.want(204, "")
	if took := time.Since(since); took > wait/2 { // then it has a second chance anyway
		t.Errorf("it waited for %s", took)
	}
}

// stoppedReads is a client of which it is counted how often a read of it is ended.
type stoppedReads struct {
	front
	n int
}

func (s *stoppedReads) stopReading() bool {
	s.n++
	return true
}

// net/http closes a body when it likes. What is read from the client by then may be its next request.
func TestSendingThatIsClosedLate(t *testing.T) {
	for _, back := range []bool{false, true} {
		b := &body{length: 5, src: strings.NewReader("hello")}
		newest, err := b.attempt()
		if err != nil {
			t.Fatal(err)
		}
		client := &stoppedReads{}
		s := &h2cSending{attempt: newest, front: client}
		x := &exchange{body: b, front: client, sending: s}
		if !s.begin() { // and the end of this read comes last of all
			t.Fatal("it does not begin")
		}
		if back {
			x.takeBack()
		}
		_ = s.Close()
		if (client.n == 0) != back {
			t.Errorf("taken back %v: %d reads ended", back, client.n)
		}
		s.end()
		if s.begin() {
			t.Error("it goes on")
		}
	}
}

// sendAs sends a request over HTTP/1.1, with its body at once or in pieces, or over h2.
func (r *rig) sendAs(how, method, body string) (status int, got string) {
	r.t.Helper()
	if how == "h2" {
		c := r.h2(1 << 20)
		c.request(1, method, "/", body == "")
		for rest := body; rest != ""; {
			piece := rest[:min(len(rest), 8<<10)] // all of it is within the window that servers begin with
			rest = rest[len(piece):]
			_ = c.WriteData(1, rest == "", []byte(piece))
		}
		status, got, _ = c.outcome(1)
		return status, got
	}
	head := method + " / HTTP/1.1\r\nHost: x\r\n"
	if body != "" {
		head += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	c := r.dial(head + "\r\n")
	if how == "in pieces" {
		half := len(body) / 2
		c.send(body[:half])
		time.Sleep(50 * time.Millisecond) // the node has answered what it has, or not: both are to go well
		body = body[half:]
	}
	c.send(body)
	res, got, err := c.answer(method)
	if err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, got
}
