package routertest

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

// MixHandler serves what the clients of a Mix ask a node for, over HTTP/1.1 and h2:
//
//	/         its name
//	/sum      the SHA-256 of the request's body, in hex
//	/bytes?n= n bytes of 'x', with their length; &chunked=1: in chunks
//	/events   ten events, 50 ms apart
//	/socket   a WebSocket that sends back what it gets
//	gRPC      service Mix: Echo and Chat
//
// Each answer repeats the request's X-Id, and has the node's name as X-Node.
func MixHandler(name string) http.Handler {
	calls := newMixServer(name)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			calls.ServeHTTP(w, r)
			return
		}
		w.Header().Set("X-Id", r.Header.Get("X-Id"))
		w.Header().Set("X-Node", name)
		switch r.URL.Path {
		case "/sum":
			h := sha256.New()
			if _, err := io.Copy(h, r.Body); err == nil {
				_, _ = io.WriteString(w, hex.EncodeToString(h.Sum(nil)))
			}
		case "/bytes":
			serveBytes(w, r)
		case "/events":
			serveEvents(w, r)
		case "/socket":
			serveSocket(w, name)
		default:
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, name)
		}
	})
}

// MixProtocols are what a node speaks.
func MixProtocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

// MixNode starts a node of this process.
func MixNode(t *testing.T, name string) *TestNode {
	t.Helper()
	s := httptest.NewUnstartedServer(MixHandler(name))
	s.Config.Protocols = MixProtocols()
	s.Start()
	t.Cleanup(s.Close)
	return &TestNode{Name: name, Address: s.Listener.Addr().String(), Server: s}
}

func serveBytes(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(r.URL.Query().Get("n"))
	if r.URL.Query().Get("chunked") == "" {
		w.Header().Set("Content-Length", strconv.Itoa(n))
	}
	_, _ = io.CopyN(w, xs{}, int64(n))
}

// xs is 'x' without end.
type xs struct{}

func (xs) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

const events = 10

func serveEvents(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for i := range events {
		fmt.Fprintf(w, "data: %d\n\n", i)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-time.After(50 * time.Millisecond):
		case <-r.Context().Done():
			return
		}
	}
}

// serveSocket sends frames back, without their mask; a close frame ends it.
func serveSocket(w http.ResponseWriter, name string) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Node: "+name+"\r\n\r\n")
	for {
		kind, data, err := readFrame(rw.Reader)
		if err != nil {
			return
		}
		if _, err := c.Write(frame(kind, data, false)); err != nil || kind == closeFrame {
			return
		}
	}
}

// The first bytes of two kinds of frames. [RFC 6455, 5.2]
const (
	textFrame  = 0x81
	closeFrame = 0x88
)

// frame is one of at most 125 bytes. Masked, as a client's must be, it has a mask of zeros.
func frame(kind byte, data []byte, masked bool) []byte {
	b := []byte{kind, byte(len(data))}
	if masked {
		b[1] |= 0x80
		b = append(b, 0, 0, 0, 0)
	}
	return append(b, data...)
}

// readFrame reads what frame wrote.
func readFrame(r *bufio.Reader) (kind byte, data []byte, err error) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, nil, err
	}
	n := int(head[1] & 0x7f)
	if n > 125 {
		return 0, nil, fmt.Errorf("a frame of another length")
	}
	if head[1]&0x80 != 0 {
		if _, err := io.CopyN(io.Discard, r, 4); err != nil {
			return 0, nil, err
		}
	}
	data = make([]byte, n)
	_, err = io.ReadFull(r, data)
	return head[0], data, err
}
