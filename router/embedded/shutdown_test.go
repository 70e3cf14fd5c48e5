package embedded

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/router/routertest"
)

// A router that has to end, as a predecessor after its time or because it was told to, ends what has no end of its own in order: each
// client is told, and not all at once.
func TestLongConnectionsEndWithTheirProcess(t *testing.T) {
	const sockets, within = 40, 2 * time.Second
	t.Setenv("TEST_CLOSE_WITHIN", within.String())
	for name, end := range map[string]struct {
		limit string // the variable that bounds what comes before
		begin func(*testing.T, *Client)
	}{
		"after a handover": {"TEST_HANDOFF_TIMEOUT", func(t *testing.T, c *Client) { upgrade(t, c) }},
		"at a stop": {"TEST_STOP_TIMEOUT", func(t *testing.T, c *Client) {
			go func() { _ = c.Stop(context.WithoutCancel(t.Context())) }()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(end.limit, "1s")
			c := startRouter(t, t.TempDir())
			rpc := h2cNode(t, "rpc", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", grpcType)
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			})
			node := routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Upgrade") != "" {
					conn, rw, _ := http.NewResponseController(w).Hijack()
					defer conn.Close()
					_, _ = io.WriteString(conn, switchingSocket)
					_, _ = io.Copy(io.Discard, rw)
					return
				}
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(w, "data: \n\n")
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			})
			listen, calls := routertest.FreeListen(t), routertest.FreeListen(t)
			second := h2cRoute(calls, routertest.FleetOf(2, 1, rpc))
			second.Name = "shop/production/rpc"
			mustApply(t, c, routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 1, node)), second))

			ends := make(chan time.Time, sockets)
			for range sockets {
				conn, r := dialRaw(t, listen, upgradeText)
				if !readHead(r) {
					t.Fatal("no upgrade")
				}
				go func() {
					if b, err := io.ReadAll(io.LimitReader(r, 4)); err != nil || string(b) != "\x88\x02\x03\xe9" {
						t.Errorf("a WebSocket's end: %q, %v", b, err)
					}
					ends <- time.Now()
					_ = conn.Close()
				}()
			}
			_, events := dialRaw(t, listen, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			if !readHead(events) {
				t.Fatal("no events")
			}
			tcp, err := net.Dial("tcp", calls)
			if err != nil {
				t.Fatal(err)
			}
			defer tcp.Close()
			call := newH2Conn(t, tcp, false, 1<<20)
			call.request(1, "POST", "/svc/Watch", true, "content-type", grpcType)
			routertest.Eventually(t, "all count as long", func() bool {
				e := mustObserve(t, c)
				return nodeOf(t, e, "a").Long == sockets+1 && nodeOf(t, e, "rpc").Long == 1
			})

			began := time.Now()
			end.begin(t, c)
			if _, _, how := call.outcome(1); how != "goaway" {
				t.Errorf("the call's connection: %s", how)
			}
			if status, _, how := call.outcome(1); how != "end" {
				t.Errorf("the call: %d, %s", status, how)
			}
			if b, err := readChunks(events); err != nil || b != "data: \n\n" {
				t.Errorf("the events: %q, %v", b, err)
			}
			first, last := <-ends, time.Time{}
			for range sockets - 1 {
				last = <-ends
			}
			if first.Sub(began) < time.Second || last.Sub(first) < within/2 {
				t.Errorf("the first ended after %s, the last %s later", first.Sub(began), last.Sub(first))
			}
			if name == "at a stop" {
				if err := waitUnlocked(t.Context(), c.Dir()); err != nil {
					t.Error(err)
				}
				return
			}
			routertest.Eventually(t, "the old process is gone", func() bool { return mustStatus(t, c).Predecessor == nil })
			if n := nodeOf(t, mustObserve(t, c), "a"); n.Cut != sockets+1 || n.InFlight != 0 {
				t.Errorf("%+v", n)
			}
		})
	}
}

// readChunks reads a chunked body to its end.
func readChunks(r *bufio.Reader) (string, error) {
	res, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), r)), nil)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

// A client of h2 that has no request is told before its connection ends.
func TestStopTellsIdleH2(t *testing.T) {
	c := startRouter(t, t.TempDir())
	listen := routertest.FreeListen(t)
	mustApply(t, c, routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 1, routertest.StartNode(t, "a", nil)))))
	tcp, err := net.Dial("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	h2 := newH2Conn(t, tcp, false, 1<<20)
	h2.request(1, "GET", "/", true)
	if status, _, how := h2.outcome(1); status != 200 || how != "end" {
		t.Fatalf("%d, %s", status, how)
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, how := h2.outcome(3); how != "goaway" {
		t.Errorf("its end: %s", how)
	}
}
