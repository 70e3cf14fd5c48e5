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

// Queue writes as Put does, holds no thread, and tells Go's scheduler of no system call: a process that has one of Go's
// processors for all its work would stand still until the runtime notices, or see its work move to another thread, and for a
// while be looked after every 20 µs. It hands the kernel one write past the page cache that ends when it is on the disk (O_DIRECT,
// RWF_DSYNC), and is told of the end by a descriptor that the runtime polls like a socket.
type Queue struct {
	aside Put

	mu     sync.Mutex // one at a time
	ring   *ring      // nil: it is broken, and all goes aside
	done   *os.File   // an eventfd, counted up at each end
	ends   syscall.RawConn
	room   []byte // what is written, from a block's border on
	number uint64 // of the write under way
}

// NewQueue fails where the kernel, or what this process may ask of it, does not have that; then there is Put. aside is called for
// what cannot be written so: a file that must grow first, a file system that has a page cache only.
func NewQueue(aside Put) (*Queue, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("set up asynchronous writes: %w", err)
	}
	q := &Queue{aside: aside, done: os.NewFile(uintptr(fd), "eventfd")}
	if q.ring, err = newRing(fd); err == nil {
		q.ends, err = q.done.SyscallConn()
	}
	if err == nil {
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

// end takes no more.
func (q *Queue) end() {
	if q.ring != nil {
		q.ring.close()
		q.ring = nil
	}
}

// Put is a Put.
func (q *Queue) Put(name string, b []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ring == nil {
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
	err = q.write(fd, padded)
	switch {
	case errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, errShort), errors.Is(err, errNotTaken):
		return q.aside(name, b)
	case err != nil:
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

// errShort is a write that took not all of its bytes.
var errShort = errors.New("the file took less than was written")

// write gives b to the kernel and waits for the end. A failure in between breaks the queue: when write returns, nothing is under way.
func (q *Queue) write(fd uintptr, b []byte) error {
	q.number++
	if err := q.ring.write(fd, b, q.number); err != nil {
		return err
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
	case int(e.result) != len(b):
		return errShort
	}
	return nil
}

// await waits for the end of the write under way. Where it cannot be told of it, it waits as others do, and says so.
func (q *Queue) await() (e completion, err error) {
	var count [8]byte
	ended := false
	err = q.ends.Read(func(fd uintptr) bool {
		_, _, _ = syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&count)), uintptr(len(count)))
		e, ended = q.ring.end()
		return ended
	})
	if !ended {
		e = q.ring.wait()
	}
	return e, err
}
