package embedded

import (
	"errors"
	"io"
	"sync"
)

// replayLimit is how much of a request body is kept so that it can be sent again.
const replayLimit = 32 << 10

var (
	errSuperseded = errors.New("request body is being sent on another connection")
	errConsumed   = errors.New("request body can not be sent again")
)

// replay lets a request body be sent more than once while little of it was read. Only the newest attempt reads.
type replay struct {
	mu     sync.Mutex
	src    io.Reader
	kept   []byte
	lost   bool // more was read than is kept
	failed bool // the client's part broke
	latest *attempt
}

func newReplay(src io.Reader) *replay { return &replay{src: src} }

// begin starts another attempt, or says errConsumed: too much was read, or an attempt waits for the client right now.
func (r *replay) begin() (io.ReadCloser, error) {
	if !r.mu.TryLock() {
		return nil, errConsumed
	}
	defer r.mu.Unlock()
	if r.lost || r.failed {
		return nil, errConsumed
	}
	r.latest = &attempt{replay: r}
	return r.latest, nil
}

// clientFailed says whether reading from the client failed.
func (r *replay) clientFailed() bool {
	if !r.mu.TryLock() {
		return false
	}
	defer r.mu.Unlock()
	return r.failed
}

// attempt is one sending. Close does not close the body, which the server owns.
type attempt struct {
	replay *replay
	at     int
}

func (a *attempt) Read(p []byte) (int, error) {
	r := a.replay
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.latest != a {
		return 0, errSuperseded
	}
	if a.at < len(r.kept) {
		n := copy(p, r.kept[a.at:])
		a.at += n
		return n, nil
	}
	n, err := r.src.Read(p)
	if !r.lost && len(r.kept)+n <= replayLimit {
		r.kept = append(r.kept, p[:n]...)
		a.at += n
	} else if n > 0 {
		r.lost, r.kept = true, nil
		a.at = 0
	}
	if err != nil && err != io.EOF {
		r.failed = true
	}
	return n, err
}

func (a *attempt) Close() error { return nil }
