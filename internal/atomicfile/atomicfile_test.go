package atomicfile_test

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
)

func TestOnlyFilesAreReplaced(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := syscall.Mkfifo(in("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", in("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, to := range map[string]string{"null": os.DevNull, "stdout": "/proc/self/fd/1", "dangling": in("none")} {
		if err := os.Symlink(to, in(name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"pipe", "socket", "null", "stdout"} {
		before, err := os.Lstat(in(name))
		if err != nil {
			t.Fatal(err)
		}
		err = atomicfile.Write(in(name), []byte("x"), 0o644)
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
		if after, err := os.Lstat(in(name)); err != nil || after.Mode() != before.Mode() {
			t.Errorf("%s: it was %s, it is %v, %v", name, before.Mode(), after, err)
		}
	}
	for _, name := range []string{"new", "new", "dangling"} {
		if err := atomicfile.Write(in(name), []byte("x"), 0o644); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
