package pairfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Queue writes as Put does, holds no thread, and tells Go's scheduler of as few system calls as it can: a process that has one of
// Go's processors for all its work would stand still until the runtime notices, or see its work move to another thread. It
// hands the kernel one write past the page cache that ends when it is on the disk (io_submit(2), O_DIRECT, RWF_DSYNC), and is told of
// the end by a descriptor that the runtime polls like a socket.
type Queue struct {
	aside Put

	mu     sync.Mutex // one at a time
	queue  uintptr    // aio_context_t; 0: it is broken, and all goes aside
	done   *os.File   // an eventfd, counted up at each end
	ends   syscall.RawConn
	room   []byte // what is written, from a block's border on
	number uint64 // of the write under way
	waits  bool   // the file system does not know writes that never wait
}

// NewQueue fails where the kernel, or what this process may ask of it, does not have that; then there is Put. aside is called for
// what cannot be written so: a file that must grow first, a file system that has a page cache only.
func NewQueue(aside Put) (*Queue, error) {
	q := &Queue{aside: aside}
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&q.queue)), 0); errno != 0 {
		return nil, fmt.Errorf("set up asynchronous writes: %w", errno)
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, q.queue, 0, 0)
		return nil, fmt.Errorf("set up asynchronous writes: %w", err)
	}
	q.done = os.NewFile(uintptr(fd), "eventfd")
	if q.ends, err = q.done.SyscallConn(); err == nil {
		err = q.done.SetReadDeadline(time.Time{}) // fails where the runtime does not poll it
	}
	if err != nil {
		_ = q.Close()
		return nil, fmt.Errorf("set up asynchronous writes: %w", err)
	}
	return q, nil
}

// Close lets go of it. Nothing may be under way.
func (q *Queue) Close() error {
	q.end()
	return q.done.Close()
}

// end waits for what is under way, and takes no more.
func (q *Queue) end() {
	if q.queue != 0 {
		_, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, q.queue, 0, 0)
		q.queue = 0
	}
}

// Put is a Put.
func (q *Queue) Put(name string, b []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.queue == 0 {
		return q.aside(name, b)
	}
	fd, err := openDirect(name)
	if errors.Is(err, syscall.EINVAL) {
		return q.aside(name, b)
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer func() { _, _, _ = syscall.RawSyscall(syscall.SYS_CLOSE, fd, 0, 0) }()
	padded := q.pad(b)
	var info syscall.Stat_t
	if _, _, errno := syscall.RawSyscall(syscall.SYS_FSTAT, fd, uintptr(unsafe.Pointer(&info)), 0); errno != 0 || info.Size < int64(len(padded)) {
		return q.aside(name, b)
	}
	err = q.writeSoon(fd, padded)
	switch {
	case errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, errShort):
		return q.aside(name, b)
	case err != nil:
		spoil(name)
	}
	return err
}

// writeSoon asks for a write that never waits before it begins, and for another one where it would have to.
func (q *Queue) writeSoon(fd uintptr, b []byte) error {
	if !q.waits {
		err := q.write(fd, b, unix.RWF_DSYNC|unix.RWF_NOWAIT)
		q.waits = errors.Is(err, syscall.EOPNOTSUPP)
		if !q.waits && !errors.Is(err, syscall.EAGAIN) {
			return err
		}
	}
	return q.write(fd, b, unix.RWF_DSYNC)
}

func openDirect(name string) (uintptr, error) {
	path, err := syscall.BytePtrFromString(name)
	if err != nil {
		return 0, err
	}
	for {
		fd, _, errno := syscall.RawSyscall6(syscall.SYS_OPENAT, workingFolder, uintptr(unsafe.Pointer(path)),
			syscall.O_WRONLY|syscall.O_CLOEXEC|syscall.O_DIRECT, 0, 0, 0)
		if errno == 0 {
			return fd, nil
		}
		if errno != syscall.EINTR {
			return 0, errno
		}
	}
}

// workingFolder is AT_FDCWD.
const workingFolder = ^uintptr(99)

// pad copies b to where it can be written past the page cache, and fills it up with zeros to whole blocks.
func (q *Queue) pad(b []byte) []byte {
	n := int(blocks(int64(len(b))))
	if len(q.room) < n {
		m := make([]byte, n+blockSize)
		q.room = m[blockSize-int(uintptr(unsafe.Pointer(&m[0]))%blockSize):]
	}
	copy(q.room, b)
	clear(q.room[len(b):n])
	return q.room[:n]
}

// request is struct iocb of linux/aio_abi.h, for little-endian machines.
type request struct {
	number          uint64 // aio_data
	_               uint32 // aio_key
	flags           uint32 // aio_rw_flags
	opcode          uint16
	_               int16 // aio_reqprio
	file            uint32
	buffer, length  uint64
	_               int64 // aio_offset
	_               uint64
	options, notify uint32
}

// end is struct io_event.
type end struct {
	number, request uint64
	result, more    int64
}

const (
	opWrite       = 1 // IOCB_CMD_PWRITE
	optionsNotify = 1 // IOCB_FLAG_RESFD
)

// errShort is a write that took not all of its bytes.
var errShort = errors.New("the file took less than was written")

// write gives b to the kernel and waits for the end. A failure in between breaks the queue: when write returns, nothing is under way.
func (q *Queue) write(fd uintptr, b []byte, flags uint32) error {
	q.number++
	var submitted error
	if err := q.ends.Control(func(notify uintptr) {
		r := request{
			number: q.number, flags: flags, opcode: opWrite, file: uint32(fd), options: optionsNotify, notify: uint32(notify),
			buffer: uint64(uintptr(unsafe.Pointer(&b[0]))), length: uint64(len(b)),
		}
		list := [1]*request{&r}
		// Go's scheduler hears of this one: where the file system is frozen it waits, whatever the flags say.
		if _, _, errno := syscall.Syscall(unix.SYS_IO_SUBMIT, q.queue, 1, uintptr(unsafe.Pointer(&list))); errno != 0 {
			submitted = errno
		}
		runtime.KeepAlive(&r)
	}); err != nil || submitted != nil {
		return errors.Join(err, submitted)
	}
	e, err := q.await()
	if err == nil && e.number != q.number {
		err = fmt.Errorf("the end of write %d came for write %d", e.number, q.number)
	}
	if err != nil {
		q.end()
	}
	runtime.KeepAlive(b)
	switch {
	case err != nil:
		return err
	case e.result < 0:
		return syscall.Errno(-e.result)
	case e.result != int64(len(b)):
		return errShort
	}
	return nil
}

// await waits for the end of the write under way.
func (q *Queue) await() (e end, err error) {
	var count [8]byte
	var failed error
	if err := q.ends.Read(func(fd uintptr) bool {
		_, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&count)), uintptr(len(count)))
		if errno == syscall.EAGAIN || errno == syscall.EINTR {
			return false
		}
		if errno != 0 {
			failed = errno
		}
		return true
	}); err != nil || failed != nil {
		return e, errors.Join(err, failed)
	}
	n, _, errno := syscall.RawSyscall6(unix.SYS_IO_GETEVENTS, q.queue, 1, 1, uintptr(unsafe.Pointer(&e)), 0, 0)
	if errno != 0 {
		return e, fmt.Errorf("ask how a write ended: %w", errno)
	}
	if n != 1 {
		return e, errors.New("nobody says how a write ended")
	}
	return e, nil
}
