// Package websocket follows the frames of a WebSocket connection that passes by, so that whoever passes it on can end it in
// order: a close frame may stand between two frames only, never within one.
//
// It looks at the headers of frames alone. What extensions do to payloads (compression) does not matter to it.
//
// [RFC 6455, section 5.2]
package websocket

import "encoding/binary"

// Status codes of a close frame. [RFC 6455, section 7.4.1]
const (
	GoingAway = 1001 // the end goes away, as a server that is replaced does
)

const (
	finBit      = 0x80
	maskBit     = 0x80
	opcodeBits  = 0x0f
	lengthBits  = 0x7f
	controlBit  = 0x08
	length16    = 126 // the length is in the next 2 bytes
	length64    = 127 // the length is in the next 8 bytes
	maskLength  = 4
	headLongest = 2 + 8 + maskLength

	opContinuation = 0x0
	opBinary       = 0x2
	opClose        = 0x8
	opPong         = 0xa
)

// Tracker follows one direction of a connection, from the first byte behind the handshake on. The zero value is for what a
// server sends; for what a client sends Masked is set first. It is not safe for concurrent use, and allocates nothing.
type Tracker struct {
	Masked bool // frames must be masked, as a client's; else they must not be

	left    uint64 // bytes of the frame under way behind its header
	head    [headLongest]byte
	have    uint8 // bytes of the next frame's header
	parts   bool  // within a message of several frames
	closing bool  // the frame under way, or the last one, is a close frame
	broken  bool
}

// Feed takes the next bytes, split in any way.
func (t *Tracker) Feed(b []byte) {
	for len(b) > 0 && !t.broken {
		b = b[t.step(b):]
	}
}

// step takes bytes up to the end of a header or of a payload, and says how many.
func (t *Tracker) step(b []byte) int {
	if t.left > 0 {
		n := int(min(t.left, uint64(len(b))))
		t.left -= uint64(n)
		return n
	}
	n := copy(t.head[t.have:t.headLength()], b)
	t.have += uint8(n)
	if int(t.have) == t.headLength() {
		t.begin()
	}
	return n
}

// headLength is the length of the header under way, as far as it is known: 2 bytes say how long all of it is.
func (t *Tracker) headLength() int {
	if t.have < 2 {
		return 2
	}
	length := 2
	switch t.head[1] & lengthBits {
	case length16:
		length += 2
	case length64:
		length += 8
	}
	if t.head[1]&maskBit != 0 {
		length += maskLength
	}
	return length
}

// begin reads a whole header.
func (t *Tracker) begin() {
	op, fin := t.head[0]&opcodeBits, t.head[0]&finBit != 0
	length, minimal := t.payload()
	control := op&controlBit != 0
	switch {
	case t.closing, // nothing comes after a close frame
		op > opBinary && op < opClose, op > opPong,
		(t.head[1]&maskBit != 0) != t.Masked,
		!minimal || length > 1<<63-1,
		control && (!fin || length >= length16),
		!control && (op == opContinuation) != t.parts:
		t.broken = true
		return
	}
	if !control {
		t.parts = !fin
	}
	t.closing = op == opClose
	t.left, t.have = length, 0
}

// payload is the length that the header says, and whether it says so in the shortest form, as it must.
func (t *Tracker) payload() (length uint64, minimal bool) {
	switch n := t.head[1] & lengthBits; n {
	case length16:
		length = uint64(binary.BigEndian.Uint16(t.head[2:]))
		return length, length >= length16
	case length64:
		length = binary.BigEndian.Uint64(t.head[2:])
		return length, length > 1<<16-1
	default:
		return uint64(n), true
	}
}

// AtBorder says whether the bytes fed so far end between two frames. It may be within a message of several frames: control
// frames are allowed there.
func (t *Tracker) AtBorder() bool { return t.left == 0 && t.have == 0 && !t.broken }

// Cut says after how many of b's bytes, which were not fed yet, the connection is between two frames: 0 when it is so already,
// -1 when it is not anywhere up to the end of b.
func (t *Tracker) Cut(b []byte) int {
	ahead := *t
	for n := 0; !ahead.broken; {
		if ahead.AtBorder() {
			return n
		}
		if n == len(b) {
			return -1
		}
		n += ahead.step(b[n:])
	}
	return -1
}

// Broken says whether something was fed that is no frame, or none of this direction. There is no border any more.
func (t *Tracker) Broken() bool { return t.broken }

// Closed says whether a whole close frame was fed: the sender has ended its direction already.
func (t *Tracker) Closed() bool { return t.closing && t.AtBorder() }

// AppendClose appends a close frame with a status code to dst: masked for a server, with a mask that nobody can guess, and
// without (nil) for a client.
func AppendClose(dst []byte, code uint16, mask *[maskLength]byte) []byte {
	const size = 2
	if mask == nil {
		return append(dst, finBit|opClose, size, byte(code>>8), byte(code))
	}
	dst = append(dst, finBit|opClose, maskBit|size)
	dst = append(dst, mask[:]...)
	return append(dst, byte(code>>8)^mask[0], byte(code)^mask[1])
}
