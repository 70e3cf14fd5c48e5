package pairfile

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is a queue in the kernel for one write at a time. Handing a write over never waits, whatever the file system does: what
// would have to wait is done by a thread of the kernel's. [io_uring(7)]
type ring struct {
	file        int
	queues      []byte // shared with the kernel, as are the entries
	entries     []byte
	entry       *submission
	tail        *uint32 // of what is handed over
	head, ended *uint32 // of what has ended: how many were taken from there, and how many were put there
	ends        [2]*completion
}

// submission is struct io_uring_sqe of linux/io_uring.h.
type submission struct {
	opcode        uint8
	_             uint8 // flags
	_             uint16
	file          int32
	_             uint64 // offset
	buffer        uint64
	length, flags uint32
	number        uint64 // user_data
	_, _, _       uint64
}

// completion is struct io_uring_cqe.
type completion struct {
	number uint64
	result int32
	_      uint32
}

// ringSetup is struct io_uring_params.
type ringSetup struct {
	entries, ends, _, _, _, features, _ uint32
	_                                   [3]uint32
	submissions                         struct {
		head, tail, mask, size, flags, dropped, array, _ uint32
		_                                                uint64
	}
	completions struct {
		head, tail, mask, size, overflow, first, flags, _ uint32
		_                                                 uint64
	}
}

const (
	opWrite     = 23 // IORING_OP_WRITE
	oneMapping  = 1  // IORING_FEAT_SINGLE_MMAP
	tellByFile  = 4  // IORING_REGISTER_EVENTFD
	waitForEnds = 1  // IORING_ENTER_GETEVENTS
	atEntries   = 0x10000000
	entrySize   = int(unsafe.Sizeof(submission{}))
	endSize     = unsafe.Sizeof(completion{})
)

// newRing sets one up that counts an eventfd up at each end of a write.
func newRing(notify int) (*ring, error) {
	var s ringSetup
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&s)), 0)
	if errno != 0 {
		return nil, errno
	}
	r := &ring{file: int(fd)}
	if err := r.share(&s); err != nil {
		r.close()
		return nil, err
	}
	told := int32(notify)
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, fd, tellByFile, uintptr(unsafe.Pointer(&told)), 1, 0, 0); errno != 0 {
		r.close()
		return nil, errno
	}
	return r, nil
}

// share maps what the kernel and this process both see.
func (r *ring) share(s *ringSetup) (err error) {
	if s.features&oneMapping == 0 || s.entries != 1 || s.ends != uint32(len(r.ends)) {
		return fmt.Errorf("a ring of %d and %d entries: %w", s.entries, s.ends, errors.ErrUnsupported)
	}
	size := max(int(s.submissions.array)+4, int(s.completions.first)+len(r.ends)*int(endSize))
	if r.queues, err = unix.Mmap(r.file, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return err
	}
	if r.entries, err = unix.Mmap(r.file, atEntries, entrySize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return err
	}
	word := func(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.queues[offset])) }
	r.entry = (*submission)(unsafe.Pointer(&r.entries[0]))
	r.tail, r.head, r.ended = word(s.submissions.tail), word(s.completions.head), word(s.completions.tail)
	*word(s.submissions.array) = 0 // the only entry
	for i := range r.ends {
		r.ends[i] = (*completion)(unsafe.Pointer(&r.queues[uintptr(s.completions.first)+uintptr(i)*endSize]))
	}
	return nil
}

// close lets go of it. No write may be under way.
func (r *ring) close() {
	for _, m := range [][]byte{r.queues, r.entries} {
		if m != nil {
			_ = unix.Munmap(m)
		}
	}
	_ = unix.Close(r.file)
}

// errNotTaken is a write that the kernel has no memory for, or the like.
var errNotTaken = errors.New("the kernel takes no write now")

// write hands a write over. On error nothing is under way. Go's scheduler does not hear of it: see Queue.
func (r *ring) write(file uintptr, b []byte, number uint64) error {
	*r.entry = submission{
		opcode: opWrite, file: int32(file), buffer: uint64(uintptr(unsafe.Pointer(&b[0]))), length: uint32(len(b)), flags: unix.RWF_DSYNC, number: number,
	}
	atomic.AddUint32(r.tail, 1)
	n, _, errno := syscall.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.file), 1, 0, 0, 0, 0)
	if n == 1 && errno == 0 {
		return nil
	}
	atomic.AddUint32(r.tail, ^uint32(0))
	return errNotTaken
}

// end takes the end of a write, if there is one.
func (r *ring) end() (e completion, ok bool) {
	head := *r.head // nobody else writes it
	if head == atomic.LoadUint32(r.ended) {
		return e, false
	}
	e = *r.ends[head%uint32(len(r.ends))]
	atomic.StoreUint32(r.head, head+1)
	return e, true
}

// wait takes the end of the write under way, and holds a thread until it is there.
func (r *ring) wait() completion {
	for {
		if e, ok := r.end(); ok {
			return e
		}
		_, _, _ = unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.file), 0, 1, waitForEnds, 0, 0)
	}
}
