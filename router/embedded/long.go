package embedded

import (
	"cmp"
	"math/rand/v2"
	"time"
)

// longConn is a connection or stream that has no end of its own: a WebSocket or the like, an event stream, a gRPC
// stream, a TCP connection.
type longConn interface {
	// end closes it in order. It returns at once.
	end()
}

// beginLong counts a long connection at the node. Where others are being ended it ends too, by the same time: a request may have
// been on its way there.
func (n *node) beginLong(e *engine, l longConn) {
	n.mu.Lock()
	n.long[l] = false
	by := n.closeBy
	n.mu.Unlock()
	if by = cmp.Or(by, e.closeBy.Load()); by != 0 {
		n.cutWithin(l, time.Duration(by-instant(e.now())))
	}
}

// endLong is called when it is over, by whoever.
func (n *node) endLong(l longConn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.long, l)
}

func (n *node) longCount() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.long)
}

// close ends the long connections that there are and those that begin from now on, until the node serves again. Once it has begun it
// goes on as it was begun.
func (n *node) close(within time.Duration, now time.Time) {
	n.mu.Lock()
	begins := n.closeBy == 0
	if begins {
		n.closeBy = instant(now) + int64(within)
	}
	n.mu.Unlock()
	if begins {
		n.cut(within)
	}
}

// cut ends the long connections, each at a random time within the given one, and counts them.
func (n *node) cut(within time.Duration) int {
	n.mu.Lock()
	list := make([]longConn, 0, len(n.long))
	for l, ending := range n.long {
		if !ending {
			list = append(list, l)
		}
	}
	n.mu.Unlock()
	for _, l := range list {
		n.cutWithin(l, within)
	}
	return len(list)
}

// cutWithin ends one at a random time within the given one.
func (n *node) cutWithin(l longConn, within time.Duration) {
	if within <= 0 {
		n.cutOne(l)
		return
	}
	time.AfterFunc(rand.N(within), func() { n.cutOne(l) })
}

// cutOne begins to end one that is still there. It counts as long until it has ended.
func (n *node) cutOne(l longConn) {
	n.mu.Lock()
	ending, there := n.long[l]
	if there {
		n.long[l] = true
	}
	n.mu.Unlock()
	if there && !ending {
		n.stats.cut.Add(1)
		l.end()
	}
}
