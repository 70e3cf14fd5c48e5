package embedded

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/bootandshoot/release/router/embedded/http1"
)

// maxStreams bounds the requests under way on one h2 connection. net/http ends connections that have four times as many
// waiting.
const maxStreams = 250

// h2Frame is the largest frame of a client that is read. net/http reads heads up to so much beyond the limit for all heads, so that
// those are refused here as others are, and counted: of what net/http refuses itself it tells only that a connection ends.
const h2Frame = 16 << 10

// newH2Server serves the h2 connections of a listen address, with and without TLS.
func newH2Server(l *listener) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           http.HandlerFunc(l.serveH2),
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams, MaxReadFrameSize: h2Frame, WriteByteTimeout: l.e.patience.stall},
		ReadHeaderTimeout: l.e.patience.head,
		IdleTimeout:       l.e.cfg.IdleTimeout,
		MaxHeaderBytes:    http1.MaxHead + h2Frame,
		ErrorLog:          log.New(h2Log{l.e, serverLog(l.e.log).Writer()}, "", 0),
		ConnContext:       withHasty,
		ConnState:         l.h2State,
	}
}

// h2Log passes on what net/http says, and counts the connections that it ends for what their client sent. There is no other hook
// for all of them.
type h2Log struct {
	e  *engine
	to io.Writer
}

// Write is io.Writer's, called once a line.
func (l h2Log) Write(line []byte) (int, error) {
	if bytes.HasPrefix(line, []byte("http2: server connection error from ")) {
		l.e.rejected("http2 connection error")
	}
	return l.to.Write(line)
}

// toH2 hands over a connection that begins h2 without an upgrade.
func (c *h1conn) toH2() {
	c.taken = true
	c.reads.disarm()
	begun := append([]byte(nil), c.in.bytes()...)
	c.in.r = c.in.w
	if !c.plain {
		c.taken = false // over TLS it is agreed on before
		return
	}
	c.l.toH2(&peeked{TCPConn: c.tcp, begun: begun, peer: c.x.peer})
}

// h2front is one request over h2.
type h2front struct {
	e      *engine
	w      http.ResponseWriter
	r      *http.Request
	ctrl   *http.ResponseController
	reads  guard
	writes guard
	sent   *body
	pieces *h2reader // of the body, where it may have to be sent again; nil: it is read as it is

	mu      sync.Mutex
	partner *guard
}

// serveH2 answers one request.
func (l *listener) serveH2(w http.ResponseWriter, r *http.Request) {
	f := &h2front{e: l.e, w: w, r: r, ctrl: http.NewResponseController(w)}
	f.reads.set, f.writes.set = f.ctrl.SetReadDeadline, f.ctrl.SetWriteDeadline
	l.e.sweeper.add(f)
	defer f.close()
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	x := &exchange{e: l.e, front: f, address: l.address, secure: r.TLS != nil, peer: peer, proto: "HTTP/2.0", ctx: r.Context()}
	defer context.AfterFunc(r.Context(), f.gone)()
	defer countReset(x)
	head := h2Head(r)
	refused := head.Check()
	if refused == nil && r.Host == "" {
		refused = http1.ErrNoHost
	}
	if refused != nil {
		f.refuse(x, refused)
		return
	}
	x.begin(head, f.body())
	x.run()
	if x.broken {
		panic(http.ErrAbortHandler) // resets the stream: half an answer must not look like a whole one
	}
}

// refuse answers what is no request that any node should see: net/http lets through what would be two lines in HTTP/1.1.
func (f *h2front) refuse(x *exchange, err error) {
	refused := &http1.Error{Status: 400, Reason: "malformed"}
	errors.As(err, &refused)
	x.e.rejected(refused.Reason)
	x.begin(&http1.Head{Method: []byte("GET"), Minor: 1}, nil)
	x.outcome = refused.Reason
	f.reply(x, refused.Status, refused.Reason)
	x.log()
}

