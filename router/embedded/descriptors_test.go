package embedded

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// A router with few descriptors and too many silent clients still obeys, and still serves whoever says something.
func TestFewDescriptors(t *testing.T) {
	const limit, silent, asked = 256, 300, 5
	bothWays(t, func(t *testing.T, secure bool) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		dir := t.TempDir()
		c := startLimited(t, dir, limit)
		r := routertest.RouteTo(routertest.FreeListen(t), routertest.FleetOf(1, 100, routertest.StartNode(t, "a", nil)))
		url := "http://" + r.Listen + "/"
		if secure {
			files := routertest.Certificate(t, t.TempDir(), 1, "x")
			r.TLS, url = &files, "https://"+r.Listen+"/"
		}
		if err := c.Apply(ctx, routertest.TableOf(1, r)); err != nil {
			t.Fatal(err)
		}
		for range silent {
			dialText(t, r.Listen, "")
		}
		for seq := range uint64(asked) {
			if err := c.Apply(ctx, routertest.TableOf(2+seq, r)); err != nil {
				t.Fatal(err)
			}
			tr := &http.Transport{TLSClientConfig: &tls.Config{ServerName: "x", InsecureSkipVerify: true}}
			req, _ := http.NewRequestWithContext(ctx, "GET", url, nil)
			res, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			tr.CloseIdleConnections()
			if res.StatusCode != 200 {
				t.Fatalf("status %d", res.StatusCode)
			}
		}
		o, err := c.Observe(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if n := o.Edges[0].Nodes[0]; n.Connect != 0 || n.Requests != asked {
			t.Errorf("node %+v", n)
		}
		log, err := os.ReadFile(filepath.Join(dir, logName))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(log), `"WARN"`); n == 0 || n > 3 { // one a minute
			t.Errorf("%d warnings:\n%s", n, log)
		}
	})
}

// startLimited is startRouter with so many descriptors.
func startLimited(t *testing.T, dir string, limit int) *Client {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`ulimit -n %d && exec "$@"`, limit)
	if _, err := Ensure(context.Background(), dir, "/bin/sh", []string{"-c", script, "sh", exe, asRouter, dir}); err != nil {
		t.Fatal(err)
	}
	return startRouter(t, dir) // it runs: this ends it with the test
}

// Where there is no descriptor for a connection to a node, the node is not at fault.
func TestNoDescriptorIsNotTheNodesFault(t *testing.T) {
	e := startEngine(t, nil)
	e.descriptors.nodes = 0
	fleet := routertest.FleetOf(1, 100, routertest.StartNode(t, "a", nil))
	for i, r := range []router.Route{routertest.RouteTo(routertest.FreeListen(t), fleet), h2cRoute(routertest.FreeListen(t), fleet)} {
		e.mustApply(t, routertest.TableOf(uint64(1+i), r))
		res, _ := fetch(t, "GET", "http://"+r.Listen+"/", "", nil)
		if n := e.nodeTraffic("a"); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || n.Connect != 0 || n.Requests != 0 {
			t.Errorf("%q: %d, node %+v", r.Nodes, res.StatusCode, n)
		}
	}
	x := &exchange{e: e, ctx: context.Background()}
	for _, err := range []error{syscall.EMFILE, syscall.ENFILE} {
		if got := x.classify(fmt.Errorf("dial: %w", errors.Join(err))); got != causeLocal {
			t.Errorf("%v: %d", err, got)
		}
	}
}

// Those that have been idle for longest go first, and one that waits for its answer stays.
func TestEvictLongestIdle(t *testing.T) {
	e := startEngine(t, nil)
	release := make(chan struct{})
	listen := e.serveNodes(t, routertest.StartNode(t, "a", func(http.ResponseWriter, *http.Request) { <-release }))
	dialText(t, listen, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	routertest.Eventually(t, "the request is at the node", func() bool { return e.nodeTraffic("a").InFlight == 1 })
	first := dialText(t, listen, "")
	l := e.listeners.at(listen)
	idle := func(n int) func() bool {
		return func() bool {
			var list []idler
			return !l.idlers(&list) && len(list) == n
		}
	}
	routertest.Eventually(t, "one is idle", idle(1))
	second := dialText(t, listen, "")
	routertest.Eventually(t, "two are idle", idle(2))
	if !e.evict() {
		t.Error("none was ended")
	}
	_ = first.SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, err := first.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the first: %d, %v", n, err)
	}
	routertest.Eventually(t, "one is left", idle(1))
	e.evict()
	_ = second.SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, err := second.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the second: %d, %v", n, err)
	}
	routertest.Eventually(t, "none is left", idle(0))
	if e.evict() || e.nodeTraffic("a").InFlight != 1 {
		t.Error("a connection with a request was ended")
	}
	close(release)
}

// An h2 connection without requests makes room like any other; one with a request stays.
func TestEvictIdleH2(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		e := startEngine(t, nil)
		release := make(chan struct{})
		r := routertest.RouteTo(routertest.FreeListen(t), routertest.FleetOf(1, 100, routertest.StartNode(t, "a", func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path == "/waits" {
				<-release
			}
		})))
		url, client := "http://"+r.Listen, h2cClient(t)
		if secure {
			files := routertest.Certificate(t, t.TempDir(), 1, "x")
			r.TLS, url = &files, "https://"+r.Listen
			tr := &http.Transport{TLSClientConfig: &tls.Config{ServerName: "x", InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
			t.Cleanup(tr.CloseIdleConnections)
			client = &http.Client{Transport: tr}
		}
		e.mustApply(t, routertest.TableOf(1, r))
		get := func(path string) error {
			res, err := client.Get(url + path)
			if err == nil {
				err = res.Body.Close()
			}
			return err
		}
		if err := get("/"); err != nil {
			t.Fatal(err)
		}
		l := e.listeners.at(r.Listen)
		idle := func(n int) func() bool {
			return func() bool {
				var list []idler
				return !l.idlers(&list) && len(list) == n
			}
		}
		routertest.Eventually(t, "it is idle", idle(1))
		answered := make(chan error, 1)
		go func() { answered <- get("/waits") }()
		routertest.Eventually(t, "a request is under way", idle(0))
		if e.evict() {
			t.Error("a connection with a request was ended")
		}
		close(release)
		if err := <-answered; err != nil {
			t.Fatal(err)
		}
		routertest.Eventually(t, "it is idle again", idle(1))
		if !e.evict() {
			t.Error("it was not ended")
		}
		routertest.Eventually(t, "it is gone", func() bool { return e.conns.Load() == 0 })
		if err := get("/"); err != nil {
			t.Errorf("on a new connection: %v", err)
		}
	})
}
