package embedded

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
)

const (
	maxURL     = 16 << 10 // bytes of the request target
	bufferSize = 32 << 10
)

// serve answers one request.
func (x *exchange) serve(w http.ResponseWriter, r *http.Request) {
	defer x.finish(r)
	if x.client = clientConnOf(r); x.client != nil {
		x.client.serve(r.ContentLength != 0)
	}
	if status := refusal(r); status != 0 {
		x.answer(w, status, http.StatusText(status))
		return
	}
	if !x.match(r) {
		w.Header().Set("Connection", "close") // a route that left; nothing more will come
		x.answer(w, http.StatusNotFound, "no route for this host and path")
		return
	}
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		_ = http.NewResponseController(w).EnableFullDuplex() // answers that begin before the request ends
	}
	proxy := httputil.ReverseProxy{
		Rewrite:        x.rewrite,
		Transport:      x,
		ModifyResponse: x.sayClose,
		FlushInterval:  -1,
		BufferPool:     x.e.bufs,
		ErrorHandler:   x.fail,
		ErrorLog:       serverLog(x.e.log),
	}
	proxy.ServeHTTP(w, r)
}

// sayClose adds to the answers of a process that drains that the connection closes; for h2 net/http makes it a GOAWAY.
func (x *exchange) sayClose(res *http.Response) error {
	if x.closes() && res.StatusCode != http.StatusSwitchingProtocols {
		res.Header.Set("Connection", "close")
	}
	return nil
}

func (x *exchange) closes() bool {
	return x.e.draining.Load() && (x.client == nil || x.client.mayClose())
}

// refusal is the status for a request that no node should see, or 0.
func refusal(r *http.Request) int {
	switch {
	case len(r.RequestURI) > maxURL:
		return http.StatusRequestURITooLong
	case r.Method == http.MethodConnect:
		return http.StatusMethodNotAllowed
	}
	return 0
}

// rewrite makes the request that nodes see. What says where it came from is ours alone: a client's word for it is
// dropped.
func (x *exchange) rewrite(p *httputil.ProxyRequest) {
	h := p.Out.Header
	for name := range h {
		if strings.HasPrefix(name, "X-Forwarded-") {
			delete(h, name)
		}
	}
	h.Del("Forwarded")
	h.Del("X-Real-Ip")
	h.Del(releaseHeader)
	h.Del(keyHeader)
	p.Out.Host = p.In.Host
	p.SetXForwarded()
	if _, port, err := net.SplitHostPort(x.address); err == nil {
		h.Set("X-Forwarded-Port", port)
	}
}

// fail answers for nodes that could not.
func (x *exchange) fail(w http.ResponseWriter, r *http.Request, err error) {
	stats := x.route.stats
	x.outcome = err.Error()
	switch {
	case errors.Is(err, errClient):
		x.status = 499 // nginx's code for a client that went away; only the log sees it
		if r.Context().Err() != nil {
			panic(http.ErrAbortHandler) // a client that only closed its sending side would else read an empty 200
		}
		x.answer(w, http.StatusBadRequest, "the request body is malformed or incomplete")
	case errors.Is(err, errNoRoute):
		x.answer(w, http.StatusNotFound, "no route for this host and path")
	case errors.Is(err, errNoNode) && x.choice.release != "":
		x.answer(w, http.StatusServiceUnavailable, fmt.Sprintf("no node of release %q", x.choice.release))
	case errors.Is(err, errNoNode):
		stats.noNode.Add(1)
		stats.failed.Add(1)
		w.Header().Set("Retry-After", "1")
		x.answer(w, http.StatusServiceUnavailable, "no node can take the request")
	case x.classify(r.Context(), nil, err) == causeTimeout:
		stats.failed.Add(1)
		x.answer(w, http.StatusGatewayTimeout, "the node did not answer in time")
	default:
		stats.failed.Add(1)
		x.answer(w, http.StatusBadGateway, "the node broke off or could not be reached")
	}
}

// answer sends an answer of the router's own.
func (x *exchange) answer(w http.ResponseWriter, status int, text string) {
	x.status = status
	h := w.Header()
	if x.closes() {
		h.Set("Connection", "close")
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(text)+1))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}

// finish is called however the exchange ended, by panic too.
func (x *exchange) finish(r *http.Request) {
	x.log(r)
	x.release()
}

// bufferPool lends the buffers that bodies are copied with.
type bufferPool struct{ pool sync.Pool }

func newBufferPool() *bufferPool {
	return &bufferPool{sync.Pool{New: func() any { return new([bufferSize]byte) }}}
}

func (p *bufferPool) Get() []byte { return p.pool.Get().(*[bufferSize]byte)[:] }

func (p *bufferPool) Put(b []byte) {
	if cap(b) >= bufferSize {
		p.pool.Put((*[bufferSize]byte)(b[:bufferSize]))
	}
}
