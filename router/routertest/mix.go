package routertest

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Mix is load of all kinds at once that forgives nothing: connections that are used again and new ones, requests sent ahead of
// their turn, bodies of both framings, slow uploads, large answers, event streams, WebSockets, HTTP/2 and HTTP/1.0. Its nodes are
// those of MixNode.
type Mix struct {
	Plain string // listen address of a route without TLS
	TLS   string // of one with TLS, whose certificate is not checked; "": none
	Times int    // how many of each kind; 0: one

	Sent  atomic.Int64 // requests, WebSocket messages and event streams
	Ended atomic.Int64 // WebSockets and event streams that ended in order before their time

	mu    sync.Mutex
	lost  []string
	kinds map[string]int
}

// Lost is what went wrong, each with its kind of client.
func (m *Mix) Lost() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.lost...)
}

// Kinds is how many requests each kind of client sent.
func (m *Mix) Kinds() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]int{}
	for k, n := range m.kinds {
		out[k] = n
	}
	return out
}

// Run sends until ctx ends, and returns when the last answer is there.
func (m *Mix) Run(ctx context.Context) {
	m.kinds = map[string]int{}
	kinds := map[string]func(context.Context, *tally) error{
		"keep-alive": m.keepAlive, "strict": m.strict, "pipelined": m.pipelined, "new": m.newConnections, "bodies": m.bodies,
		"slow upload": m.slowUpload, "large": m.large, "events": m.eventStreams, "socket": m.sockets, "h2c": m.h2c, "1.0": m.old,
	}
	if m.TLS != "" {
		kinds["tls"], kinds["h2"] = m.overTLS, m.h2
	}
	var wait sync.WaitGroup
	for name, kind := range kinds {
		for range max(m.Times, 1) {
			wait.Go(func() { m.keepAt(ctx, name, kind) })
		}
	}
	wait.Wait()
}

// tally counts the requests of one kind.
type tally struct {
	m *Mix
	n int
}

func (t *tally) add() {
	t.n++
	t.m.Sent.Add(1)
}

// keepAt begins again after each end and each loss.
func (m *Mix) keepAt(ctx context.Context, name string, kind func(context.Context, *tally) error) {
	t := &tally{m: m}
	for ctx.Err() == nil {
		if err := kind(ctx, t); err != nil {
			m.mu.Lock()
			m.lost = append(m.lost, fmt.Sprintf("%s: %v", name, err))
			m.mu.Unlock()
		}
	}
	m.mu.Lock()
	m.kinds[name] += t.n
	m.mu.Unlock()
}

// ask sends one request and checks its answer: want is its body, or "*".
func (t *tally) ask(c *http.Client, method, target, want string, body io.Reader, length int64) error {
	t.add()
	req, err := http.NewRequest(method, target, body)
	if err != nil {
		return err
	}
	if body != nil {
		req.ContentLength = length
	}
	id := fmt.Sprint(t.n)
	req.Header.Set("X-Id", id)
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return fmt.Errorf("%s %s: %w after %d bytes of a %d", method, target, err, len(got), res.StatusCode)
	case res.StatusCode != 200 || want != "*" && string(got) != want:
		return fmt.Errorf("%s %s: %d %.100q", method, target, res.StatusCode, got)
	case res.Header.Get("X-Id") != id:
		return fmt.Errorf("%s %s: the answer to %s came to %s", method, target, res.Header.Get("X-Id"), id)
	}
	return nil
}

// session calls one with a client of its own connections, again and again.
func (t *tally) session(ctx context.Context, tr *http.Transport, one func(c *http.Client, i int) error) error {
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr, Timeout: time.Minute}
	for i := 0; ctx.Err() == nil; i++ {
		if err := one(c, i); err != nil {
			return err
		}
	}
	return nil
}

func (m *Mix) keepAlive(ctx context.Context, t *tally) error {
	return t.session(ctx, &http.Transport{}, func(c *http.Client, i int) error {
		if i%2 == 0 {
			return t.ask(c, "GET", "http://"+m.Plain+"/", "*", nil, 0)
		}
		return t.ask(c, "POST", "http://"+m.Plain+"/", "*", strings.NewReader("body"), 4)
	})
}

func (m *Mix) newConnections(ctx context.Context, t *tally) error {
	return t.session(ctx, &http.Transport{DisableKeepAlives: true}, func(c *http.Client, _ int) error {
		return t.ask(c, "GET", "http://"+m.Plain+"/", "*", nil, 0)
	})
}

// bodies go with a length and in chunks, small and large.
func (m *Mix) bodies(ctx context.Context, t *tally) error {
	sizes := []int64{0, 1, 1000, 40_000, 200_000}
	return t.session(ctx, &http.Transport{}, func(c *http.Client, i int) error {
		n := sizes[i%len(sizes)]
		length := n
		if i%2 == 1 {
			length = -1
		}
		return t.ask(c, []string{"POST", "PUT"}[i/2%2], "http://"+m.Plain+"/sum", sumOf(n), io.LimitReader(xs{}, n), length)
	})
}

func sumOf(n int64) string {
	h := sha256.New()
	_, _ = io.CopyN(h, xs{}, n)
	return hex.EncodeToString(h.Sum(nil))
}

// dripping gives a byte every 20 ms.
type dripping struct{ left int }

func (d *dripping) Read(p []byte) (int, error) {
	if d.left == 0 {
		return 0, io.EOF
	}
	time.Sleep(20 * time.Millisecond)
	d.left--
	p[0] = 'x'
	return 1, nil
}

