package embedded

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

var (
	errQueueFull = errors.New("all nodes have as many requests as they may, and too many wait already")
	errQueueWait = errors.New("all nodes have as many requests as they may, and none became free in time")
)

// gate is where a route's requests wait, in order, for a node that may take one more.
type gate struct {
	waiting atomic.Int32
	mu      sync.Mutex
	queue   []chan struct{} // the first has waited longest; closed to let it try
}

// free is called when a node has one request less.
func (g *gate) free() {
	if g.waiting.Load() == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) > 0 {
		close(g.queue[0])
		g.queue = g.queue[1:]
	}
}

// pass calls try, in turn, until it succeeds, fails otherwise than by errFull, or the time is over.
func (g *gate) pass(ctx context.Context, limits *limits, try func() error) error {
	if g.waiting.Load() == 0 {
		if err := try(); err != errFull {
			return err
		}
	}
	if int(g.waiting.Add(1)) > limits.maxQueue {
		g.waiting.Add(-1)
		return errQueueFull
	}
	defer g.waiting.Add(-1)
	timer := time.NewTimer(limits.queueWait)
	defer timer.Stop()
	first := false
	for {
		turn := g.enqueue(first)
		// A node may have become free before this was in the queue.
		if g.head(turn) {
			if err := try(); err != errFull {
				g.leave(turn)
				return err
			}
		}
		select {
		case <-turn:
			if err := try(); err != errFull {
				return err
			}
			first = true
		case <-timer.C:
			g.leave(turn)
			return errQueueWait
		case <-ctx.Done():
			g.leave(turn)
			return errClient
		}
	}
}

// enqueue gives a place at the end, or at the front to one that was there already.
func (g *gate) enqueue(first bool) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	turn := make(chan struct{})
	if first {
		g.queue = slices.Insert(g.queue, 0, turn)
	} else {
		g.queue = append(g.queue, turn)
	}
	return turn
}

func (g *gate) head(turn chan struct{}) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.queue) > 0 && g.queue[0] == turn
}

// leave gives the place up; a turn that came meanwhile goes to the next.
func (g *gate) leave(turn chan struct{}) {
	g.mu.Lock()
	i := slices.Index(g.queue, turn)
	if i >= 0 {
		g.queue = slices.Delete(g.queue, i, i+1)
	}
	g.mu.Unlock()
	if i < 0 {
		g.free()
	}
}
