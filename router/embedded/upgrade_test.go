package embedded

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

func upgrade(t *testing.T, c *Client) Status {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Upgrade(context.Background(), exe)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// load sends requests in several ways until stop is called, and counts.
type load struct {
	listen       string
	sent, failed atomic.Int64
	done         chan struct{}
	wg           sync.WaitGroup
}

func startLoad(t *testing.T, listen string) *load {
	l := &load{listen: listen, done: make(chan struct{})}
	for range 3 {
		l.run(t, l.keepAlive)
		l.run(t, l.raw)
	}
	l.run(t, l.newConnections)
	l.run(t, l.pipelined)
	return l
}

func (l *load) run(t *testing.T, client func() error) {
	l.wg.Go(func() {
		for {
			select {
			case <-l.done:
				return
			default:
			}
			if err := client(); err != nil {
				l.failed.Add(1)
				t.Errorf("request lost: %v", err)
				return
			}
		}
	})
}

func (l *load) stop() {
	close(l.done)
	l.wg.Wait()
}

func (l *load) stopped() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// keepAlive is an ordinary client with connections that it uses again, with GET and POST in turn.
func (l *load) keepAlive() error {
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr}
	for i := 0; !l.stopped(); i++ {
		if err := l.one(c, i%2 == 0); err != nil {
			return err
		}
	}
	return nil
}

func (l *load) newConnections() error {
	tr := &http.Transport{DisableKeepAlives: true}
	return l.one(&http.Client{Transport: tr}, true)
}

func (l *load) one(c *http.Client, post bool) error {
	l.sent.Add(1)
	method, body := http.MethodGet, io.Reader(nil)
	if post {
		method, body = http.MethodPost, strings.NewReader("body")
	}
	req, _ := http.NewRequest(method, "http://"+l.listen+"/", body)
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 {
		return fmt.Errorf("%d %q %v", res.StatusCode, b, err)
	}
	return nil
}

// raw writes on a plain socket and forgives nothing: a connection may end only after an answer that says so.
func (l *load) raw() error {
	c, err := net.Dial("tcp", l.listen)
	if err != nil {
		return err
	}
	defer c.Close()
	r := bufio.NewReader(c)
	for !l.stopped() {
		l.sent.Add(1)
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return fmt.Errorf("raw write: %w", err)
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return fmt.Errorf("raw read: %w", err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != 200 {
			return fmt.Errorf("raw: %d, %w", res.StatusCode, err)
		}
		if res.Close {
			return nil // and a new connection
		}
	}
	return nil
}

// pipelined always has the next request on its way before it reads an answer.
func (l *load) pipelined() error {
	c, err := net.Dial("tcp", l.listen)
	if err != nil {
		return err
	}
	defer c.Close()
	r := bufio.NewReader(c)
	const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	for waiting := 0; !l.stopped() || waiting > 0; waiting-- {
		for ; waiting < 3 && !l.stopped(); waiting++ {
			l.sent.Add(1)
			if _, err := io.WriteString(c, request); err != nil {
				return fmt.Errorf("pipelined write: %w", err)
			}
		}
		if waiting == 0 {
			return nil
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return fmt.Errorf("pipelined read, %d answers open: %w", waiting, err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != 200 {
			return fmt.Errorf("pipelined: %d, %w", res.StatusCode, err)
		}
		if res.Close {
			return fmt.Errorf("pipelined: closed with %d answers open", waiting-1)
		}
	}
	return nil
}

func TestUpgradeUnderLoad(t *testing.T) {
	c := startRouter(t, t.TempDir())
	a := routertest.StartNode(t, "a", echoUpgrade)
	b := routertest.StartNode(t, "b", nil)
	listen := routertest.FreeListen(t)
	table := func(seq uint64, wa, wb int) router.Table {
		return routertest.TableOf(seq, routertest.RouteTo(listen, routertest.FleetOf(1, wa, a), routertest.FleetOf(2, wb, b)))
	}
	mustApply(t, c, table(1, 1, 0))
	socket := dialUpgrade(t, listen)
	socket.echo(t, "before")
	first := mustStatus(t, c)
	l := startLoad(t, listen)
	pids := map[int]bool{first.PID: true}
	for i := range 3 {
		routertest.Eventually(t, "load runs", func() bool { return l.sent.Load() > int64(300*(i+1)) })
		s := upgrade(t, c)
		if pids[s.PID] || s.Instance != first.Instance || s.Edge != first.Edge || s.Table == nil {
			t.Fatalf("successor %+v of %+v", s, first)
		}
		pids[s.PID] = true
		mustApply(t, c, table(uint64(i+2), 1, 1))
		socket.echo(t, "over the upgrade")
	}
	l.stop()
	t.Logf("%d requests over 3 upgrades, %d lost", l.sent.Load(), l.failed.Load())

	// Counters are carried on, whichever process counted; the WebSocket is one request more.
	o, err := c.Observe(context.Background())
	if err != nil || len(o.Edges) != 1 {
		t.Fatalf("observe: %+v, %v", o, err)
	}
	if got, want := o.Edges[0].Routes[0].Requests, uint64(l.sent.Load()+1); got != want {
		t.Errorf("%d requests observed, %d sent", got, want)
	}
	if o.Edges[0].Routes[0].Failed != 0 {
		t.Errorf("route %+v", o.Edges[0].Routes[0])
	}

	// A node that leaves is reported while a predecessor has a connection to it, and can be cut there.
	mustApply(t, c, routertest.TableOf(9, routertest.RouteTo(listen, routertest.FleetOf(2, 1, b))))
	o, _ = c.Observe(context.Background())
	if n := o.Edges[0].Nodes[0]; n.Node != "a" || n.InFlight != 1 {
		t.Errorf("nodes %+v", o.Edges[0].Nodes)
	}
	if n, err := c.Cut(context.Background(), routertest.FleetOf(1, 0).ID, "a"); n != 1 || err != nil {
		t.Errorf("cut %d, %v", n, err)
	}
	routertest.Eventually(t, "the predecessors ended", func() bool { return mustStatus(t, c).Predecessor == nil })
	o, err = c.Observe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if n := o.Edges[0].Nodes[0]; n.Node != "a" || n.InFlight != 0 || n.Cut != 1 {
		t.Errorf("nobody is told of the cut in the process that ended: %+v", o.Edges[0].Nodes)
	}
	routertest.Eventually(t, "the empty node vanished", func() bool {
		o, err = c.Observe(context.Background())
		return err == nil && len(o.Edges[0].Nodes) == 1
	})
	if o.Edges[0].Routes[0].Requests < uint64(l.sent.Load()+1) {
		t.Errorf("after they ended: %+v", o.Edges[0])
	}
}

// Old connections follow new tables too: the predecessor gets them through the successor.
func TestOldConnectionsFollowNewTables(t *testing.T) {
	c := startRouter(t, t.TempDir())
	a, b := routertest.StartNode(t, "a", nil), routertest.StartNode(t, "b", nil)
	listen := routertest.FreeListen(t)
	mustApply(t, c, routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 1, a))))
	conn, err := net.Dial("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	ask := func() (string, bool) {
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		return string(body), res.Close
	}
	if body, closes := ask(); body != "a" || closes {
		t.Fatalf("%q, closes %v", body, closes)
	}
	upgrade(t, c)
	mustApply(t, c, routertest.TableOf(2, routertest.RouteTo(listen, routertest.FleetOf(2, 1, b))))
	if body, closes := ask(); body != "b" || closes {
		t.Fatalf("after upgrade and new table: %q, closes %v", body, closes)
	}
}

