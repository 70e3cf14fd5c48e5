package embedded

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/bootandshoot/release/router/embedded/http1"
	"github.com/bootandshoot/release/router/routertest"
)

// h2conn is a client's h2 connection, frame by frame.
type h2conn struct {
	t *testing.T
	*http2.Framer
	conn  net.Conn
	tcp   *net.TCPConn
	block bytes.Buffer
	enc   *hpack.Encoder
}

// h2 opens a connection, over TLS when the rig has it, that grants window bytes to each stream.
func (r *rig) h2(window uint32) *h2conn {
	r.t.Helper()
	r.serve()
	tcp, err := net.Dial("tcp", r.listen)
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	r.clients = append(r.clients, tcp)
	r.mu.Unlock()
	return newH2Conn(r.t, tcp, r.secure, window)
}

func newH2Conn(t *testing.T, tcp net.Conn, secure bool, window uint32) *h2conn {
	_ = tcp.SetDeadline(time.Now().Add(time.Minute))
	c := &h2conn{t: t, conn: tcp, tcp: tcp.(*net.TCPConn)}
	if secure {
		c.conn = tls.Client(tcp, &tls.Config{ServerName: "x", InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	}
	c.Framer = http2.NewFramer(c.conn, bufio.NewReader(c.conn))
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.enc = hpack.NewEncoder(&c.block)
	_, _ = io.WriteString(c.conn, http2.ClientPreface)
	_ = c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
	return c
}

// request sends the head of one.
func (c *h2conn) request(id uint32, method, path string, ends bool, more ...string) {
	c.block.Reset()
	for i, fields := 0, append([]string{":method", method, ":scheme", "http", ":authority", "x", ":path", path}, more...); i < len(fields); i += 2 {
		_ = c.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block.Bytes(), EndStream: ends, EndHeaders: true})
}

// outcome reads to the end of a stream: its status and body, and how it ended: "end", "reset", "goaway" or an error.
func (c *h2conn) outcome(id uint32) (status int, body string, how string) {
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			return status, body, err.Error()
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = c.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			if frame.StreamID == id {
				if text := frame.PseudoValue("status"); text != "" {
					status, _ = strconv.Atoi(text)
				}
			}
			if frame.StreamID == id && frame.StreamEnded() {
				return status, body, "end"
			}
		case *http2.DataFrame:
			if frame.StreamID == id {
				body += string(frame.Data())
			}
			if frame.StreamID == id && frame.StreamEnded() {
				return status, body, "end"
			}
		case *http2.RSTStreamFrame:
			if frame.StreamID == id {
				return status, body, "reset"
			}
		case *http2.GoAwayFrame:
			return status, body, "goaway"
		}
	}
}

// A client that gives no window, or does not read at all, is let go, and no node is blamed.
func TestH2ClientThatStopsReading(t *testing.T) {
	parts := map[string]func(*testing.T){}
	for i := range 4 {
		secure, whole := i&1 > 0, i&2 > 0
		parts[fmt.Sprintf("tls %v, the whole connection %v", secure, whole)] = func(t *testing.T) {
			r := startRig(t, secure, bigAnswer(t, 64<<20, true))
			defer r.settle()
			r.e.patience.stall = 500 * time.Millisecond
			window := uint32(1 << 20)
			if whole {
				window = 1<<31 - 1
			}
			c := r.h2(window)
			if whole {
				_ = c.WriteWindowUpdate(0, 1<<30)
			}
			c.request(1, "GET", "/", true)
			routertest.Eventually(t, "it is under way", func() bool { return r.e.inFlight.Load() == 1 })
			routertest.Eventually(t, "it is over", func() bool { return r.e.inFlight.Load() == 0 })
			if _, _, how := c.outcome(1); how == "end" {
				t.Error("the answer looks whole")
			}
			if n, route := r.e.nodeTraffic("a"), r.e.routeTraffic(); n.Reset+n.Timeout > 0 || route.Failed > 0 {
				t.Errorf("node %+v, route %+v", n, route)
			}
		}
	}
	abreast(t, parts)
}

