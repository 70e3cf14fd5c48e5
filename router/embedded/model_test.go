package embedded

import (
	"bytes"
	"flag"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model holds what any client may see of any node, through a router whose patience is short: the answer that the node gave, byte
// for byte; an answer of the router's own; or one that breaks off so that it can tell. What is whole for the node is what was
// whole for the client. Whose turn a time-out is depends on the machine, and does not matter here.
type model struct {
	*rig
	plans sync.Map // id → *script
	mu    sync.Mutex
	wrong []string
	seq   int
}

func newModel(t *testing.T, secure bool) *model {
	m := &model{}
	m.rig = startRig(t, secure, m.node(t, "a"), m.node(t, "b"))
	m.e.cfg.NodeTimeout, m.e.cfg.IdleTimeout = 250*time.Millisecond, 2*time.Second
	m.e.patience = patience{
		handshake: 2 * time.Second, head: 300 * time.Millisecond, stall: 250 * time.Millisecond, silent: 250 * time.Millisecond, goOn: 50 * time.Millisecond,
		broken: 100 * time.Millisecond, pump: 50 * time.Millisecond, close: 100 * time.Millisecond, linger: 50 * time.Millisecond, gone: 50 * time.Millisecond,
	}
	return m
}

func (m *model) fail(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wrong = append(m.wrong, fmt.Sprintf(format, args...))
}

// script is one exchange: what the client does and what the node does.
type script struct {
	id string

	// The client.
	h2      bool
	old     bool // HTTP/1.0
	method  string
	sends   []byte // its body
	chunked bool
	bad     bool // a chunk that is malformed comes after the body's first half
	expect  bool
	stops   int    // bytes of the request after which it sends no more; -1: none
	leaves  string // what it does then: "" waits, "closes", "resets"
	takes   int    // bytes of the answer after which it leaves; -1: all

	// The node.
	reads   int // bytes of the body that it reads before it answers; -1: all
	interim int
	answer  []byte // all that it says
	whole   bool   // that is an answer
	status  int
	body    []byte
	toEnd   bool   // which ends with the connection
	then    string // "stays", "closes", "resets", "hangs"
}

// String is the script in short.
func (s *script) String() string {
	return fmt.Sprintf("%s: client h2 %v, old %v, %s, body %d, chunked %v, bad %v, expect %v, stops %d, leaves %q, takes %d; node reads %d, interim %d, says %.120q (%d), whole %v, to the end %v, then %s",
		s.id, s.h2, s.old, s.method, len(s.sends), s.chunked, s.bad, s.expect, s.stops, s.leaves, s.takes, s.reads, s.interim, s.answer, len(s.answer), s.whole, s.toEnd, s.then)
}

func oneOf[V any](t *rapid.T, what string, values ...V) V {
	return rapid.SampledFrom(values).Draw(t, what)
}

// draw makes up an exchange.
func (m *model) draw(t *rapid.T, h2 bool) *script {
	m.seq++
	s := &script{id: fmt.Sprint("x", m.seq), h2: h2}
	sizes := []int{0, 0, 1, 10, 1000, pieceSize - 20, pieceSize, 40_000, spliceFrom + 1, 300_000}
	s.old = !s.h2 && oneOf(t, "old", false, false, false, true)
	s.method = oneOf(t, "method", "GET", "GET", "HEAD", "POST", "PUT", "DELETE")
	if s.method == "POST" || s.method == "PUT" {
		s.sends = pattern(oneOf(t, "size", sizes...))
		s.chunked = !s.old && oneOf(t, "chunked", false, true)
		s.bad = s.chunked && !s.h2 && oneOf(t, "bad", false, false, false, true)
		s.expect = !s.h2 && len(s.sends) > 0 && oneOf(t, "expect", false, false, true)
	}
	s.stops, s.takes = -1, -1
	if oneOf(t, "broken off", false, false, false, true) {
		s.stops, s.leaves = rapid.IntRange(0, 400+len(s.sends)).Draw(t, "stops"), oneOf(t, "leaves", "", "closes", "resets")
	}
	if oneOf(t, "taken in part", false, false, false, false, true) {
		s.takes = rapid.IntRange(0, 2000).Draw(t, "takes")
	}

	s.reads = oneOf(t, "reads", -1, -1, -1, 0, 1, 5000)
	s.interim = oneOf(t, "interim", 0, 0, 0, 1, 5)
	s.status = oneOf(t, "status", 200, 200, 201, 204, 304, 404, 500, 503)
	s.body = pattern(oneOf(t, "answer", sizes...))
	s.then = oneOf(t, "then", "stays", "stays", "stays", "closes", "resets", "hangs")
	s.encode(t)
	return s
}

// encode writes what the node says.
func (s *script) encode(t *rapid.T) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.%d %d Fine\r\nX-Id: %s\r\n", oneOf(t, "version", 1, 1, 1, 0), s.status, s.id)
	minor := b.Bytes()[7] - '0'
	if s.status == 204 || s.status == 304 || s.method == "HEAD" {
		s.body = nil
		b.WriteString("\r\n")
	} else {
		switch framing := oneOf(t, "framing", "length", "length", "chunks", "end"); {
		case framing == "chunks" && minor == 1:
			b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
			b.WriteString(inChunks(string(s.body), 1+len(s.body)/rapid.IntRange(1, 5).Draw(t, "chunks")) + "0\r\n" + oneOf(t, "trailer", "", "X-Sum: 1\r\n") + "\r\n")
		case framing == "end":
			s.toEnd = true
			b.WriteString("\r\n")
			b.Write(s.body)
			if s.then != "resets" {
				s.then = "closes"
			}
		default:
			fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n", len(s.body))
			b.Write(s.body)
		}
	}
	s.answer, s.whole = b.Bytes(), true
	switch how := oneOf(t, "how", "", "", "", "", "cut", "nothing", "garbage", "more"); how {
	case "cut":
		n := rapid.IntRange(0, len(s.answer)-1).Draw(t, "cut")
		s.whole = s.toEnd && n >= bytes.Index(s.answer, []byte("\r\n\r\n"))+4
		if s.whole {
			s.body = s.answer[bytes.Index(s.answer, []byte("\r\n\r\n"))+4 : n]
		}
		s.answer = s.answer[:n]
	case "nothing":
		s.answer, s.whole = nil, false
	case "garbage":
		s.answer, s.whole = []byte(oneOf(t, "garbage", "what?\r\n\r\n", "\x00\x01\x02", "HTTP/1.1 200 OK\nX: y\n\n", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")), false
	case "more":
		if !s.toEnd {
			s.answer = append(s.answer, "HTTP/1.1 200 OK\r\nX-Id: wrong\r\nContent-Length: 5\r\n\r\nwrong"...)
		}
	}
	if s.toEnd && s.then == "resets" {
		s.whole = false // its body is not known to be all of it
	}
}

// broken says that the client's request is not whole.
func (s *script) broken() bool {
	return s.bad || s.stops >= 0 && s.stops < len(s.text()) && (!s.h2 || s.sends != nil)
}

// text is the client's request as it is on the wire of HTTP/1.
func (s *script) text() []byte {
	var b bytes.Buffer
	version := "1.1"
	if s.old {
		version = "1.0\r\nConnection: keep-alive"
	}
	fmt.Fprintf(&b, "%s /%s HTTP/%s\r\nHost: x\r\nX-Id: %s\r\n", s.method, s.id, version, s.id)
	if s.expect {
		b.WriteString("Expect: 100-continue\r\n")
	}
	switch {
	case s.bad:
		half := len(s.sends) / 2
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n" + inChunks(string(s.sends[:half]), 1+half/3) + "oops\r\n")
	case s.chunked:
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n" + inChunks(string(s.sends), 1+len(s.sends)/3) + "0\r\n\r\n")
	default:
		if s.sends != nil {
			fmt.Fprintf(&b, "Content-Length: %d\r\n", len(s.sends))
		}
		b.WriteString("\r\n")
		b.Write(s.sends)
	}
	return b.Bytes()
}

// seen holds an answer against what the node said. err is why reading it ended early.
func (m *model) seen(s *script, status int, id string, body []byte, err error) {
	gone := s.takes >= 0 || s.leaves != ""
	switch {
	case id == "" && status == 0:
		if err == nil {
			m.fail("%v\nneither answer nor error", s)
		}
	case id == "":
		if !strings.Contains("400 408 413 417 502 503 504", fmt.Sprint(status)) {
			m.fail("%v\nan answer %d of nobody, %.100q", s, status, body)
		}
		if err != nil && !gone {
			m.fail("%v\nhalf an answer %d of the router's own: %v", s, status, err)
		}
	case id != s.id:
		m.fail("%v\nthe answer of another: %q %d %.100q", s, id, status, body)
	case status != s.status:
		m.fail("%v\nstatus %d", s, status)
	case !bytes.HasPrefix(s.body, body):
		m.fail("%v\nother bytes: %.100q", s, body)
	case err == nil && !s.whole && !(s.old && s.toEnd):
		m.fail("%v\nhalf an answer looks whole: %d bytes", s, len(body))
	case err == nil && len(body) < len(s.body):
		m.fail("%v\n%d bytes of %d look whole", s, len(body), len(s.body))
	}
}

// TestModel takes some minutes with -rapid.checks=1000.
func TestModel(t *testing.T) {
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("40") // most of the time of one is waiting
		defer func() { _ = f.Value.Set(f.DefValue) }()
	}
	models := map[bool]*model{false: newModel(t, false), true: newModel(t, true)}
	defer models[false].settle()
	defer models[true].settle()
	rapid.Check(t, func(rt *rapid.T) { models[oneOf(rt, "tls", false, true)].check(rt) })
}

// check has some clients at work at once.
func (m *model) check(t *rapid.T) {
	m.serve()
	before, logged := m.e.routeTraffic(), len(m.logged())
	var clients [][]*script
	for range rapid.IntRange(1, 6).Draw(t, "clients") {
		var list []*script
		h2 := oneOf(t, "h2", false, false, true)
		for range rapid.IntRange(1, 3).Draw(t, "requests") {
			s := m.draw(t, h2)
			m.plans.Store(s.id, s)
			list = append(list, s)
		}
		clients = append(clients, list)
	}
	var wait sync.WaitGroup
	for _, list := range clients {
		wait.Go(func() { m.client(list) })
	}
	wait.Wait()
	m.quiet(t)
	m.addUp(t, before, logged)
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.wrong) > 0 {
		wrong := strings.Join(m.wrong, "\n")
		m.wrong = nil
		t.Fatal(wrong)
	}
}

// quiet waits until nothing is left of the clients.
func (m *model) quiet(t *rapid.T) {
	c := m.dial("GET / HTTP/1.1\r\n\r\n") // connections that came before this one have been accepted when it is refused
	c.want(400, "*")
	_ = c.Conn.Close()
	left := ""
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if left = m.e.left(); left == "" {
			break
		}
	}
	if left != "" {
		t.Fatalf("left behind: %s", left)
	}
	if bad := m.e.bufs.audit.(*audit).bad(); bad != "" {
		t.Fatal(bad)
	}
}
