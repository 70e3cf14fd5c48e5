package embedded

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

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
