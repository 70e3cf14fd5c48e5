package local

import (
	"context"
	"fmt"
	"sync"

	"github.com/bootandshoot/release/store"
)

// Rights are named exclusive rights between goroutines, given in the order of asking. The zero value is ready.
type Rights struct {
	mu     sync.Mutex
	held   map[string]*right
	closed bool
}

// right is a name that somebody holds, and those who wait for it.
type right struct {
	lease *lease
	queue []chan *lease // each with room for one; closed when the store closes
}

type lease struct {
	rights *Rights
	name   string
	epoch  uint64
	lost   chan struct{}
}

// Acquire waits for the right and takes it. The epoch comes from next, which is called once the right is ours and
// must make the new epoch durable; when it fails the right passes on.
func (r *Rights) Acquire(ctx context.Context, name string, next func() (uint64, error)) (store.Lease, error) {
	l, err := r.take(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("acquire %q: %w", name, err)
	}
	if l.epoch, err = next(); err != nil {
		r.end(l)
		return nil, fmt.Errorf("acquire %q: %w", name, err)
	}
	return l, nil
}

func (r *Rights) take(ctx context.Context, name string) (*lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	turn, l, err := r.join(name)
	if err != nil || l != nil {
		return l, err
	}
	select {
	case l, open := <-turn:
		if !open {
			return nil, store.ErrLeaseLost
		}
		return l, nil
	case <-ctx.Done():
		r.leave(name, turn)
		return nil, ctx.Err()
	}
}

// join takes a free right at once, or queues for a held one.
func (r *Rights) join(name string) (chan *lease, *lease, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, nil, store.ErrLeaseLost
	}
	if r.held == nil {
		r.held = map[string]*right{}
	}
	have := r.held[name]
	if have == nil {
		l := &lease{rights: r, name: name, lost: make(chan struct{})}
		r.held[name] = &right{lease: l}
		return nil, l, nil
	}
	turn := make(chan *lease, 1)
	have.queue = append(have.queue, turn)
	return turn, nil, nil
}

// leave gives up a place in the queue, and passes the right on if it came at the same moment.
func (r *Rights) leave(name string, turn chan *lease) {
	r.mu.Lock()
	if have := r.held[name]; have != nil {
		for i, other := range have.queue {
			if other == turn {
				have.queue = append(have.queue[:i], have.queue[i+1:]...)
				break
			}
		}
	}
	r.mu.Unlock()
	select {
	case l, open := <-turn:
		if open {
			r.end(l)
		}
	default:
	}
}

// end ends a lease and hands the right to the next in the queue.
func (r *Rights) end(l *lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	have := r.held[l.name]
	if have == nil || have.lease != l {
		return
	}
	close(l.lost)
	if len(have.queue) == 0 {
		delete(r.held, l.name)
		return
	}
	have.lease = &lease{rights: r, name: l.name, lost: make(chan struct{})}
	have.queue[0] <- have.lease
	have.queue = have.queue[1:]
}

// Close ends all rights and all waiting; later Acquires fail with store.ErrLeaseLost.
func (r *Rights) Close() {
	r.endAll(true)
}

// Reset ends all rights and all waiting; new ones may be acquired.
func (r *Rights) Reset() {
	r.endAll(false)
}

func (r *Rights) endAll(closed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, have := range r.held {
		close(have.lease.lost)
		for _, turn := range have.queue {
			close(turn)
		}
	}
	r.held = nil
	r.closed = closed
}

func (l *lease) Epoch() uint64         { return l.epoch }
func (l *lease) Lost() <-chan struct{} { return l.lost }

func (l *lease) Release(context.Context) error {
	l.rights.end(l)
	return nil
}
