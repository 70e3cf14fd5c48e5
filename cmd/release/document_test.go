package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal is a terminal to write to, and what reads what was written.
func terminal(t *testing.T) (tty, master *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	return tty, master
}

// A document is in lines where a person reads it, and the very bytes elsewhere: a digest may be over them.
func TestDocument(t *testing.T) {
	const doc = `{"a":[1,{"b":null}]}`
	var plain bytes.Buffer
	o := &output{stdout: &plain}
	if err := o.result(nil, func(w io.Writer) { o.document(w, []byte(doc)) }); err != nil || plain.String() != doc {
		t.Errorf("to a file: %q, %v", plain.String(), err)
	}
	tty, master := terminal(t)
	o = &output{stdout: tty}
	if err := o.result(nil, func(w io.Writer) { o.document(w, []byte(doc)) }); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1000)
	n, err := master.Read(buf)
	want := "{\n  \"a\": [\n    1,\n    {\n      \"b\": null\n    }\n  ]\n}\n"
	if got := strings.ReplaceAll(string(buf[:n]), "\r\n", "\n"); err != nil || got != want {
		t.Errorf("to a terminal: %q, %v", got, err)
	}
}
