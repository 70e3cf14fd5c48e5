package embedded

import (
	"math/rand/v2"
	"time"
)

// longConn is a connection or stream that has no end of its own: a WebSocket or the like, an event stream, a gRPC
// stream, a TCP connection.
type longConn interface {
	// end closes it in order. It returns at once.
	end()
}

// begin counts a long connection at the node.
func (n *node) beginLong(l longConn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.long[l] = false
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
		if within <= 0 {
			n.cutOne(l)
			continue
		}
		time.AfterFunc(rand.N(within), func() { n.cutOne(l) })
	}
	return len(list)
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
