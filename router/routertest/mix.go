package routertest

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Mix is load of all kinds at once that forgives nothing: connections that are used again and new ones, requests sent ahead of
// their turn, bodies of both framings, slow uploads, large answers, event streams, WebSockets, HTTP/1.0, TLS, HTTP/2 and gRPC. Its
// nodes are those of MixHandler.
type Mix struct {
	Plain string // listen address of a route without TLS
	TLS   string // of one with TLS, whose certificate is not checked; "": none
	GRPC  string // of one without TLS whose nodes speak h2c; "": none
	Times int    // how many of each kind; 0: one

	Sent     atomic.Int64 // requests, and messages of WebSockets and gRPC streams
	Requests atomic.Int64 // what the router counts: requests, of which a WebSocket or a stream is one
	Ended    atomic.Int64 // WebSockets and streams that ended in order before their time

	mu    sync.Mutex
	lost  []Loss
	kinds map[string]int
}

// Lost is what went wrong.
func (m *Mix) Lost() []Loss {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Loss(nil), m.lost...)
}

// Kinds is how many requests and messages each kind of client sent, once Run has returned.
func (m *Mix) Kinds() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.kinds)
}

// client sends one kind of requests until ctx ends or one is lost.
type mixClient func(ctx context.Context, t *tally) error

// Run sends until ctx ends, and returns when the last answer is there.
func (m *Mix) Run(ctx context.Context) {
	m.mu.Lock()
	m.kinds = map[string]int{}
	m.mu.Unlock()
	clients := map[string]mixClient{
		"keep-alive": m.keepAlive, "strict": m.strict, "pipelined": m.pipelined, "new": m.newConnections, "bodies": m.bodies,
		"slow upload": m.slowUpload, "large": m.large, "events": m.eventStreams, "socket": m.sockets, "h2c": m.h2c, "1.0": m.old,
	}
	if m.TLS != "" {
		clients["tls"], clients["h2"] = m.overTLS, m.h2
	}
	if m.GRPC != "" {
		clients["grpc"], clients["grpc stream"] = m.calls, m.chats
	}
	var wait sync.WaitGroup
	for kind, client := range clients {
		for range max(m.Times, 1) {
			wait.Go(func() { m.keepAt(ctx, kind, client) })
		}
	}
	wait.Wait()
}

// keepAt begins again after each end and each loss.
func (m *Mix) keepAt(ctx context.Context, kind string, client mixClient) {
	t := &tally{m: m}
	for ctx.Err() == nil {
		t.open, t.node, t.unsafe = nil, "", false
		began := time.Now()
		if err := client(ctx, t); err != nil {
			loss := t.loss(kind, began, err)
			m.mu.Lock()
			m.lost = append(m.lost, loss)
			m.mu.Unlock()
		}
	}
	m.mu.Lock()
	m.kinds[kind] += t.n
	m.mu.Unlock()
}

// tally counts what one client sends, and knows what it waits for.
type tally struct {
	m      *Mix
	n      int
	open   []time.Time // when the requests were sent that have no whole answer
	node   string      // that has begun to answer the first of them; "": none
	unsafe bool        // one of them may not be repeated
}

// ask notes a request. One that is safe may be repeated by the router as long as no node has begun to answer.
func (t *tally) ask(safe bool) {
	t.message()
	t.m.Requests.Add(1)
	t.open = append(t.open, time.Now())
	t.unsafe = t.unsafe || !safe
}

// message notes what is no request of its own.
func (t *tally) message() {
	t.n++
	t.m.Sent.Add(1)
}

// begun notes who answers.
func (t *tally) begun(node string) { t.node = node }

// done notes that the first open request has its answer.
func (t *tally) done() {
	t.open, t.node = t.open[1:], ""
	if len(t.open) == 0 {
		t.open, t.unsafe = nil, false
	}
}