// A body that stops coming ends the request, but not one of gRPC, nor one that is being answered.
func TestH2BodyThatStops(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		r := startRig(t, secure, routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/answered" {
				_ = http.NewResponseController(w).EnableFullDuplex()
				_ = http.NewResponseController(w).Flush()
			}
			b, _ := io.ReadAll(r.Body)
			_, _ = w.Write(b)
		}))
		defer r.settle()
		r.e.patience.stall = 400 * time.Millisecond
		c := r.h2(1 << 20)
		c.request(1, "POST", "/", false)
		_ = c.WriteData(1, false, []byte("begun"))
		if status, _, how := c.outcome(1); status != 408 || how != "end" {
			t.Errorf("%d, %s", status, how)
		}
		for _, id := range []uint32{3, 5} {
			if id == 3 {
				c.request(id, "POST", "/", false, "content-type", "application/grpc+proto")
			} else {
				c.request(id, "POST", "/answered", false)
			}
			time.Sleep(r.e.patience.stall + 3*sweepEvery)
			_ = c.WriteData(id, true, []byte("all"))
			if status, body, how := c.outcome(id); status != 200 || body != "all" || how != "end" {
				t.Errorf("%d: %d %q %s", id, status, body, how)
			}
		}
	})
}

// Streams that clients reset at any stage leave nothing behind, and no node is blamed.
func TestH2ClientResets(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		large := pattern(4 << 20)
		r := startRig(t, secure, routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if r.URL.Path == "/large" {
				_, _ = w.Write(large)
				return
			}
			<-r.Context().Done()
		}))
		defer r.settle()
		c := r.h2(1 << 16)
		for id := uint32(1); id < 200; id += 2 {
			switch id % 8 {
			case 1:
				c.request(id, "GET", "/", true)
			case 3:
				c.request(id, "GET", "/", true)
				routertest.Eventually(t, "the node has it", func() bool { return r.e.nodeTraffic("a").InFlight > 0 })
			case 5:
				c.request(id, "POST", "/", false)
				_ = c.WriteData(id, false, []byte("begun"))
				routertest.Eventually(t, "the node has it", func() bool { return r.e.nodeTraffic("a").InFlight > 0 })
			case 7:
				c.request(id, "GET", "/large", true)
				routertest.Eventually(t, "the node has it", func() bool { return r.e.nodeTraffic("a").InFlight > 0 })
			}
			_ = c.WriteRSTStream(id, http2.ErrCodeCancel)
		}
		routertest.Eventually(t, "nothing is in flight", func() bool { return r.e.inFlight.Load() == 0 })
		if n, route := r.e.nodeTraffic("a"), r.e.routeTraffic(); n.Reset+n.Timeout+n.Connect > 0 || route.Failed > 0 {
			t.Errorf("node %+v, route %+v", n, route)
		}
	})
}

// A client that resets streams as fast as it can does not make the router do more than a bounded number of things at once, and
// others are served meanwhile. [CVE-2023-44487]
func TestH2RapidReset(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		r := startRig(t, secure, routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				<-r.Context().Done()
			}
		}))
		defer r.settle()
		r.serve()
		before := runtime.NumGoroutine()
		const attackers = 3
		ended := make(chan int, attackers)
		for range attackers {
			c := r.h2(1 << 16)
			go func() { _, _ = io.Copy(io.Discard, c.conn) }()
			go func() {
				sent := 0
				for id := uint32(1); id < 1_600_000; id += 2 {
					c.request(id, "GET", "/slow", true)
					if err := c.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
						break
					}
					sent++
				}
				ended <- sent
			}()
		}
		most := 0
		for left := attackers; left > 0; {
			select {
			case sent := <-ended:
				left--
				if sent > 600_000 {
					t.Errorf("ended after %d resets", sent)
				}
			default:
				most = max(most, runtime.NumGoroutine()-before)
				start := time.Now()
				c := r.dial("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
				c.want(200, "")
				if took := time.Since(start); took > 10*time.Second {
					t.Errorf("another client waited %s", took)
				}
				_ = c.Conn.Close()
			}
		}
		// Each stream has its handler; each of them a connection to the node, whose server has two goroutines for it.
		if limit := attackers*maxStreams*5 + 100; most > limit {
			t.Errorf("%d goroutines more, at most %d", most, limit)
		}
		hasty, other := r.rejected("rapid reset"), r.rejected("http2 connection error")
		if hasty == 0 || hasty+other < attackers {
			t.Errorf("%d connections are counted as ended for their resets, %d as ended by net/http", hasty, other)
		}
		t.Logf("%d goroutines more; %d ended here, %d by net/http", most, hasty, other)
	})
}