// h2Head is the request's head in the form that the rest works with.
func h2Head(r *http.Request) *http1.Head {
	h := &http1.Head{
		Method: []byte(r.Method), Target: []byte(r.RequestURI), Path: []byte(r.URL.EscapedPath()), Host: []byte(r.Host), Minor: 1,
		Length: r.ContentLength,
	}
	for name, values := range r.Header {
		known := http1.Lookup([]byte(name))
		for _, v := range values {
			if known == http1.Host && v == r.Host {
				continue // what says the same as :authority, or takes its place (RFC 9113, 8.3.1); all else Check refuses
			}
			h.Fields = append(h.Fields, http1.Field{Name: []byte(name), Value: []byte(v), Known: known})
		}
	}
	switch r.Method {
	case "POST", "PUT", "PATCH": // some servers want to be told that nothing follows [RFC 9110, 8.6]
		if r.ContentLength == 0 && h.Get(http1.ContentLength) == nil {
			h.Fields = append(h.Fields, http1.Field{Name: []byte("Content-Length"), Value: []byte("0"), Known: http1.ContentLength})
		}
	}
	return h
}

func (f *h2front) body() *body {
	if f.r.ContentLength == 0 {
		return nil
	}
	length := f.r.ContentLength
	if length < 0 {
		length = http1.Chunked
	}
	f.sent = &body{
		length: length, src: (*h2body)(f), announced: slices.Collect(maps.Keys(f.r.Trailer)),
		trailer: func() []http1.Field { return trailersOf(f.r.Trailer) }, yield: f.inPieces,
	}
	if hasPrefixFold(f.r.Header.Get("Content-Type"), grpcType) {
		f.sent.unhurried.Store(true) // a stream of requests may be silent before its first
	}
	return f.sent
}

// h2body is the request's body, whose client may not be silent for long.
type h2body h2front

// Read is io.Reader's.
func (b *h2body) Read(p []byte) (int, error) {
	b.reads.arm(b.e.now(), b.e.patience.stall)
	defer b.reads.disarm()
	if b.sent.unhurried.Load() {
		b.reads.disarm()
	}
	if b.pieces != nil {
		return b.pieces.read(p, b.sent.stopped.Load)
	}
	return b.r.Body.Read(p)
}

// close says that the request is over: what sets its deadlines must not be called any more.
func (f *h2front) close() {
	f.e.sweeper.remove(f)
	f.reads.retire()
	f.writes.retire()
	if f.pieces != nil {
		f.pieces.close()
	}
}

// sweep is watched's.
func (f *h2front) sweep(now time.Time) {
	f.reads.check(now)
	f.writes.check(now)
}

// unhurry is front's.
func (f *h2front) unhurry() {
	f.sent.unhurried.Store(true)
	f.reads.disarm()
}

// trailersOf leaves out what no trailer may say.
func trailersOf(h http.Header) []http1.Field {
	return slices.DeleteFunc(fieldsOf(h), func(f http1.Field) bool { return !http1.TrailerAllowed(f) })
}

func fieldsOf(h http.Header) []http1.Field {
	var list []http1.Field
	for name, values := range h {
		for _, v := range values {
			list = append(list, http1.Field{Name: []byte(name), Value: []byte(v), Known: http1.Lookup([]byte(name))})
		}
	}
	return list
}

func (f *h2front) gone() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.partner != nil {
		f.partner.kill()
	}
}

// watch is front's.
func (f *h2front) watch(g *guard) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.partner = g
	if g != nil && f.r.Context().Err() != nil {
		g.kill()
	}
}

// inPieces is for a body that another node gets when one gives the request back in its middle.
func (f *h2front) inPieces() {
	if f.pieces == nil {
		f.pieces = newH2Reader(f.r.Body, f.e.bufs)
	}
}

// stopReading is front's.
func (f *h2front) stopReading() (mayGoOn bool) {
	if f.pieces != nil {
		f.pieces.stop()
		return true
	}
	f.mu.Lock() // whoever else stops it does so at the same time
	defer f.mu.Unlock()
	_ = f.r.Body.Close()
	return false
}

