// Package pairfile keeps one value on disk in two files, which are written in turn and in place. It is for small values that change
// many times a second: where atomicfile makes a file, renames it and waits twice for the file system's journal, writing over
// what is there already is one transfer to the disk.
//
// The value of path is in path.0 and path.1, each
//
//	<number> <length> <sum>\n
//	<the value, length bytes>
//	zeros up to a whole block, and whatever was left of a longer one
//
// The sum is the SHA-256 of the number in decimal, a line feed and the value, in hex. A file of which length and sum are right
// is whole. The whole one with the larger number is the value, and the other file is written next: a crash at any
// instruction, and of the machine too, leaves the value before or the new one. A file that is not whole was being written when
// a process or the machine ended, or was damaged; the other one is the value then.
package pairfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/bootandshoot/release/internal/atomicfile"
)

// ErrDamaged is a file that is there and not whole.
var ErrDamaged = errors.New("it is not whole")

// File is a value in two files. Only one may write it at a time.
type File struct {
	path   string
	mode   fs.FileMode
	number uint64 // of the value; 0: none is known
	turn   int    // which file is written next
}

// New is the value of a path. It reads nothing yet. The folder must exist.
func New(path string, mode fs.FileMode) *File { return &File{path: path, mode: mode} }

// Paths are the names of the two files.
func (f *File) Paths() [2]string { return [2]string{f.path + ".0", f.path + ".1"} }

// Read gives the value. An error beside it says that one of the files is not whole. Without value it is fs.ErrNotExist when there is
// no file, ErrDamaged when none is whole, and else what the file system said. A value for which valid has an error counts as not
// whole; nil takes all.
func (f *File) Read(valid func([]byte) error) ([]byte, error) {
	f.number, f.turn = 0, 0
	var value []byte
	var problems []error
	for i, name := range f.Paths() {
		b, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		number, v, ok := decode(b)
		switch {
		case err != nil:
			problems = append(problems, err)
		case !ok:
			problems = append(problems, fmt.Errorf("read %s: %w", name, ErrDamaged))
		case valid != nil && valid(v) != nil:
			problems = append(problems, fmt.Errorf("read %s: %w: %w", name, ErrDamaged, valid(v)))
		case number > f.number:
			value, f.number, f.turn = v, number, 1-i
		}
	}
	if f.number == 0 && len(problems) == 0 {
		return nil, fmt.Errorf("read %s: %w", f.path, fs.ErrNotExist)
	}
	return value, errors.Join(problems...)
}

// Put writes over the beginning of a file that is there, and returns when that is on the disk. Before it writes it makes sure that
// there is room. Where it fails after that, the file is not whole.
type Put func(name string, b []byte) error

// Write makes a value durable, by means of put. On error the value before is still there.
func (f *File) Write(value []byte, put Put) error {
	if f.number == 0 {
		_, err := f.Read(nil)
		if f.number == 0 && err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrDamaged) {
			return err // whatever is there would be newer than what is written now
		}
	}
	name, number := f.Paths()[f.turn], f.number+1
	b := encode(number, value)
	err := put(name, b)
	if errors.Is(err, fs.ErrNotExist) {
		err = atomicfile.Write(name, b, f.mode)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	f.number, f.turn = number, 1-f.turn
	return nil
}

// PutWaiting is a Put that holds a thread until the disk has everything.
func PutWaiting(name string, b []byte) error {
	return put(name, b, func(f *os.File) error { return control(f, syscall.Fdatasync) })
}

func put(name string, b []byte, sync func(*os.File) error) error {
	file, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := reserve(file, blocks(int64(len(b)))); err != nil {
		return err
	}
	if _, err = file.WriteAt(b, 0); err == nil {
		err = sync(file)
	}
	if err != nil {
		spoil(name)
	}
	return err
}

// spoil is for a file of which nobody knows whether it is on the disk: nobody shall read it.
func spoil(name string) {
	file, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer file.Close()
	_, _ = file.WriteAt([]byte("-"), 0)
}

// blockSize is a multiple of what any disk writes at once.
const blockSize = 4096

// blocks rounds up to whole ones.
func blocks(n int64) int64 { return (n + blockSize - 1) / blockSize * blockSize }

// reserve makes sure that a file has room for so many bytes. File systems that cannot say so say it when they are written.
func reserve(f *os.File, n int64) error {
	info, err := f.Stat()
	if err != nil || info.Size() >= n {
		return err
	}
	err = control(f, func(fd int) error { return syscall.Fallocate(fd, 0, 0, n) })
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return nil
	}
	return err
}

// control makes a system call, again where a signal came between.
func control(f *os.File, call func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	failed := conn.Control(func(fd uintptr) {
		for err = call(int(fd)); errors.Is(err, syscall.EINTR); {
			err = call(int(fd))
		}
	})
	return errors.Join(failed, err)
}

func encode(number uint64, value []byte) []byte {
	return append(fmt.Appendf(nil, "%d %d %s\n", number, len(value), sum(number, value)), value...)
}

// decode reads a file's content; false: it is not whole.
func decode(b []byte) (number uint64, value []byte, ok bool) {
	head, rest, found := bytes.Cut(b, []byte("\n"))
	var length int
	var want string
	if n, err := fmt.Sscanf(string(head), "%d %d %s", &number, &length, &want); !found || err != nil || n != 3 {
		return 0, nil, false
	}
	if number == 0 || length < 0 || length > len(rest) || sum(number, rest[:length]) != want {
		return 0, nil, false
	}
	return number, rest[:length], true
}

func sum(number uint64, value []byte) string {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%d\n", number) // a hash takes everything
	_, _ = h.Write(value)
	return hex.EncodeToString(h.Sum(nil))
}
