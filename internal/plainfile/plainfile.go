// Package plainfile reads files that people name: regular ones, of a bounded size. A pipe would be waited for without end, a
// device may do so too or have no end.
package plainfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/fault"
)

// ErrTooLarge is in the error of a file that is larger than who reads it takes.
var ErrTooLarge = errors.New("the file is too large")

// Read gives the content of a file of at most so many bytes. A file that is not there is an error of class not_found that is
// fs.ErrNotExist; everything else is invalid: what is no regular file, what is too large, what cannot be read.
func Read(path string, most int64) ([]byte, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return nil, fault.New(fault.Invalid, "read %s: %w", path, err)
	case int64(len(data)) > most:
		return nil, fault.New(fault.Invalid, "read %s: %w: more than %d bytes", path, ErrTooLarge, most)
	}
	return data, nil
}

func open(path string) (*os.File, error) {
	info, err := os.Stat(path) // before it is opened, which may change a device
	if err == nil {
		err = regular(info)
	}
	if err != nil {
		return nil, refused(path, err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // nobody waits if it has become a pipe since
	if err != nil {
		return nil, refused(path, err)
	}
	if info, err = f.Stat(); err == nil {
		err = regular(info)
	}
	if err != nil {
		_ = f.Close()
		return nil, refused(path, err)
	}
	return f, nil
}

func refused(path string, err error) error {
	if os.IsNotExist(err) {
		return fault.New(fault.NotFound, "read %s: %w", path, fs.ErrNotExist)
	}
	return fault.New(fault.Invalid, "read %s: %w", path, err)
}

func regular(info fs.FileInfo) error {
	kind := "no regular file"
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		kind = "a folder"
	case mode&fs.ModeNamedPipe != 0:
		kind = "a pipe"
	case mode&fs.ModeSocket != 0:
		kind = "a socket"
	case mode&fs.ModeDevice != 0:
		kind = "a device"
	}
	return fmt.Errorf("it is %s, wanted is a file", kind)
}
