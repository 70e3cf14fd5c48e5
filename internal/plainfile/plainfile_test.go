package plainfile_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/plainfile"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.WriteFile(at("file"), []byte("12345"), 0o600), os.WriteFile(at("large"), []byte("123456"), 0o600), os.Symlink("file", at("link")),
		os.Symlink("/dev/zero", at("zero")), syscall.Mkfifo(at("pipe"), 0o600), os.Mkdir(at("dir"), 0o700)); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, want := range map[string]string{
		"file": "", "link": "", "large": "too large: more than 5 bytes", "pipe": "it is a pipe", "zero": "it is a device", "dir": "it is a folder", "socket": "it is a socket", "none": "does not exist",
	} {
		data, err := plainfile.Read(at(name), 5)
		switch {
		case want == "" && (err != nil || string(data) != "12345"):
			t.Errorf("%s: %q %v", name, data, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || fault.Is(err, fault.NotFound) != (name == "none") || errors.Is(err, fs.ErrNotExist) != (name == "none")):
			t.Errorf("%s: %v", name, err)
		case want != "" && name != "none" && !fault.Is(err, fault.Invalid):
			t.Errorf("%s: %s", name, fault.CodeOf(err))
		}
	}
}
