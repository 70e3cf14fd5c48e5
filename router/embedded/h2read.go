package embedded

import (
	"io"
	"sync"
)

// h2reader reads a request's body off h2 in such a way that whoever waits for more can leave, and another one go on. net/http ends
// such a wait only together with the body, so it has a goroutine of its own. All but stop and close is one goroutine's at a time.
type h2reader struct {
	from io.Reader
	bufs *buffers
	left chan struct{} // holds a wish to leave, which may have come too late

	came chan struct{} // closed when the read under way has ended, which has what follows until then; nil: none is
	room *[roomSize]byte
	rest []byte // of what came, in room
	err  error  // after rest

	mu      sync.Mutex
	reading bool
	over    bool // the request is
}

func newH2Reader(from io.Reader, bufs *buffers) *h2reader {
	return &h2reader{from: from, bufs: bufs, left: make(chan struct{}, 1)}
}

// read is io.Reader's, but that it ends with errStopped after stop, if stopped says that this is still wanted.
func (r *h2reader) read(p []byte, stopped func() bool) (int, error) {
	for r.came != nil || len(r.rest) == 0 && r.err == nil {
		if r.came == nil {
			r.begin()
		}
		select {
		case <-r.came:
			r.came = nil
		case <-r.left:
			if stopped() {
				return 0, errStopped
			}
		}
	}
	n := copy(p, r.rest)
	if r.rest = r.rest[n:]; n > 0 {
		return n, nil
	}
	r.bufs.put(r.room) // the answer may go on for hours after the body
	r.room = nil
	return 0, r.err
}

func (r *h2reader) begin() {
	if r.room == nil {
		r.room = r.bufs.get()
	}
	came := make(chan struct{})
	r.came = came
	r.mu.Lock()
	r.reading = true
	r.mu.Unlock()
	go func() {
		defer close(came)
		n, err := r.from.Read(r.room[:pieceSize])
		r.rest, r.err = r.room[:n], err
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.reading = false; r.over {
			r.bufs.put(r.room)
		}
	}()
}

// stop makes a read that waits leave.
func (r *h2reader) stop() {
	select {
	case r.left <- struct{}{}:
	default:
	}
}

// close is called when the request is over, and nobody calls read any more.
func (r *h2reader) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over = true; !r.reading {
		r.bufs.put(r.room)
	}
}
