package http1

import "math"

// ChunkReader takes a chunked body (RFC 9112, 7.1) apart. Its zero value stands at the beginning of one.
type ChunkReader struct {
	// Trailer has the fields after the last chunk, copied, once Next says that the body is done. Those that may not
	// come as trailers (framing, routing, and what else was decided on long before) are dropped.
	Trailer []Field

	state    chunkState
	left     int64 // data of this chunk that is to come
	overhead int64 // framing beyond what the data allows
	section  int   // bytes of the trailer section so far
	count    int   // fields of it
	wait     wait  // for the rest of a trailer's line
	copies   []byte
}

type chunkState uint8

const (
	atHead chunkState = iota
	atData
	atEnd // of the data, before its CRLF
	atTrailer
	atDone
)

// Reset makes it ready for another body; memory is kept.
func (c *ChunkReader) Reset() {
	*c = ChunkReader{Trailer: c.Trailer[:0], copies: c.copies[:0]}
}

// Next reads on at the beginning of b: data is the next piece of the body, inside of b[:n], and n how many bytes are
// done with. There may be n without data. done is true once the whole body and its trailer section were read; what
// follows b[:n] is another message. ErrMore comes with n = 0 and nothing else; after an *Error, which is one for a
// client, the reader is of no use.
func (c *ChunkReader) Next(b []byte) (data []byte, n int, done bool, err error) {
	for {
		var used int
		switch c.state {
		case atHead:
			used, err = c.head(b[n:])
		case atData:
			data = c.data(b[n:])
			used = len(data)
			if used == 0 {
				err = ErrMore
			}
		case atEnd:
			used, err = c.end(b[n:])
		case atTrailer:
			used, err = c.trailer(b[n:])
		case atDone:
			return nil, n, true, nil
		}
		n += used
		switch {
		case err == ErrMore && n > 0:
			return nil, n, false, nil
		case err != nil:
			return nil, 0, false, err
		case len(data) > 0:
			if c.state == atEnd && lineEnd(b[n:]) == nil {
				n += 2
				c.state = atHead
			}
			return data, n, false, nil
		}
	}
}

// skip says that n bytes of the present chunk's data, at most what is left of it, were seen.
func (c *ChunkReader) skip(n int64) {
	if n < 0 || n > c.left {
		panic("http1: skip beyond the chunk")
	}
	if c.left -= n; n > 0 && c.left == 0 {
		c.state = atEnd
	}
}

// Peek checks, and consumes nothing: whether b, which is what Next would be given, begins with what may come next,
// a chunk's whole header above all. nil when so, ErrMore when that cannot be said yet, else an *Error.
func (c *ChunkReader) Peek(b []byte) error {
	switch c.state {
	case atHead:
		_, _, err := chunkHead(b)
		return err
	case atEnd:
		if err := dataEnd(b); err != nil {
			return err
		}
		_, _, err := chunkHead(b[2:])
		return err
	case atTrailer:
		_, _, err := fieldLine(b, 0)
		return err
	}
	return nil
}

func (c *ChunkReader) head(b []byte) (n int, err error) {
	size, n, err := chunkHead(b)
	if err != nil {
		return 0, err
	}
	c.overhead += int64(n)
	if c.overhead -= 16 + 2*min(size, math.MaxInt32); c.overhead < 0 {
		c.overhead = 0
	}
	if c.overhead > maxOverhead {
		return 0, errOverhead
	}
	c.left, c.state = size, atData
	if size == 0 {
		c.state = atTrailer
	}
	return n, nil
}

func (c *ChunkReader) data(b []byte) []byte {
	data := b[:min(c.left, int64(len(b)))]
	c.skip(int64(len(data)))
	return data
}

func (c *ChunkReader) end(b []byte) (n int, err error) {
	if err := dataEnd(b); err != nil {
		return 0, err
	}
	c.state = atHead
	return 2, nil
}

// dataEnd checks what must follow a chunk's data.
func dataEnd(b []byte) error {
	err := lineEnd(b)
	if err == errLineEnd {
		return errChunkEnd
	}
	return err
}

// trailer reads one line of the trailer section.
func (c *ChunkReader) trailer(b []byte) (n int, err error) {
	room := MaxTrailer - c.section
	if c.wait.goesOn(b, room) {
		return 0, ErrMore
	}
	f, n, err := fieldLine(b[:min(len(b), room)], 0)
	switch {
	case err == ErrMore && len(b) >= room:
		return 0, errTrailerLarge
	case err == ErrMore:
		c.wait = wait{len(b), inLine(b)}
		return 0, err
	case err != nil:
		return 0, err
	}
	c.wait = wait{}
	c.section += n
	if f.Name == nil {
		c.state = atDone
		return n, nil
	}
	if c.count++; c.count > MaxFields {
		return 0, errManyFields
	}
	if TrailerAllowed(f) {
		c.keep(f)
	}
	return n, nil
}

// keep copies a field. When copies moves to a larger place, fields from before keep the smaller one alive.
func (c *ChunkReader) keep(f Field) {
	start := len(c.copies)
	c.copies = append(append(c.copies, f.Name...), f.Value...)
	both := c.copies[start:]
	f.Name, f.Value = both[:len(f.Name):len(f.Name)], both[len(f.Name):]
	c.Trailer = append(c.Trailer, f)
}
