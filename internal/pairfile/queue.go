package pairfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Queue writes as Put does, and neither holds a thread nor tells Go's scheduler of its system calls: a process that has one of
// Go's processors for all its work would stand still until the runtime notices, or see its work move to another thread. It
// hands the kernel one write past the page cache that ends when it is on the disk (io_submit(2), O_DIRECT, RWF_DSYNC), and is told of
// the end by a descriptor that the runtime polls like a socket.
type Queue struct {
	aside Put

	mu    sync.Mutex // one at a time
	queue uintptr    // aio_context_t
	done  *os.File   // an eventfd, counted up at each end
	ends  syscall.RawConn
	room  []byte // what is written, from a block's border on
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
	if q.ends, err = q.done.SyscallConn(); err != nil {
		_ = q.Close()
		return nil, fmt.Errorf("set up asynchronous writes: %w", err)
	}
	return q, nil
}

// Close lets go of it. Nothing may be under way.
func (q *Queue) Close() error {
	_, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, q.queue, 0, 0)
	return q.done.Close()
}

// Put is a Put.
func (q *Queue) Put(name string, b []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
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
	err = q.write(fd, padded, flagDataSync|flagNoWait, syscall.RawSyscall)
	if errors.Is(err, syscall.EAGAIN) { // it would have to wait for something before it begins
		err = q.write(fd, padded, flagDataSync, syscall.Syscall)
	}
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EOPNOTSUPP) {
		return q.aside(name, b)
	}
	if err != nil {
		spoil(name)
	}
	return err
}

func openDirect(name string) (uintptr, error) {
	path, err := syscall.BytePtrFromString(name)
	if err != nil {
		return 0, err
	}
	for {
		fd, _, errno := syscall.RawSyscall6(syscall.SYS_OPENAT, uintptr(here), uintptr(unsafe.Pointer(path)),
			syscall.O_WRONLY|syscall.O_CLOEXEC|syscall.O_DIRECT, 0, 0, 0)
		if errno == 0 {
			return fd, nil
		}
		if errno != syscall.EINTR {
			return 0, errno
		}
	}
}

// here is the working folder to the kernel. (A variable: the constant is negative.)
var here = unix.AT_FDCWD

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
	_               uint64 // aio_data
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
	data, request uint64
	result, more  int64
}

const (
	opWrite       = 1 // IOCB_CMD_PWRITE
	optionsNotify = 1 // IOCB_FLAG_RESFD
	flagDataSync  = unix.RWF_DSYNC
	flagNoWait    = unix.RWF_NOWAIT
)

type systemCall = func(trap, a1, a2, a3 uintptr) (r1, r2 uintptr, errno syscall.Errno)

// write gives b to the kernel, which must not move meanwhile, and waits for the end.
func (q *Queue) write(fd uintptr, b []byte, flags uint32, call systemCall) error {
	var submitted error
	if err := q.ends.Control(func(notify uintptr) {
		r := request{
			flags: flags, opcode: opWrite, file: uint32(fd), options: optionsNotify, notify: uint32(notify),
			buffer: uint64(uintptr(unsafe.Pointer(&b[0]))), length: uint64(len(b)),
		}
		list := [1]*request{&r}
		if _, _, errno := call(unix.SYS_IO_SUBMIT, q.queue, 1, uintptr(unsafe.Pointer(&list))); errno != 0 {
			submitted = errno
		}
		runtime.KeepAlive(&r)
	}); err != nil || submitted != nil {
		return errors.Join(err, submitted)
	}
	var count [8]byte
	if err := q.ends.Read(func(fd uintptr) bool {
		_, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&count)), uintptr(len(count)))
		return errno != syscall.EAGAIN && errno != syscall.EINTR
	}); err != nil {
		return err
	}
	var e end
	n, _, errno := syscall.RawSyscall6(unix.SYS_IO_GETEVENTS, q.queue, 1, 1, uintptr(unsafe.Pointer(&e)), 0, 0)
	runtime.KeepAlive(b)
	switch {
	case errno != 0 || n != 1:
		return fmt.Errorf("no end is told: %w", errno)
	case e.result < 0:
		return syscall.Errno(-e.result)
	case e.result != int64(len(b)):
		return syscall.EIO
	}
	return nil
}
