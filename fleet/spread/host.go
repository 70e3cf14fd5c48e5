package spread

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bootandshoot/release/fleet"
)

const (
	// answerWithin bounds what an engine answers from its own memory. A busy one may take seconds.
	answerWithin = 5 * time.Second
	// retryAfter is how often a host that did not answer is asked again.
	retryAfter = 2 * time.Second
)

// Member is a driver that sees one host.
type Member interface {
	fleet.Driver
	// Reachable says whether the engine answers now: nil, or an error that wraps fleet.ErrUnavailable.
	Reachable(ctx context.Context) error
	// Engine asks for the engine's own id, which no other one has; "": it has none. Errors as of Reachable.
	Engine(ctx context.Context) (string, error)
	Close() error
}

// host is one of them, and whether it answers.
type host struct {
	name, where string
	member      Member
	now         func() time.Time

	mu    sync.Mutex
	want  string        // the id of the engine that is meant; "": whichever answers
	id    string        // of the one that answers
	met   bool          // it was asked for its id since it last did not answer
	err   error         // why it did not answer last; nil: it did, or was not asked
	tried time.Time     // when that was
	gone  chan struct{} // closed, and replaced, when a call is not answered: others under way are given up
}

func newHost(name, where string, m Member, now func() time.Time) *host {
	return &host{name: name, where: where, member: m, now: now, gone: make(chan struct{})}
}

// away is the error of a call that the host does not answer.
func (h *host) away(err error) error { return &fleet.HostsAway{Hosts: []string{h.name}, Err: err} }

// enter says why the host is not asked now, if so. What it gives else is closed when the host does not answer any more.
func (h *host) enter() (gone <-chan struct{}, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil && h.now().Sub(h.tried) < retryAfter {
		return nil, h.err
	}
	if h.err != nil {
		h.tried = h.now() // the others do not wait for this try
	}
	return h.gone, nil
}

// heard takes note of how a call ended.
func (h *host) heard(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !errors.Is(err, fleet.ErrUnavailable) {
		h.err = nil
		return
	}
	close(h.gone)
	h.met = false // another one may answer next
	h.err, h.tried, h.gone = err, h.now(), make(chan struct{})
}

// means says which engine is meant.
func (h *host) means(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.want = id
}

// engine is the id of the engine that answers.
func (h *host) engine() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.id
}

// meet fails unless the engine that is meant is the one that answers.
func (h *host) meet(ctx context.Context) error {
	h.mu.Lock()
	met, id := h.met, h.id
	h.mu.Unlock()
	if !met {
		var err error
		if id, err = h.member.Engine(ctx); err != nil {
			return err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.met, h.id = true, id
	if h.want != "" && id != h.want {
		return fmt.Errorf("%w: another engine answers there, %s instead of %s", fleet.ErrUnavailable, id, h.want)
	}
	return nil
}

// errSilent: a call was given up because the host does not answer others.
var errSilent = errors.New("it does not answer any more")

// do calls the host, for at most so long; 0: until ctx ends.
func (h *host) do(ctx context.Context, within time.Duration, f func(context.Context) error) error {
	gone, err := h.enter()
	if err != nil {
		return h.away(err)
	}
	call, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if within > 0 {
		var stop context.CancelFunc
		call, stop = context.WithTimeout(call, within)
		defer stop()
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-gone:
			cancel(errSilent)
		case <-done:
		}
	}()
	if err = h.meet(call); err == nil {
		err = f(call)
	}
	switch {
	case err == nil:
	case errors.Is(context.Cause(call), errSilent):
		return h.away(errSilent)
	case ctx.Err() != nil:
		return err // who asked does not want it any more: that says nothing of the host
	case call.Err() != nil: // it took too long
		err = errors.Join(fleet.ErrUnavailable, err)
	}
	h.heard(err)
	if errors.Is(err, fleet.ErrUnavailable) {
		return h.away(err)
	}
	return err
}