// A head that never ends is not collected. [CVE-2024-27316]
func TestH2ContinuationFlood(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		node := routertest.StartNode(t, "a", nil)
		r := startRig(t, secure, node)
		defer r.settle()
		c := r.h2(1 << 16)
		c.block.Reset()
		_ = c.enc.WriteField(hpack.HeaderField{Name: ":method", Value: "GET"})
		_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.block.Bytes()})
		answered := make(chan bool, 1)
		go func() { // reads only: the other side of the framer is in use
			for {
				frame, err := c.ReadFrame()
				if _, ok := frame.(*http2.MetaHeadersFrame); ok || err != nil {
					answered <- ok
					return
				}
			}
		}()
		piece := bytes.Repeat([]byte{0x40, 1, 'x', 1, 'y'}, 3000)
		sent := 0
		for range 10_000 {
			if err := c.WriteContinuation(1, false, piece); err != nil {
				break
			}
			sent += len(piece)
		}
		if sent > 20<<20 {
			t.Errorf("%d bytes were taken", sent)
		}
		if <-answered {
			t.Error("it was answered")
		}
		if node.Seen.Load() > 0 {
			t.Error("the node saw it")
		}
		if n := r.rejected("http2 connection error"); n != 1 {
			t.Errorf("it is counted %d times", n)
		}
	})
}

// A head that is too large is refused and counted as over HTTP/1.1, if it is not so large that net/http ends its connection.
func TestH2LargeHead(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		node := routertest.StartNode(t, "a", nil)
		r := startRig(t, secure, node)
		defer r.settle()
		c := r.h2(1 << 16)
		for i, tt := range []struct{ size, status, refused int }{
			{http1.MaxHead - 1024, 200, 0}, {http1.MaxHead, 431, 1}, {http1.MaxHead + h2Frame/2, 431, 2},
		} {
			id := uint32(2*i + 1)
			c.block.Reset()
			for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "x"}, {":path", "/"}} {
				_ = c.enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
			}
			for left := tt.size; left > 0; left -= 8 << 10 {
				_ = c.enc.WriteField(hpack.HeaderField{Name: "x", Value: strings.Repeat("~", min(left, 8<<10)), Sensitive: true})
			}
			c.head(id, c.block.Bytes())
			if status, _, how := c.outcome(id); status != tt.status || how != "end" {
				t.Errorf("%d bytes: %d %s, want %d", tt.size, status, how, tt.status)
			}
			if n := r.rejected("head too large"); n != uint64(tt.refused) {
				t.Errorf("after %d bytes: %d are counted, want %d", tt.size, n, tt.refused)
			}
		}
		if n := node.Seen.Load(); n != 1 {
			t.Errorf("the node saw %d", n)
		}
	})
}

// head sends a request's head in as many frames as it needs.
func (c *h2conn) head(id uint32, block []byte) {
	piece := func() (p []byte, last bool) {
		p = block[:min(len(block), h2Frame)]
		block = block[len(p):]
		return p, len(block) == 0
	}
	p, last := piece()
	_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p, EndStream: true, EndHeaders: last})
	for !last {
		p, last = piece()
		_ = c.WriteContinuation(id, last, p)
	}
}