func (m *Mix) slowUpload(ctx context.Context, t *tally) error {
	want := sumOf(40)
	return t.session(ctx, &http.Transport{}, func(c *http.Client, i int) error {
		return t.ask(c, "POST", "http://"+m.Plain+"/sum", want, &dripping{40}, []int64{40, -1}[i%2])
	})
}

func (m *Mix) large(ctx context.Context, t *tally) error {
	want := strings.Repeat("x", 500_000)
	return t.session(ctx, &http.Transport{}, func(c *http.Client, i int) error {
		return t.ask(c, "GET", "http://"+m.Plain+"/bytes?n=500000&chunked="+[]string{"", "1"}[i%2], want, nil, 0)
	})
}

func (m *Mix) overTLS(ctx context.Context, t *tally) error {
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
	return t.session(ctx, tr, func(c *http.Client, i int) error {
		if i%10 == 0 {
			tr.CloseIdleConnections()
		}
		return t.ask(c, []string{"GET", "POST"}[i%2], "https://"+m.TLS+"/", "*", nil, 0)
	})
}

func (m *Mix) h2(ctx context.Context, t *tally) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: protocols}
	return t.session(ctx, tr, func(c *http.Client, i int) error { return t.overH2(c, "https://"+m.TLS, i) })
}

func (m *Mix) h2c(ctx context.Context, t *tally) error {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return t.session(ctx, &http.Transport{Protocols: protocols}, func(c *http.Client, i int) error { return t.overH2(c, "http://"+m.Plain, i) })
}

func (t *tally) overH2(c *http.Client, base string, i int) error {
	switch i % 4 {
	case 1:
		return t.ask(c, "POST", base+"/sum", sumOf(5000), io.LimitReader(xs{}, 5000), -1)
	case 3:
		return t.ask(c, "GET", base+"/bytes?n=100000", strings.Repeat("x", 100_000), nil, 0)
	}
	return t.ask(c, "GET", base+"/", "*", nil, 0)
}

// raw is a plain connection whose end is a loss unless an answer has said so.
type raw struct {
	net.Conn
	r *bufio.Reader
}

func (m *Mix) raw() (*raw, error) {
	c, err := net.Dial("tcp", m.Plain)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Minute))
	return &raw{c, bufio.NewReader(c)}, nil
}

// answer reads one; last says that the connection closes after it.
func (c *raw) answer() (last bool, err error) {
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return true, err
	}
	if b, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 {
		return true, fmt.Errorf("%d %.100q: %w", res.StatusCode, b, err)
	}
	return res.Close, nil
}

const getRoot = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

func (m *Mix) strict(ctx context.Context, t *tally) error {
	c, err := m.raw()
	if err != nil {
		return err
	}
	defer c.Close()
	for ctx.Err() == nil {
		t.add()
		if _, err := io.WriteString(c, getRoot); err != nil {
			return err
		}
		if last, err := c.answer(); last || err != nil {
			return err
		}
	}
	return nil
}

// pipelined has three requests under way; its connection may not close as long as there is one.
func (m *Mix) pipelined(ctx context.Context, t *tally) error {
	c, err := m.raw()
	if err != nil {
		return err
	}
	defer c.Close()
	for waiting := 0; ctx.Err() == nil || waiting > 0; waiting-- {
		for ; waiting < 3 && ctx.Err() == nil; waiting++ {
			t.add()
			if _, err := io.WriteString(c, getRoot); err != nil {
				return err
			}
		}
		if waiting == 0 {
			return nil
		}
		if last, err := c.answer(); err != nil || last {
			return fmt.Errorf("%d answers open: closes %v, %w", waiting, last, err)
		}
	}
	return nil
}

func (m *Mix) old(ctx context.Context, t *tally) error {
	for ctx.Err() == nil {
		c, err := m.raw()
		if err != nil {
			return err
		}
		t.add()
		_, _ = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
		_, err = c.answer()
		_ = c.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// eventStreams may end before their last event, but only between two of them, and as a node would end one.
func (m *Mix) eventStreams(ctx context.Context, t *tally) error {
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	for ctx.Err() == nil {
		t.add()
		res, err := (&http.Client{Transport: tr}).Get("http://" + m.Plain + "/events")
		if err != nil {
			return err
		}
		b, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		n := strings.Count(string(b), "\n\n")
		if err != nil || res.StatusCode != 200 || !strings.HasSuffix(string(b), "\n\n") {
			return fmt.Errorf("event stream: %d, %d events, %w", res.StatusCode, n, err)
		}
		if n < events {
			m.Ended.Add(1)
		}
	}
	return nil
}

// sockets talk until they are told that the server goes away.
func (m *Mix) sockets(ctx context.Context, t *tally) error {
	c, err := m.raw()
	if err != nil {
		return err
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("upgrade: %d", res.StatusCode)
	}
	for i := 0; ctx.Err() == nil; i++ {
		t.add()
		text := fmt.Sprint("message ", i)
		_, werr := c.Write(frame(textFrame, []byte(text), true))
		kind, data, err := readFrame(c.r)
		switch {
		case err != nil:
			return fmt.Errorf("after %d messages: %w", i, errors.Join(err, werr))
		case kind == closeFrame:
			if len(data) != 2 || int(data[0])<<8+int(data[1]) != 1001 {
				return fmt.Errorf("closed with %x", data)
			}
			m.Ended.Add(1)
			_, _ = c.Write(frame(closeFrame, data, true))
			return nil
		case string(data) != text:
			return fmt.Errorf("%q came back as %q", text, data)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}
