package embedded

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// rig is an engine whose memory is watched, and its clients. Its end shows that nothing is left of them. Of its patience only
// that is short which ends nothing; a test that is about the end of some patience shortens it itself, before clients come, so
// that a busy machine ends no others.
type rig struct {
	t      *testing.T
	e      *engine
	listen string
	secure bool
	route  router.Route

	begin   sync.Once
	mu      sync.Mutex
	clients []net.Conn
}

// startRig routes everything on a fresh address, with TLS when secure, to a fleet of the nodes. It is served from the first
// dial on; until then settings may be changed.
func startRig(t *testing.T, secure bool, nodes ...*routertest.TestNode) *rig {
	t.Helper()
	r := &rig{t: t, secure: secure, listen: routertest.FreeListen(t)}
	r.e = startEngine(t, func(c *Config) {
		c.AccessLog = filepath.Join(c.Dir, "access.log")
	})
	r.e.bufs.audit = new(audit)
	r.e.patience.gone, r.e.patience.linger, r.e.patience.pump = 100*time.Millisecond, 200*time.Millisecond, 200*time.Millisecond
	r.route = routertest.RouteTo(r.listen, routertest.FleetOf(1, 100, nodes...))
	if secure {
		files := routertest.Certificate(t, t.TempDir(), 1, "x")
		r.route.TLS = &files
	}
	return r
}

// serve begins to.
func (r *rig) serve() {
	r.t.Helper()
	r.begin.Do(func() { r.e.mustApply(r.t, routertest.TableOf(1, r.route)) })
}

// client is one end of a connection to the router, read as it comes.
type client struct {
	t *testing.T
	net.Conn
	tcp *net.TCPConn
	r   *bufio.Reader
}

// dial connects and sends text.
func (r *rig) dial(text string) *client {
	r.t.Helper()
	r.serve()
	conn, err := net.Dial("tcp", r.listen)
	if err != nil {
		r.t.Fatal(err)
	}
	c := &client{t: r.t, Conn: conn, tcp: conn.(*net.TCPConn)}
	if r.secure {
		c.Conn = tls.Client(conn, &tls.Config{ServerName: "x", InsecureSkipVerify: true})
	}
	r.mu.Lock()
	r.clients = append(r.clients, conn)
	r.mu.Unlock()
	c.r = bufio.NewReader(c.Conn)
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	c.send(text)
	return c
}

// send writes; that the other end may have gone already is for the reader to find out.
func (c *client) send(text string) { _, _ = io.WriteString(c.Conn, text) }

// answer reads the next answer whole.
func (c *client) answer(method string) (*http.Response, string, error) {
	res, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		return nil, "", err
	}
	b, err := io.ReadAll(res.Body)
	return res, string(b), err
}

// want reads the next answer and holds its status and body against what is wanted; a body of "*" is any.
func (c *client) want(status int, body string) *http.Response {
	c.t.Helper()
	res, got, err := c.answer("GET")
	if err != nil {
		c.t.Fatalf("answer: %v, want %d", err, status)
	}
	if res.StatusCode != status || body != "*" && got != body {
		c.t.Fatalf("answer %d %.200q, want %d %.200q", res.StatusCode, got, status, body)
	}
	return res
}

// end reads to the end of the connection, which is all that may come, and must come in order.
func (c *client) end() {
	c.t.Helper()
	if b, err := io.ReadAll(c.r); err != nil || len(b) > 0 {
		c.t.Fatalf("instead of the connection's end: %.200q, %v", b, err)
	}
}

// client asks over HTTP/1.1, or over h2 when the rig has TLS. The connections are the rig's.
func (r *rig) client() *http.Client {
	r.serve()
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.clients = append(r.clients, c)
		return c, nil
	}
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{ServerName: "x", InsecureSkipVerify: true}, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 64, DialContext: dial,
	}
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

func (r *rig) url(path string) string {
	if r.secure {
		return "https://" + r.listen + path
	}
	return "http://" + r.listen + path
}

