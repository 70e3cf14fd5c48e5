package pairfile

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Syncer waits for the disk as Sync does, and holds no thread meanwhile: a process that has one of Go's processors for all its
// work would stand still until the runtime notices. It uses the kernel's asynchronous I/O, of which sync is a part since
// Linux 4.18 (io_submit(2), IOCB_CMD_FDSYNC), and a descriptor that the runtime polls like a socket.
type Syncer struct {
	mu    sync.Mutex // one at a time
	queue uintptr    // aio_context_t
	done  *os.File   // an eventfd, counted up at each end
}

// NewSyncer fails where the kernel, or what this process may ask of it, does not have that; then there is Sync.
func NewSyncer() (*Syncer, error) {
	s := &Syncer{}
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&s.queue)), 0); errno != 0 {
		return nil, fmt.Errorf("set up asynchronous sync: %w", errno)
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, s.queue, 0, 0)
		return nil, fmt.Errorf("set up asynchronous sync: %w", err)
	}
	s.done = os.NewFile(uintptr(fd), "eventfd")
	return s, nil
}

// Close lets go of it. Nothing may be under way.
func (s *Syncer) Close() error {
	_, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, s.queue, 0, 0)
	return s.done.Close()
}

// request is struct iocb of linux/aio_abi.h, for little-endian machines.
type request struct {
	_               uint64 // aio_data
	_, _            uint32 // aio_key, aio_rw_flags
	opcode          uint16
	_               int16 // aio_reqprio
	file            uint32
	_, _            uint64 // aio_buf, aio_nbytes
	_               int64  // aio_offset
	_               uint64
	options, notify uint32
}

// end is struct io_event.
type end struct {
	data, request uint64
	result, more  int64
}

const (
	opDataSync    = 3 // IOCB_CMD_FDSYNC
	optionsNotify = 1 // IOCB_FLAG_RESFD
)

// Sync waits until a file's content is on the disk.
func (s *Syncer) Sync(f *os.File) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := control(s.done, func(notify int) error {
		return control(f, func(fd int) error { return s.submit(fd, notify) })
	}); err != nil {
		return fmt.Errorf("sync %s: %w", f.Name(), err)
	}
	if _, err := s.done.Read(make([]byte, 8)); err != nil {
		return fmt.Errorf("sync %s: %w", f.Name(), err)
	}
	var e end
	if n, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, s.queue, 1, 1, uintptr(unsafe.Pointer(&e)), 0, 0); errno != 0 || n != 1 {
		return fmt.Errorf("sync %s: no end is told: %w", f.Name(), errno)
	}
	if e.result < 0 {
		return fmt.Errorf("sync %s: %w", f.Name(), syscall.Errno(-e.result))
	}
	return nil
}

// submit begins to sync a descriptor, and lets the other one be counted up at the end.
func (s *Syncer) submit(fd, notify int) error {
	r := request{opcode: opDataSync, file: uint32(fd), options: optionsNotify, notify: uint32(notify)}
	list := [1]*request{&r}
	_, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, s.queue, 1, uintptr(unsafe.Pointer(&list)))
	runtime.KeepAlive(&r)
	if errno != 0 {
		return errno
	}
	return nil
}
