package http1

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// message is what was made of some bytes.
type message struct {
	headErr, bodyErr error // ErrMore for what was not there whole
	head             Head
	headLen, used    int // used counts the body too
	body, trailer    string
}

func (m *message) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "head %v, body %v, %d+%d bytes\n%s\n%s\nform %d\n", m.headErr, m.bodyErr, m.headLen, m.used-m.headLen,
		show(&m.head), showResponse(&m.head), m.head.Form)
	for i, f := range m.head.Fields {
		fmt.Fprintf(&s, "%q %q %d %v\n", f.Name, f.Value, f.Known, m.head.Hop(i))
	}
	fmt.Fprintf(&s, "%q\n%s", m.body, m.trailer)
	return s.String()
}

// feeder hands out growing prefixes of a stream, each time at another place in memory, with what came before spoilt.
type feeder struct {
	in   string
	have int
	cuts *rand.Rand // nil: all at once
	last []byte
}

// grow reports false at the end of the stream.
func (f *feeder) grow() bool {
	if f.have == len(f.in) {
		return false
	}
	step := len(f.in)
	if f.cuts != nil {
		step = 1 + f.cuts.IntN(1+f.cuts.IntN(20))
	}
	f.have = min(f.have+step, len(f.in))
	return true
}

func (f *feeder) bytes(from int) []byte {
	for i := range f.last {
		f.last[i] = '!'
	}
	f.last = []byte(f.in[from:f.have])
	return f.last
}

func read(in string, cuts *rand.Rand, parse func([]byte, *Head) (int, error)) *message {
	f, m := &feeder{in: in, cuts: cuts}, new(message)
	if cuts == nil {
		f.grow()
	}
	for {
		b := f.bytes(0)
		m.headLen, m.headErr = parse(b, &m.head)
		if _, err := parse(b, new(Head)); cuts != nil && refused(err) != refused(m.headErr) {
			panic(fmt.Sprintf("%q: %v, but %v for who looks for the first time", b, m.headErr, err))
		}
		if m.headErr != ErrMore || !f.grow() {
			break
		}
	}
	if m.used = m.headLen; m.headErr != nil {
		m.head.Reset()
		return m
	}
	f.last = nil // the head stays
	m.readBody(f)
	return m
}

func (m *message) readBody(f *feeder) {
	rest := f.in[m.headLen:]
	switch m.head.Length {
	case Chunked:
		m.readChunks(f)
	case UntilClose:
		m.body, m.used = rest, len(f.in)
	default:
		if int64(len(rest)) < m.head.Length {
			m.bodyErr = ErrMore
			return
		}
		m.body = rest[:m.head.Length]
		m.used += len(m.body)
	}
}

func (m *message) readChunks(f *feeder) {
	var c ChunkReader
	for {
		b := f.bytes(m.used)
		peeked := c.Peek(b)
		data, n, done, err := c.Next(b)
		if refused(peeked) && peeked != err {
			panic(fmt.Sprintf("Peek says %v, Next %v", peeked, err))
		}
		m.body += string(data)
		m.used += n
		if err == ErrMore && f.grow() {
			continue
		}
		m.bodyErr = err
		if done {
			for _, t := range c.Trailer {
				m.trailer += fmt.Sprintf("%q %q\n", t.Name, t.Value)
			}
		}
		if done || err != nil {
			return
		}
	}
}

func refused(err error) bool {
	_, ok := err.(*Error)
	return ok
}

// compareCuts fails when it matters how the stream was cut.
func compareCuts(t *testing.T, in string, cuts uint64, parse func([]byte, *Head) (int, error)) *message {
	t.Helper()
	whole := read(in, nil, parse)
	pieces := read(in, rand.New(rand.NewPCG(cuts, 0)), parse)
	if refused(whole.bodyErr) && refused(pieces.bodyErr) {
		whole.used, pieces.used = 0, 0 // how far it came in one call
	}
	if whole.String() != pieces.String() {
		t.Fatalf("%q\nwhole: %v\npieces: %v", in, whole, pieces)
	}
	return whole
}

func FuzzRequest(f *testing.F) {
	for _, r := range refusals {
		if len(r.in) < 5000 {
			f.Add([]byte(r.in), uint64(1))
		}
	}
	for _, r := range chunkRefusals {
		f.Add([]byte(teRequest(" chunked")+r.in), uint64(2))
	}
	for _, in := range []string{
		wrkRequest, browserRequest, preface, "\r\n" + wrkRequest,
		"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST http://[::1.2.3.4]:8080/x%41?y HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\nTE: trailers\r\nExpect: 100-continue\r\n\r\n1;a=\"b\"\r\nx\r\n0\r\nX: y\r\nDate: z\r\n\r\nGET",
		"GET / HTTP/1.0\r\nConnection: keep-alive, upgrade\r\nUpgrade: websocket\r\nPragma: no-cache\r\n\r\n",
	} {
		f.Add([]byte(in), uint64(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, cuts uint64) {
		in := string(b)
		m := compareCuts(t, in, cuts, ParseRequest)
		if m.headErr == nil {
			rewriteRequest(t, m)
		}
		compareRequest(t, in, m)
	})
}

func FuzzResponse(f *testing.F) {
	for _, in := range []string{
		response, "HTTP/1.1 200\r\n\r\nbody", "HTTP/1.0 404 Not  Found\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabcd",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Grpc-Status\r\n\r\n3\r\nabc\r\n0\r\nGrpc-Status: 0\r\n\r\nHTTP",
		"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\nHTTP",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81",
		"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 200 OK\nContent-Length: 5\n\nabcde", "HTTP/1.1 099 x\r\n\r\n", "HTTP/2 200\r\n\r\n", "HTTP/1.1  200 OK\r\n\r\n",
	} {
		for method := range uint8(2) {
			f.Add([]byte(in), method, uint64(1))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, m uint8, cuts uint64) {
		in, method := string(b), []string{"GET", "HEAD", "POST"}[m%3]
		compareResponse(t, in, method, compareCuts(t, in, cuts, func(b []byte, h *Head) (int, error) {
			return ParseResponse(b, []byte(method), h)
		}))
	})
}

// FuzzChunks is FuzzRequest for the body alone, which a fuzzer gets to sooner.
func FuzzChunks(f *testing.F) {
	for _, r := range chunkRefusals {
		if len(r.in) < 5000 {
			f.Add([]byte(r.in), uint64(1))
		}
	}
	for _, in := range []string{
		"0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\nGET", "5;a=b;c=\"d\\\"\"\r\nhello\r\n0\r\nA: b\r\nHost: c\r\n\r\n",
		"7fffffffffffffff\r\nx", "00\r\nA:\r\n\r\n", strings.Repeat("1\r\na\r\n", 9) + "0;x\r\n\r\n",
	} {
		f.Add([]byte(in), uint64(2))
	}
	head := teRequest(" chunked")
	f.Fuzz(func(t *testing.T, b []byte, cuts uint64) {
		in := head + string(b)
		compareRequest(t, in, compareCuts(t, in, cuts, ParseRequest))
	})
}
