package embedded

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// nodeKey is what makes a node the same one in two tables.
type nodeKey struct{ fleet, name, address string }

// node is one address with its connections and counters. It lives from the first table that names it until it has
// left the table and is empty.
type node struct {
	nodeKey
	inFlight atomic.Int64
	stats    nodeStats

	// repeatable carries requests that may be sent again when an idle connection turns out to be closed by the node;
	// careful all others, on connections that were used a moment ago; fresh makes a new connection each time.
	repeatable, careful, fresh *http.Transport

	// Passive ejection after failed connects. skipUntil is Unix nanoseconds, 0 for a node in order.
	failures  atomic.Int32
	skipUntil atomic.Int64

	// hastyUntil: the node closes connections right after use without saying so, so requests that may not be repeated
	// get new ones until then (Unix nanoseconds).
	hastyUntil atomic.Int64

	mu       sync.Mutex
	upgraded map[*upgradedConn]struct{}
}

const (
	dialTimeout     = time.Second
	repeatableIdle  = 30 * time.Second
	carefulIdle     = 200 * time.Millisecond // far below any server's own idle limit, which would close it under us
	firstSkip       = time.Second
	longestSkip     = 5 * time.Second
	hastyMemory     = time.Minute
	maxAnswerHeader = 256 << 10
)

func newNode(k nodeKey, headerTimeout time.Duration) *node {
	n := &node{nodeKey: k, upgraded: map[*upgradedConn]struct{}{}}
	n.repeatable = n.transport(repeatableIdle, headerTimeout)
	n.careful = n.transport(carefulIdle, headerTimeout)
	n.fresh = n.transport(0, headerTimeout)
	n.fresh.DisableKeepAlives = true
	return n
}

func (n *node) transport(idle, headerTimeout time.Duration) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	return &http.Transport{
		DialContext:            dialNode(dialer, func() { n.hastyUntil.Store(time.Now().Add(hastyMemory).UnixNano()) }),
		DisableCompression:     true,
		MaxIdleConnsPerHost:    512,
		IdleConnTimeout:        idle,
		ResponseHeaderTimeout:  headerTimeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxAnswerHeader,
	}
}

// close drops the idle connections of a node that left.
func (n *node) close() {
	n.repeatable.CloseIdleConnections()
	n.careful.CloseIdleConnections()
}

// ready says whether the node may be picked: it is in order, or its turn to be tried again has come.
func (n *node) ready(now int64) bool {
	s := n.skipUntil.Load()
	return s == 0 || s <= now
}

// claim is called for a node that ready accepted. Of all requests that find a skipped node's time over, one wins and
// tries it; the others go elsewhere for another while.
func (n *node) claim(now int64) bool {
	s := n.skipUntil.Load()
	return s == 0 || s <= now && n.skipUntil.CompareAndSwap(s, now+int64(firstSkip))
}

// unreachable skips the node for 1 s, doubling up to 5 s while it goes on.
func (n *node) unreachable(now int64) {
	skip := firstSkip << min(n.failures.Add(1)-1, 4)
	n.skipUntil.Store(now + int64(min(skip, longestSkip)))
}

// reached ends the skipping: a connection was made.
func (n *node) reached() {
	if n.skipUntil.Load() != 0 {
		n.skipUntil.Store(0)
		n.failures.Store(0)
	}
}

func (n *node) upgradedCount() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.upgraded)
}

// cut ends the upgraded connections and counts them.
func (n *node) cut() int {
	n.mu.Lock()
	conns := make([]*upgradedConn, 0, len(n.upgraded))
	for c := range n.upgraded {
		conns = append(conns, c)
	}
	clear(n.upgraded)
	n.mu.Unlock()
	n.stats.cut.Add(uint64(len(conns)))
	for _, c := range conns {
		_ = c.Close()
	}
	return len(conns)
}