// inform is front's.
func (f *h2front) inform(h *http1.Head) error {
	if h.Status == 100 {
		return nil // net/http sends it when the body is read
	}
	header := f.w.Header()
	for i := range h.Fields {
		if !h.Hop(i) {
			header.Add(string(h.Fields[i].Name), string(h.Fields[i].Value))
		}
	}
	// With this net/http writes a copy, without the field. It goes on with its writing when the stream is reset and this
	// returns: two goroutines at one map would end the process.
	header["Content-Length"] = nil
	f.w.WriteHeader(h.Status)
	clear(header)
	return nil
}

// reply is front's.
func (f *h2front) reply(x *exchange, status int, text string, fields ...http1.Field) {
	x.status = status
	header := f.w.Header()
	for _, field := range fields {
		header.Add(string(field.Name), string(field.Value))
	}
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("Content-Length", itoa(int64(len(text)+1)))
	f.own(x)
	f.w.WriteHeader(status)
	_, _ = io.WriteString(f.w, text+"\n")
}

// own adds what the router itself tells the client.
func (f *h2front) own(x *exchange) {
	header := f.w.Header()
	if x.e.draining.Load() {
		header.Set("Connection", "close") // net/http makes it a GOAWAY
	}
	p := x.route
	if p == nil {
		return
	}
	if age := p.hsts(x.secure); age != "" {
		header.Set("Strict-Transport-Security", age)
	}
	if c := p.cookieFor(x); c != "" {
		header.Add("Set-Cookie", c)
	}
}

// pass is front's.
func (f *h2front) pass(x *exchange, a *answer) error {
	header := f.w.Header()
	for i := range a.head.Fields {
		field := &a.head.Fields[i]
		if field.Known == http1.TransferEncoding || a.head.Hop(i) {
			continue
		}
		header.Add(string(field.Name), string(field.Value))
	}
	f.own(x)
	var l *streamEnd
	if a.long {
		l = newStreamEnd(x, a)
		defer l.close()
	}
	f.w.WriteHeader(a.head.Status)
	if a.over {
		return nil
	}
	grpc := isGRPC(view(a.head.Get(http1.ContentType))) // now: the head's memory is used for the body
	err := f.copyBody(x, a)
	if err != nil && l != nil && l.cut.Load() && !errors.Is(err, errClient) {
		if grpc {
			header.Set(http.TrailerPrefix+"Grpc-Status", unavailable)
			header.Set(http.TrailerPrefix+"Grpc-Message", goesAway)
		}
		return errCut
	}
	if err != nil {
		x.broken = true
	}
	return err
}

// copyBody sends the body piece by piece as it comes, then the trailers.
func (f *h2front) copyBody(x *exchange, a *answer) error {
	if err := f.write(nil); err != nil {
		return err
	}
	for {
		b, err := a.next(x.e, pieceSize)
		if err == io.EOF {
			break
		}
		if err != nil {
			if x.ctx.Err() != nil || x.body.clientFailed() {
				return errors.Join(errClient, err)
			}
			return err
		}
		x.bytes += int64(len(b))
		if err := f.write(b); err != nil {
			return err
		}
	}
	for _, t := range a.trailer() {
		f.w.Header().Add(http.TrailerPrefix+string(t.Name), string(t.Value))
	}
	return nil
}

// write sends what was written so far and b, within the time that a client may take to want it.
func (f *h2front) write(b []byte) error {
	f.writes.arm(f.e.now(), f.e.patience.stall)
	defer f.writes.disarm()
	if _, err := f.w.Write(b); err != nil {
		return errors.Join(errClient, err)
	}
	if err := f.ctrl.Flush(); err != nil {
		return errors.Join(errClient, err)
	}
	return nil
}

// tunnel is front's.
func (f *h2front) tunnel(x *exchange, _ *answer) error {
	f.reply(x, 502, "the node changed the protocol, and nobody had asked it to")
	return errors.New("the node changed the protocol unasked")
}
