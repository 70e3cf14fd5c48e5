package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/bootandshoot/release/router/embedded/http1"
)

// stream is a node's answer over h2c.
type stream struct {
	res    *http.Response
	x      *exchange
	cancel context.CancelFunc
	room   *[roomSize]byte
	bufs   *buffers
	silent bool       // it was given up for that
	long   *streamEnd // of a gRPC call, which counts as long from its beginning; nil: none
}

// h2cTransport is made when a node is first spoken to over h2c.
func (n *node) h2cTransport(e *engine) *http.Transport {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.h2c == nil {
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		n.h2c = &http.Transport{
			Protocols: protocols, DisableCompression: true, MaxResponseHeaderBytes: maxAnswerHead, IdleConnTimeout: repeatableIdle,
			HTTP2: &http.HTTP2Config{SendPingTimeout: e.patience.ping, PingTimeout: e.patience.pong},
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				return e.dial(ctx, &net.Dialer{}, address)
			},
		}
	}
	return n.h2c
}

// tryH2C sends the request over h2c and waits for the head of the answer.
func (x *exchange) tryH2C() (*answer, error) {
	ctx, cancel := context.WithCancel(x.ctx)
	once := h2cOnce{cancel: cancel}
	if x.body == nil {
		ctx = once.trace(ctx)
	}
	req, err := x.h2cRequest(ctx)
	if err != nil {
		cancel()
		return nil, errors.Join(errClient, err) // it is too large with what is added to it, or its body failed
	}
	long := x.longH2C(cancel)
	var limit *h2cLimit
	if long == nil { // a gRPC call is bounded by its client, which may say so in grpc-timeout
		limit = x.limitH2C(req, cancel)
	}
	wait := x.waitH2C(cancel)
	res, err := x.node.h2cTransport(x.e).RoundTrip(req)
	failed := wait.end()
	if err == nil && (res.StatusCode < 200 || res.StatusCode > 999) {
		_ = res.Body.Close()
		err = fmt.Errorf("the node's answer is malformed: status %d", res.StatusCode)
	}
	if failed != nil && err == nil {
		_ = res.Body.Close() // it cannot be read any more
		err = failed
	}
	if err != nil {
		expired := limit.end()
		cancel()
		x.takeBack()
		ended := long.over()
		if failed != nil && x.ctx.Err() == nil {
			return nil, failed
		}
		if ended && x.ctx.Err() == nil {
			return nil, errCut
		}
		if expired && x.ctx.Err() == nil {
			return nil, context.DeadlineExceeded
		}
		if once.again.Load() {
			return nil, errRefused
		}
		return nil, h2cError(err)
	}
	limit.end()
	a := &x.answer
	a.start(nil)
	a.stream = &stream{res: res, x: x, cancel: cancel, room: x.e.bufs.get(), bufs: x.e.bufs, long: long}
	a.head.Status, a.head.Reason, a.head.Minor = res.StatusCode, []byte(http.StatusText(res.StatusCode)), 1
	a.head.Fields = append(a.head.Fields, fieldsOf(res.Header)...)
	a.head.Length = http1.Chunked
	if res.Body == http.NoBody || res.ContentLength == 0 || res.StatusCode == http.StatusNoContent || res.StatusCode == http.StatusNotModified {
		a.head.Length = 0
	} else if res.ContentLength > 0 {
		a.head.Length = res.ContentLength
	}
	a.frame()
	if a.long {
		return a, nil
	}
	a.stream.long = nil // an answer with an end of its own
	if long.over() && !a.over {
		a.stream.close()
		return nil, errCut
	}
	return a, nil
}

// limitH2C bounds the wait for the head of the answer, which begins when the request's body has gone out.
func (x *exchange) limitH2C(req *http.Request, cancel context.CancelFunc) *h2cLimit {
	l := &h2cLimit{timeout: x.timeout(), cancel: cancel}
	if !x.body.streamed() {
		l.begin()
		return l
	}
	req.Body = &endsWith{req.Body, l.begin}
	return l
}

// h2cLimit bounds one wait for a node: its stream is cancelled when the time is over.
type h2cLimit struct {
	timeout time.Duration
	cancel  context.CancelFunc

	mu      sync.Mutex
	timer   *time.Timer // nil: it has not begun
	over    bool        // nobody waits any more
	expired bool
}

func (l *h2cLimit) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer == nil && !l.over {
		l.timer = time.AfterFunc(l.timeout, l.expire)
	}
}

func (l *h2cLimit) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.expired = true
		l.cancel()
	}
}

