package disk

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/images"
)

// file is one entry of a layer of tests, with its content.
type file struct {
	images.Entry
	content string
}

// putImage makes an image of layers in a new store.
func putImage(t testing.TB, arch string, layers ...[]file) *images.Files {
	t.Helper()
	s, err := images.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var img images.Image
	img.Config.OS, img.Config.Architecture = "linux", arch
	for _, list := range layers {
		img.Layers = append(img.Layers, putLayer(t, s, list))
	}
	d, err := s.Put(t.Context(), img, "test")
	if err != nil {
		t.Fatal(err)
	}
	files, err := s.Files(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func putLayer(t testing.TB, s *images.Store, list []file) images.Layer {
	t.Helper()
	w, err := s.NewLayer(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for _, f := range list {
		if f.Type == images.File {
			f.Size = int64(len(f.content))
		}
		if err := w.Add(f.Entry, strings.NewReader(f.content)); err != nil {
			t.Fatal(err)
		}
	}
	l, err := w.Commit("test")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// layersOfAllKinds have every kind of entry, and every kind of removal.
func layersOfAllKinds() [][]file {
	random := make([]byte, 300_000)
	rand.NewChaCha8([32]byte{1}).Read(random)
	entry := func(name string, kind images.EntryType, mode uint32) images.Entry {
		return images.Entry{Path: name, Type: kind, Mode: mode}
	}
	owned := entry("etc/owned", images.File, 0o4750)
	owned.UID, owned.GID = 1234, 70_000
	owned.Xattrs = map[string]string{"security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}
	null := entry("dev/null", images.CharDevice, 0o666)
	null.Major, null.Minor = 1, 3
	short, long := entry("bin", images.Symlink, 0o777), entry("etc/far", images.Symlink, 0o777)
	short.Link, long.Link = "usr/bin", strings.Repeat("very/", 30)+"far"
	hard := entry("etc/same", images.HardLink, 0)
	hard.Link = "etc/owned"
	return [][]file{{
		{entry(".", images.Dir, 0o755), ""}, {short, ""}, {entry("dev", images.Dir, 0o755), ""}, {null, ""},
		{entry("etc", images.Dir, 0o755), ""}, {entry("etc/empty", images.File, 0o644), ""}, {long, ""},
		{entry("etc/gone", images.File, 0o644), "gone"}, {owned, "owned\n"}, {hard, ""},
		{entry("pipe", images.Fifo, 0o600), ""}, {entry("tmp", images.Dir, 0o1777), ""},
		{entry("usr/bin/large", images.File, 0o755), string(random)},
		{entry("usr/bin/zero", images.File, 0o644), strings.Repeat("\x00", 1<<20)},
		{entry("var/lower", images.File, 0o644), "hidden by an opaque folder"},
	}, {
		{entry("etc/gone", images.Whiteout, 0), ""}, {entry("etc/os-release", images.File, 0o644), "ID=test\n"},
		{entry("var", images.Dir, 0o755), ""}, {entry("var", images.Opaque, 0), ""}, {entry("var/upper", images.File, 0o644), "upper"},
	}}
}

// newFile is an empty file of the test's.
func newFile(t testing.TB, name string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func digestOf(t testing.TB, f *os.File) string {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, info.Size())); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// cut copies a part of a file into one of its own.
func cut(t testing.TB, f *os.File, offset, size int64) string {
	t.Helper()
	part := newFile(t, "part")
	if _, err := io.Copy(part, io.NewSectionReader(f, offset, size)); err != nil {
		t.Fatal(err)
	}
	return part.Name()
}

// tool runs a program of others and gives its output and exit code. One that is missing fails the test.
func tool(t testing.TB, pkg, name string, args ...string) (string, int) {
	t.Helper()
	found := name
	if _, err := exec.LookPath(name); err != nil {
		found = "/sbin/" + name
	}
	out, err := exec.Command(found, args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v; .ci/prepare installs it, or: apt-get install %s", err, pkg)
	}
	code := 0
	if exit != nil {
		code = exit.ExitCode()
	}
	return string(out), code
}

// mustTool is tool for a program that must say that all is well.
func mustTool(t testing.TB, pkg, name string, args ...string) string {
	t.Helper()
	out, code := tool(t, pkg, name, args...)
	if code != 0 {
		t.Fatalf("%s %s: exit code %d\n%s", name, strings.Join(args, " "), code, out)
	}
	return out
}

// stub is that of systemd.
func stub(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
	if err != nil {
		t.Fatalf("%v; .ci/prepare installs it, or: apt-get install systemd-boot-efi", err)
	}
	return data
}

// someKernel stands for one where nothing boots it.
func someKernel() Kernel {
	return Kernel{Release: "test", Image: bytes.Repeat([]byte("kernel"), 1000), Modules: []Module{{"first", []byte("a")}, {"second", []byte("bc")}}}
}