// Refusals are counted on over an upgrade, while the predecessor still has a connection and when it has ended.
func TestRefusalsGoOnOverAnUpgrade(t *testing.T) {
	c := startRouter(t, t.TempDir())
	node := routertest.StartNode(t, "a", echoUpgrade)
	listen := routertest.FreeListen(t)
	mustApply(t, c, routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 1, node))))
	refused := func() {
		t.Helper()
		conn, r := dialRaw(t, listen, "GET / HTTP/1.1\r\n\r\n")
		if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != 400 {
			t.Fatalf("%+v, %v", res, err)
		}
		_ = conn.Close()
	}
	counted := func(want int) {
		t.Helper()
		b, err := c.Metrics(context.Background())
		if line := fmt.Sprintf(`release_router_rejected_total{reason="no host"} %d`, want); err != nil || !strings.Contains(string(b), line+"\n") {
			t.Errorf("metrics lack %s: %v\n%s", line, err, b)
		}
	}
	refused()
	refused()
	socket := dialUpgrade(t, listen)
	upgrade(t, c)
	counted(2)
	refused()
	counted(3)
	_ = socket.Close()
	routertest.Eventually(t, "the predecessor ended", func() bool { return mustStatus(t, c).Predecessor == nil })
	counted(3)
}

func TestUpgradeToSomethingThatDoesNotServe(t *testing.T) {
	c := startRouter(t, t.TempDir())
	node := routertest.StartNode(t, "a", nil)
	listen := routertest.FreeListen(t)
	mustApply(t, c, routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 1, node))))
	before := mustStatus(t, c)
	for _, exe := range []string{"/bin/false", "/nowhere/release", "", "/bin/sleep"} {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		if _, err := c.Upgrade(ctx, exe); err == nil {
			t.Errorf("upgrade to %q: no error", exe)
		}
		cancel()
	}
	routertest.Eventually(t, "the router is its old self", func() bool { return mustStatus(t, c).PID == before.PID })
	mustApply(t, c, routertest.TableOf(2, routertest.RouteTo(listen, routertest.FleetOf(1, 1, node))))
	if _, body := fetch(t, "GET", "http://"+listen+"/", "", nil); body != "a" {
		t.Errorf("%q", body)
	}
}

// The successor dies at once after it took over: a new start must come up, whatever the predecessor still does.
func TestKilledSuccessor(t *testing.T) {
	dir := t.TempDir()
	c := startRouter(t, dir)
	node := routertest.StartNode(t, "a", echoUpgrade)
	listen := routertest.FreeListen(t)
	mustApply(t, c, routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 1, node))))
	socket := dialUpgrade(t, listen)
	upgrade(t, c)
	kill(t, c)
	socket.echo(t, "in the predecessor")
	startRouter(t, dir)
	fetch(t, "GET", "http://"+listen+"/", "", nil)
}
