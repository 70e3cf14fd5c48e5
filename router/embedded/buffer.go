package embedded

import (
	"io"
	"net"
	"sync"
	"syscall"
	"unsafe"
)

const (
	// pieceSize is how much is read at a time.
	pieceSize = 16 << 10
	// roomSize leaves room around a piece for what frames it.
	roomSize = pieceSize + 512
)

// buffers lends the memory that connections read into and write from.
type buffers struct {
	pool  sync.Pool
	audit auditor // tests watch who has what; else nil
}

// auditor is told of what is lent and given back.
type auditor interface {
	lent(p *[roomSize]byte)
	back(p *[roomSize]byte)
}

func newBuffers() *buffers {
	return &buffers{pool: sync.Pool{New: func() any { return new([roomSize]byte) }}}
}

func (b *buffers) get() *[roomSize]byte {
	p := b.pool.Get().(*[roomSize]byte)
	if b.audit != nil {
		b.audit.lent(p)
	}
	return p
}

func (b *buffers) put(p *[roomSize]byte) {
	if p == nil {
		return
	}
	if b.audit != nil {
		b.audit.back(p)
	}
	b.pool.Put(p)
}

// input is what was read from a connection and not used yet. It holds memory only while something is in it.
type input struct {
	bufs *buffers
	room *[roomSize]byte
	big  []byte // instead of room, for a head that is larger
	r, w int    // data is between
}

func (in *input) bytes() []byte { return in.memory()[in.r:in.w] }

func (in *input) memory() []byte {
	if in.big != nil {
		return in.big
	}
	if in.room == nil {
		return nil
	}
	return in.room[:pieceSize]
}

// use takes n bytes off the front.
func (in *input) use(n int) { in.r += n }

// drop gives the memory back when nothing is in it.
func (in *input) drop() {
	if in.r < in.w {
		return
	}
	in.bufs.put(in.room)
	in.room, in.big, in.r, in.w = nil, nil, 0, 0
}

// space is where more can be read to, at least one byte. What is in the buffer may move: slices of it end.
func (in *input) space() []byte {
	if in.room == nil && in.big == nil {
		in.room = in.bufs.get()
	}
	if in.r == in.w {
		in.r, in.w = 0, 0
	}
	m := in.memory()
	if in.w == len(m) && in.r > 0 {
		in.w = copy(m, m[in.r:in.w])
		in.r = 0
	}
	if in.w == len(m) {
		in.big = append(make([]byte, 0, 4*len(m)), m...)
		in.bufs.put(in.room)
		in.room = nil
		in.big = in.big[:cap(in.big)]
		m = in.big
	}
	return m[in.w:]
}

// source reads from a connection into an input. A plain TCP connection that has nothing to give holds no memory
// meanwhile; others hold a piece.
type source struct {
	conn net.Conn
	raw  syscall.RawConn // of a plain TCP connection, else nil
	in   input
	step func(fd uintptr) bool // readOnce, bound once

	n   int // result of the last step
	err error

	out  []byte                // of a write, what the kernel has not taken yet
	push func(fd uintptr) bool // writeOnce, bound once
	fail error                 // of the last push
}

func (s *source) init(conn net.Conn, plain *net.TCPConn, bufs *buffers) error {
	s.conn, s.in.bufs = conn, bufs
	if plain == nil {
		return nil
	}
	raw, err := plain.SyscallConn()
	if err != nil {
		return err
	}
	s.raw, s.step, s.push = raw, s.readOnce, s.writeOnce
	return nil
}

// fill reads some more, at least one byte, or fails.
func (s *source) fill() error {
	if s.raw == nil {
		n, err := s.conn.Read(s.in.space())
		s.in.w += n
		if n > 0 {
			return nil
		}
		return err
	}
	if err := s.raw.Read(s.step); err != nil {
		return err
	}
	if s.err != nil {
		return s.err
	}
	if s.n == 0 {
		return io.EOF
	}
	s.in.w += s.n
	return nil
}

// readOnce is one attempt without waiting. [syscall.RawConn]
func (s *source) readOnce(fd uintptr) bool {
	b := s.in.space()
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch errno {
		case 0:
			s.n, s.err = int(n), nil
			return true
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			s.in.drop()
			return false
		}
		s.n, s.err = 0, errno
		return true
	}
}

// write sends all of b and says how much the kernel took. One goroutine at a time may write.
func (s *source) write(b []byte) (int, error) {
	if s.raw == nil || len(b) == 0 {
		return s.conn.Write(b)
	}
	s.out, s.fail = b, nil
	err := s.raw.Write(s.push)
	if err == nil {
		err = s.fail
	}
	n := len(b) - len(s.out)
	s.out = nil
	return n, err
}

// writeOnce hands over what the kernel takes without waiting. It does not tell the scheduler of its system calls: they cannot
// block, and a busy machine would have the scheduler give the processor to another thread, and take it back, for each.
func (s *source) writeOnce(fd uintptr) bool {
	for len(s.out) > 0 {
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&s.out[0])), uintptr(len(s.out)))
		switch errno {
		case 0:
			s.out = s.out[n:]
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			s.fail = errno
			return true
		}
	}
	return true
}