// What nodes do wrong shows over h2 too.
func TestBadNodesOverH2(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\n"
	for name, tt := range map[string]struct {
		text   string
		ends   bool
		status int
		body   string
		how    string
	}{
		"nothing":              {"", true, 502, "*", "end"},
		"garbage":              {"what?\r\n\r\n", false, 502, "*", "end"},
		"half a head":          {head + "Con", true, 502, "*", "end"},
		"half a body":          {head + "Content-Length: 10\r\n\r\nhello", true, 200, "hello", "reset"},
		"a body up to the end": {head + "\r\nhello", true, 200, "hello", "end"},
		"half a chunk":         {head + "Transfer-Encoding: chunked\r\n\r\n9\r\nhello", true, 200, "hello", "reset"},
		"a malformed chunk":    {head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz", false, 200, "hello", "reset"},
		"trailers":             {head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\nContent-Length: 7\r\n\r\n", false, 200, "hello", "end"},
		"hop by hop":           {head + "Connection: close, X\r\nX: y\r\nKeep-Alive: 5\r\nUpgrade: z\r\nContent-Length: 5\r\n\r\nhello", true, 200, "hello", "end"},
		"interim":              {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + head + "Content-Length: 5\r\n\r\nhello", false, 200, "hello", "end"},
		"unasked upgrade":      {switching, false, 502, "*", "end"},
		"no content":           {"HTTP/1.1 204 No Content\r\n\r\n", false, 204, "", "end"},
		"not modified":         {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, 304, "", "end"},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRig(t, false, rawNode(t, "a", says(tt.text, tt.ends)))
			defer r.settle()
			c := r.h2(1 << 20)
			c.request(1, "GET", "/", true)
			if status, body, how := c.outcome(1); status != tt.status || tt.body != "*" && body != tt.body || how != tt.how {
				t.Errorf("%d %q %s; want %d %q %s", status, body, how, tt.status, tt.body, tt.how)
			}
		})
	}
}