// end is called when the wait is over, and says whether that was because of the limit. Without a limit it was not.
func (l *h2cLimit) end() (expired bool) {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	if l.timer != nil {
		l.timer.Stop()
	}
	return l.expired
}

// endsWith tells when a body has ended.
type endsWith struct {
	io.ReadCloser
	ended func()
}

// Read is io.Reader's.
func (b *endsWith) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.ended()
	}
	return n, err
}

// h2cRequest is the request in net/http's form, made from the head that an HTTP/1.1 node would get.
func (x *exchange) h2cRequest(ctx context.Context) (*http.Request, error) {
	var h http1.Head
	if _, err := http1.ParseRequest(x.appendRequest(nil, noBody, false), &h); err != nil {
		return nil, err
	}
	target, err := url.ParseRequestURI(string(h.Target))
	if err != nil {
		target = &url.URL{Opaque: string(h.Target)}
	}
	target.Scheme, target.Host = "http", x.node.address
	req := (&http.Request{Method: string(h.Method), URL: target, Host: string(h.Host), Header: http.Header{}, Proto: "HTTP/2.0", ProtoMajor: 2}).WithContext(ctx)
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Known == http1.TE || !h.Hop(i) && f.Known != http1.Host {
			req.Header.Add(string(f.Name), string(f.Value))
		}
	}
	if _, has := req.Header["User-Agent"]; !has {
		req.Header["User-Agent"] = nil // net/http would make one up
	}
	return req, x.h2cBody(req)
}

func (x *exchange) h2cBody(req *http.Request) error {
	b := x.body
	if b == nil {
		return nil
	}
	if !b.streamed() {
		// A copy, for net/http may still send it when the answer is here and the buffer has other things.
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(bytes.Clone(b.whole))), int64(len(b.whole))
		return nil
	}
	if b.expect {
		if err := x.front.inform(&http1.Head{Status: 100, Reason: []byte("Continue")}); err != nil {
			return err
		}
		b.expect = false
	}
	if b.yield != nil {
		b.yield()
	}
	newest, err := b.attempt()
	if err != nil {
		return err
	}
	from := &h2cSending{attempt: newest, front: x.front}
	x.sending = from
	req.Body, req.ContentLength = from, max(b.length, -1)
	if names := x.announced(); len(names) > 0 {
		req.Trailer = http.Header{}
		for _, name := range names {
			req.Trailer[http.CanonicalHeaderKey(name)] = nil
		}
		req.Body = &withTrailer{from, b, req}
	}
	return nil
}

// announced are the names of the trailers that the client says will come; net/http sends no others.
func (x *exchange) announced() []string {
	if x.body.announced != nil {
		return x.body.announced
	}
	var names []string
	for name := range strings.SplitSeq(string(x.req.Get(http1.Trailer)), ",") {
		if name = strings.TrimSpace(name); httpguts.ValidHeaderFieldName(name) && httpguts.ValidTrailerHeader(name) {
			names = append(names, name)
		}
	}
	return names
}

// withTrailer hands over the trailers when the body has ended.
type withTrailer struct {
	*h2cSending
	body *body
	req  *http.Request
}

// Read is io.Reader's.
func (w *withTrailer) Read(p []byte) (int, error) {
	n, err := w.h2cSending.Read(p)
	if err == io.EOF {
		for _, f := range w.body.trailer() {
			if _, ok := w.req.Trailer[http.CanonicalHeaderKey(string(f.Name))]; ok {
				w.req.Trailer.Add(string(f.Name), string(f.Value))
			}
		}
	}
	return n, err
}

// next is answer's. A node that is silent for longer than the patience is given up; 0 is none.
func (s *stream) next(most int, patience time.Duration) ([]byte, error) {
	limit := &h2cLimit{timeout: patience, cancel: s.cancel}
	if patience > 0 {
		limit.begin()
	}
	for {
		n, err := s.res.Body.Read(s.room[:min(most, len(s.room))])
		if n == 0 && err == nil {
			continue
		}
		s.silent = limit.end() || s.silent
		switch {
		case n > 0:
			return s.room[:n], nil
		case s.silent:
			return nil, os.ErrDeadlineExceeded
		}
		return nil, err
	}
}

func (s *stream) trailer() []http1.Field { return trailersOf(s.res.Trailer) }

func (s *stream) close() {
	s.cancel()
	_ = s.res.Body.Close()
	s.x.takeBack()
	s.bufs.put(s.room)
	s.room = nil
}
