package embedded

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// node does what the script of each request says, and holds the request against what its client sent.
func (m *model) node(t *testing.T, name string) *routertest.TestNode {
	return rawNode(t, name, func(c net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			plan, ok := m.plans.Load(req.Header.Get("X-Id"))
			if !ok {
				m.fail("a request that nobody sent: %v", req)
				return
			}
			s := plan.(*script)
			if req.Method != s.method || req.URL.Path != "/"+s.id {
				m.fail("%v\narrived as %s %s", s, req.Method, req.URL)
			}
			if !m.carryOut(s, c, req) {
				return
			}
		}
	})
}

// carryOut is the node's part; false ends the connection.
func (m *model) carryOut(s *script, c net.Conn, req *http.Request) (stays bool) {
	if req.Header.Get("Expect") != "" && s.reads != 0 {
		_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
	}
	for range s.interim {
		_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
	}
	all := s.reads < 0
	got, err := readSome(req.Body, s.reads)
	switch {
	case all && err == nil && !bytes.Equal(got, s.sends):
		m.fail("%v\nthe node read %d bytes, and they are others", s, len(got))
	case all && err == nil && s.broken() && !(s.expect && len(s.sends) == 0):
		m.fail("%v\nthe node took the request for whole", s)
	case !bytes.HasPrefix(s.sends, got):
		m.fail("%v\nthe node read other bytes: %.100q", s, got)
	case all && err != nil:
		return false
	}
	_, _ = c.Write(s.answer)
	switch s.then {
	case "resets":
		_ = c.(*net.TCPConn).SetLinger(0)
		return false
	case "closes":
		return false
	case "hangs":
		_, _ = io.Copy(io.Discard, c)
		return false
	}
	return all || req.ContentLength == 0
}

func readSome(r io.Reader, n int) ([]byte, error) {
	if n < 0 {
		return io.ReadAll(r)
	}
	return io.ReadAll(io.LimitReader(r, int64(n)))
}

// client sends one request after the other for as long as its connection lasts.
func (m *model) client(list []*script) {
	if list[0].h2 {
		for _, s := range list {
			m.askH2(s)
		}
		return
	}
	c := m.dial("")
	defer c.Conn.Close()
	for _, s := range list {
		if !m.ask(c, s) {
			return
		}
	}
}

// ask is an HTTP/1 client's exchange; false ends the connection.
func (m *model) ask(c *client, s *script) (stays bool) {
	text := s.text()
	head := bytes.Index(text, []byte("\r\n\r\n")) + 4
	if s.stops >= 0 && s.stops < len(text) {
		text = text[:s.stops]
	}
	first := text
	if s.expect && len(text) > head {
		first = text[:head]
	}
	_, _ = c.Write(first)
	sent := make(chan struct{})
	asked, once := make(chan struct{}), new(sync.Once)
	go func() {
		defer close(sent)
		if len(first) < len(text) {
			select {
			case <-asked:
			case <-time.After(500 * time.Millisecond): // a client need not wait forever
			}
			_, _ = c.Write(text[len(first):])
		}
		switch s.leaves {
		case "resets":
			_ = c.tcp.SetLinger(0)
			fallthrough
		case "closes":
			_ = c.tcp.Close()
		}
	}()
	defer func() { <-sent }()
	defer func() {
		if !stays {
			_ = c.tcp.Close()
		}
	}()
	for {
		res, err := http.ReadResponse(c.r, &http.Request{Method: s.method})
		if err != nil {
			m.seen(s, 0, "", nil, err)
			return false
		}
		if res.StatusCode == 100 {
			once.Do(func() { close(asked) })
		}
		if res.StatusCode < 200 && res.StatusCode != 101 {
			continue
		}
		if s.takes >= 0 {
			b, _ := io.ReadAll(io.LimitReader(res.Body, int64(s.takes)))
			m.seen(s, res.StatusCode, res.Header.Get("X-Id"), b, io.ErrUnexpectedEOF)
			return false
		}
		b, err := io.ReadAll(res.Body)
		m.seen(s, res.StatusCode, res.Header.Get("X-Id"), b, err)
		return err == nil && !res.Close && !s.broken() && s.leaves == ""
	}
}

// breaking is a body that ends with an error after some bytes.
type breaking struct {
	r    io.Reader
	left int
}

func (b *breaking) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errors.New("the client breaks off")
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// askH2 is an HTTP/2 client's exchange.
func (m *model) askH2(s *script) {
	protocols, scheme := new(http.Protocols), "http"
	protocols.SetUnencryptedHTTP2(true)
	if m.secure {
		protocols, scheme = new(http.Protocols), "https"
		protocols.SetHTTP2(true)
	}
	tr := &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{ServerName: "x", InsecureSkipVerify: true}}
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var body io.Reader
	if s.sends != nil {
		body = bytes.NewReader(s.sends)
		if s.stops >= 0 && s.stops < len(s.text()) {
			body = &breaking{body, min(s.stops, max(len(s.sends)-1, 0))}
		}
	} else if s.stops >= 0 && s.leaves != "" {
		time.AfterFunc(time.Duration(s.stops)*50*time.Microsecond, cancel)
	}
	req, err := http.NewRequestWithContext(ctx, s.method, scheme+"://"+m.listen+"/"+s.id, body)
	if err != nil {
		m.fail("%v\n%v", s, err)
		return
	}
	req.Header.Set("X-Id", s.id)
	if s.sends != nil {
		req.ContentLength = int64(len(s.sends))
		if s.chunked {
			req.ContentLength = -1
		}
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		m.seen(s, 0, "", nil, err)
		return
	}
	defer res.Body.Close()
	if s.takes >= 0 {
		b, _ := io.ReadAll(io.LimitReader(res.Body, int64(s.takes)))
		m.seen(s, res.StatusCode, res.Header.Get("X-Id"), b, io.ErrUnexpectedEOF)
		return
	}
	b, err := io.ReadAll(res.Body)
	m.seen(s, res.StatusCode, res.Header.Get("X-Id"), b, err)
}

// addUp holds the counters against the access log, in which each request has one line.
func (m *model) addUp(t *rapid.T, before router.RouteTraffic, logged int) {
	now := m.e.routeTraffic()
	var requests, failed, rejected uint64
	ids := map[string]bool{}
	for _, entry := range m.logged()[logged:] {
		if entry.Route == "" {
			continue // refused for its head
		}
		requests++
		switch {
		case strings.HasPrefix(entry.Error, "cut in the middle"), entry.Tries > 0 && (entry.Status == 502 || entry.Status == 504):
			failed++
		case entry.Error == errNoNode.Error():
			failed++
		case entry.Status == 400:
			rejected++
		}
		if ids[entry.Path] {
			t.Fatalf("two lines for %s", entry.Path)
		}
		ids[entry.Path] = true
		if entry.Status == 0 {
			t.Fatalf("a line without a status: %+v", entry)
		}
	}
	got := fmt.Sprint(now.Requests-before.Requests, now.Failed-before.Failed, now.Rejected-before.Rejected)
	if want := fmt.Sprint(requests, failed, rejected); got != want {
		t.Fatalf("counted (requests, failed, rejected) %s, logged %s: %+v", got, want, m.logged()[logged:])
	}
}