// An answer of an h2c node that comes before the end of a body from an HTTP/1.1 client: what the client sends next is not taken
// for more of that body.
func TestEarlyAnswerOfAnH2CNode(t *testing.T) {
	node := h2cNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/early" {
			w.WriteHeader(413)
			return
		}
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	})
	r := startRig(t, false, node)
	defer r.settle()
	r.route.Nodes = "h2c"
	for range 20 {
		c := r.dial("POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhello")
		c.want(413, "")
		c.send("GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
		if b, err := io.ReadAll(c.r); len(b) > 0 {
			t.Fatalf("%q, %v", b, err)
		}
	}
	c := r.dial("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
	c.drip("hello", time.Millisecond)
	c.want(200, "hello")
}

// Interim answers to streams that are reset at that moment: nothing is written while it is read.
func TestH2ResetDuringInterimAnswers(t *testing.T) {
	node := rawNode(t, "a", func(c net.Conn, r *bufio.Reader) {
		for readHead(r) {
			for range 20 {
				_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-A: b\r\nX-C: d\r\n\r\n")
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-E: f\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	r := startRig(t, false, node)
	defer r.settle()
	c := r.h2(1 << 16)
	go func() { _, _ = io.Copy(io.Discard, c.conn) }()
	for id := uint32(1); id < 3000; id += 2 {
		c.request(id, "GET", "/", true)
		for deadline := time.Now().Add(time.Duration(id%7) * 50 * time.Microsecond); time.Now().Before(deadline); {
			runtime.Gosched()
		}
		_ = c.WriteRSTStream(id, http2.ErrCodeCancel)
	}
}

// Answers of an h2c node that are legal, and a status that is none: neither harms anybody else.
func TestStatusOfAnH2CNode(t *testing.T) {
	node := rawNode(t, "a", serveStatuses)
	r := startRig(t, false, node)
	defer r.settle()
	r.route.Nodes = "h2c"
	for path, want := range map[string]int{"/304": 304, "/204": 204, "/-100": 502, "/42": 502, "/99999": 502} {
		c := r.dial("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n")
		c.want(want, "*")
	}
}

// What a client sends does not make its node look bad: a request that is too large with what is added to it, names of trailers that are none.
func TestNodeIsNotBlamedForClients(t *testing.T) {
	r := startRig(t, false, h2cNode(t, "a", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer r.settle()
	r.route.Nodes = "h2c"
	c := r.dial("GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 199) + "\r\n")
	c.want(431, "*")
	c = r.dial("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: a b, X-Sum\r\n\r\n5\r\nhello\r\n")
	c.send("0\r\n\r\n")
	c.want(200, "")
	if n := r.e.nodeTraffic("a"); n.Reset+n.Timeout > 0 || n.Ejected {
		t.Errorf("node %+v", n)
	}
}

// A head that is larger than its node takes is the client's: the node never has it.
func TestHeadTooLargeForAnH2CNode(t *testing.T) {
	node := h2cServer(t, "a", &http.Server{MaxHeaderBytes: 4 << 10, Handler: http.NotFoundHandler()})
	bothWays(t, func(t *testing.T, secure bool) {
		r := startRig(t, secure, node)
		defer r.settle()
		r.route.Nodes = "h2c"
		c := r.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		c.want(404, "*") // with it comes what the node takes
		for i, head := range []string{"GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\nContent-Length: 5\r\n"} {
			c = r.dial(head + "Host: x\r\nX: " + strings.Repeat("y", 8<<10) + "\r\n\r\nhello"[:4+5*i])
			c.want(431, "head too large for the node\n")
		}
		if n, route := r.e.nodeTraffic("a"), r.e.routeTraffic(); n.Reset+n.Timeout > 0 || n.Requests != 1 || route.Failed > 0 || route.Rejected != 2 {
			t.Errorf("node %+v, route %+v", n, route)
		}
		if n := r.rejected("head too large for the node"); n != 2 {
			t.Errorf("%d are counted", n)
		}
	})
}

// serveStatuses answers each stream with the status that its path names, and with a length but no body.
func serveStatuses(c net.Conn, r *bufio.Reader) {
	serveFrames(c, r, func(f *http2.Framer, frame http2.Frame) {
		if h, ok := frame.(*http2.MetaHeadersFrame); ok {
			answerStatus(f, h)
		}
	})
}

// answerStatus answers with the status that the path names.
func answerStatus(f *http2.Framer, h *http2.MetaHeadersFrame) {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	_ = enc.WriteField(hpack.HeaderField{Name: ":status", Value: h.PseudoValue("path")[1:]})
	_ = enc.WriteField(hpack.HeaderField{Name: "content-length", Value: "5"})
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: h.StreamID, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
}

// serveFrames is an h2c node frame by frame.
func serveFrames(c net.Conn, r *bufio.Reader, each func(*http2.Framer, http2.Frame)) {
	_, _ = io.ReadFull(r, make([]byte, len(http2.ClientPreface)))
	f := http2.NewFramer(c, r)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = f.WriteSettings()
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		each(f, frame)
	}
}

// A stream whose client has said all that it has to say holds the memory of its answer alone.
func TestH2BodyThatEndedHoldsNothing(t *testing.T) {
	done := make(chan struct{})
	node := h2cNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", grpcType)
		_ = http.NewResponseController(w).Flush()
		<-done
	})
	r := startRig(t, false)
	defer r.settle()
	defer close(done)
	r.route = h2cRoute(r.listen, routertest.FleetOf(1, 1, node))
	c := r.h2(1 << 20)
	const calls = 5
	for i := range uint32(calls) {
		c.request(2*i+1, "POST", "/svc/Watch", false, "content-type", grpcType)
		_ = c.WriteData(2*i+1, true, []byte("hello"))
	}
	answered := 0
	for answered < calls {
		frame, err := c.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = c.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			answered++
		}
	}
	routertest.Eventually(t, "a buffer a call is lent", func() bool { return r.e.bufs.audit.(*audit).out() == calls })
}
