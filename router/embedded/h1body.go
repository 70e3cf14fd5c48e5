package embedded

import (
	"errors"
	"io"

	"github.com/bootandshoot/release/router/embedded/http1"
)

// bodyReader reads a request's body off its connection.
type bodyReader struct {
	c      *h1conn
	b      *body // that it is the source of
	left   int64 // or http1.Chunked
	chunks http1.ChunkReader
	begun  bool
	over   bool
	rest   []byte // of a piece that was larger than what was asked for
}

// peek looks at the beginning of a chunked body, as far as it is here.
func (r *bodyReader) peek() error {
	if len(r.c.in.bytes()) == 0 {
		return nil
	}
	if err := r.chunks.Peek(r.c.in.bytes()); err != nil && !errors.Is(err, http1.ErrMore) {
		return err
	}
	return nil
}

func (r *bodyReader) trailer() []http1.Field { return r.chunks.Trailer }

// Read is io.Reader's.
func (r *bodyReader) Read(p []byte) (int, error) {
	in := &r.c.in
	if !r.begun {
		r.begun = true
		r.c.sending.Store(true)
	}
	for {
		if (r.over || r.left == 0) && len(r.rest) == 0 {
			r.c.received()
			return 0, io.EOF
		}
		n, err := r.some(p)
		if n > 0 || err != nil {
			return n, err
		}
		if r.over {
			continue
		}
		in.drop()
		r.c.reads.arm(r.c.e.now(), r.c.e.patience.stall)
		if r.b.unhurried.Load() {
			r.c.reads.disarm()
		}
		if r.b.stopped.Load() {
			return 0, errStopped
		}
		err = r.c.source.fill()
		r.c.reads.disarm()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
	}
}

// some takes what is in the buffer.
func (r *bodyReader) some(p []byte) (int, error) {
	in := &r.c.in
	b := in.bytes()
	if r.left > 0 {
		n := copy(p, b[:min(int64(len(b)), r.left)])
		in.use(n)
		r.left -= int64(n)
		return n, nil
	}
	if len(r.rest) > 0 {
		n := copy(p, r.rest)
		r.rest = r.rest[n:]
		return n, nil
	}
	for {
		data, n, done, err := r.chunks.Next(in.bytes())
		if errors.Is(err, http1.ErrMore) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		in.use(n)
		r.over = done
		if len(data) > 0 || done {
			n = copy(p, data)
			r.rest = data[n:]
			return n, nil
		}
	}
}