// ask gives the answer's body, or its status when that is not 200.
func (r *rig) ask(c *http.Client, method, path, body string) string {
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url(path), nil)
	if err != nil {
		return err.Error()
	}
	if body != "" {
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	}
	res, err := c.Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return err.Error()
	case res.StatusCode != 200:
		return fmt.Sprint(res.StatusCode)
	}
	return string(b)
}

// settle ends the clients and holds that nothing of them is left: no request, no connection, no goroutine, no memory.
func (r *rig) settle() {
	r.t.Helper()
	r.mu.Lock()
	for _, c := range r.clients {
		_ = c.Close()
	}
	r.mu.Unlock()
	left := ""
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if left = r.e.left(); left == "" {
			break
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("left behind: %s", left)
		}
	}
	if bad := r.e.bufs.audit.(*audit).bad(); bad != "" {
		r.t.Error(bad)
	}
}

// left is what the engine still has of clients, "" when nothing.
func (e *engine) left() string {
	if n := e.inFlight.Load(); n != 0 {
		return fmt.Sprint(n, " requests in flight\n", ourStacks())
	}
	if n := e.conns.Load(); n != 0 {
		return fmt.Sprint(n, " connections\n", ourStacks())
	}
	for _, n := range e.snapshot().Edge.Nodes {
		if n.InFlight != 0 || n.Long != 0 {
			return fmt.Sprintf("at a node: %+v", n)
		}
	}
	idle := 0
	e.mu.Lock()
	for _, n := range e.memory.nodes {
		n.mu.Lock()
		idle += len(n.idle)
		n.mu.Unlock()
	}
	e.mu.Unlock()
	e.sweeper.mu.Lock()
	watched := len(e.sweeper.all)
	e.sweeper.mu.Unlock()
	if watched != idle {
		return fmt.Sprintf("%d connections are looked after, %d to nodes are idle", watched, idle)
	}
	if n := e.bufs.audit.(*audit).out(); n != 0 {
		return fmt.Sprint(n, " buffers")
	}
	return ourStacks()
}

// ourStacks are the goroutines that serve connections.
func ourStacks() string {
	b := make([]byte, 4<<20)
	b = b[:runtime.Stack(b, true)]
	var ours []string
	for _, g := range strings.Split(string(b), "\n\n") {
		for _, f := range []string{"embedded.(*listener).serve", "embedded.(*h2front)", "startPump", "embedded.(*tunnel)", "embedded.(*exchange)"} {
			if strings.Contains(g, f) && !strings.Contains(g, "ourStacks") {
				ours = append(ours, g)
				break
			}
		}
	}
	return strings.Join(ours, "\n\n")
}

// rejections is how many requests the engine refused for a reason.
func (r *rig) rejected(reason string) uint64 { return r.e.reasons.read()[reason] }

// logged are the lines of the access log.
func (r *rig) logged() []accessEntry {
	r.t.Helper()
	b, err := os.ReadFile(r.e.cfg.AccessLog)
	if err != nil {
		r.t.Fatal(err)
	}
	var list []accessEntry
	for line := range bytes.Lines(b) {
		var entry accessEntry
		if err := json.Unmarshal(line, &entry); err != nil {
			r.t.Fatalf("%q: %v", line, err)
		}
		list = append(list, entry)
	}
	return list
}

// bothWays runs a test over plain connections and over TLS.
func bothWays(t *testing.T, test func(t *testing.T, secure bool)) {
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "tls"}[secure], func(t *testing.T) { test(t, secure) })
	}
}

// abreast runs the parts of a test at the same time: most of them wait.
func abreast(t *testing.T, parts map[string]func(*testing.T)) {
	var wait sync.WaitGroup
	turn := make(chan struct{}, 8)
	for name, part := range parts {
		wait.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			t.Run(name, part)
		})
	}
	wait.Wait()
}

// pattern is n bytes, always the same, of which no part looks like another one.
func pattern(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}
