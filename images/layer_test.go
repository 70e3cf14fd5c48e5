package images

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/internal/fault"
)

var update = flag.Bool("update", false, "write golden files again")

// everyKind is an entry of every kind, with what ustar can say and what it cannot.
func everyKind() []Entry {
	long := strings.Repeat("long/", 40) + "name"
	return []Entry{
		{Path: ".", Type: Dir, Mode: 0o755},
		{Path: "bin", Type: Dir, Mode: 0o755},
		{Path: "bin/app", Mode: 0o4755, UID: 1000, GID: 1000, Size: 5, Xattrs: map[string]string{"security.capability": "\x01\x00\x00\x02\x00", "user.a": "b"}},
		{Path: "bin/link", Type: HardLink, Link: "bin/app", Mode: 0o4755, UID: 1000, GID: 1000},
		{Path: "dev/null", Type: CharDevice, Mode: 0o666, Major: 1, Minor: 3},
		{Path: "dev/sda", Type: BlockDevice, Mode: 0o660, Major: 8},
		{Path: "etc", Type: Dir, Mode: 0o1777, UID: 3_000_000},
		{Path: "etc", Type: Opaque},
		{Path: "etc/alt", Type: Symlink, Mode: 0o777, Link: "/usr/bin/ünï"},
		{Path: "gone", Type: Whiteout},
		{Path: long, Mode: 0o644},
		{Path: "run/pipe", Type: Fifo, Mode: 0o600},
	}
}

func writeLayer(t testing.TB, s *Store, entries []Entry) Layer {
	t.Helper()
	w := must[*LayerWriter](t)(s.NewLayer(context.Background(), 1_700_000_000))
	defer w.Abort()
	for _, e := range entries {
		check(t, w.Add(e, strings.NewReader("hello")))
	}
	return must[Layer](t)(w.Commit("test"))
}

// The bytes of a layer are part of what a digest promises: they may not change with a Go version.
func TestLayerGolden(t *testing.T) {
	s := newStore(t)
	l := writeLayer(t, s, everyKind())
	got := readFile(t, s.blobPath(l.Digest))
	golden := filepath.Join("testdata", "layer.tar")
	if *update {
		check(t, os.MkdirAll("testdata", 0o755))
		check(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	if want := readFile(t, golden); got != want {
		t.Fatal("the layer differs from testdata/layer.tar: every image would get another digest")
	}
	if l.DiffID != l.Digest || l.Size != int64(len(got)) {
		t.Fatalf("layer %+v", l)
	}
}

func TestLayerIsReadByGNUTar(t *testing.T) {
	s := newStore(t)
	l := writeLayer(t, s, everyKind())
	out, err := exec.Command("tar", "--numeric-owner", "-tvf", s.blobPath(l.Digest)).CombinedOutput()
	if err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	for _, want := range []string{"-rwsr-xr-x 1000/1000", "bin/link link to bin/app", "1,3", "3000000/0", "./", ".wh.gone", "etc/.wh..wh..opq", "/usr/bin/"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestLayerRefuses(t *testing.T) {
	s := newStore(t)
	cases := map[string][]Entry{
		"absolute":          {{Path: "/a"}},
		"upward":            {{Path: "../a"}},
		"unclean":           {{Path: "a//b"}},
		"unordered":         {{Path: "b"}, {Path: "a"}},
		"twice":             {{Path: "a"}, {Path: "a"}},
		"root twice":        {{Path: ".", Type: Dir}, {Path: ".", Type: Dir}},
		"root late":         {{Path: "-", Type: Dir}, {Path: ".", Type: Dir}, {Path: ".", Type: Dir}},
		"file root":         {{Path: "."}},
		"hard link forward": {{Path: "a", Type: HardLink, Link: "b"}, {Path: "b"}},
		"whiteout name":     {{Path: "a/.wh.b"}},
		"opaque alone":      {{Path: "b", Type: Dir}, {Path: "a", Type: Opaque}},
		"long name":         {{Path: "a/" + strings.Repeat("n", 256)}},
		"long path":         {{Path: strings.Repeat("n/", 2100) + "n"}},
		"mode":              {{Path: "a", Mode: 0o100644}},
		"owner":             {{Path: "a", UID: -1}},
		"short file":        {{Path: "a", Size: 9}},
		"unknown type":      {{Path: "a", Type: 99}},
		"empty link":        {{Path: "a", Type: Symlink}},
	}
	for name, entries := range cases {
		w := must[*LayerWriter](t)(s.NewLayer(context.Background(), 0))
		var err error
		for _, e := range entries {
			if err = w.Add(e, strings.NewReader("hello")); err != nil {
				break
			}
		}
		if code := fault.CodeOf(err); err == nil || code != fault.Internal && code != fault.Failed {
			t.Errorf("%s: %v", name, err)
		}
		if _, cerr := w.Commit(""); cerr == nil {
			t.Errorf("%s: committed after an error", name)
		}
		w.Abort()
	}
	if entries := must[[]os.DirEntry](t)(os.ReadDir(s.path(blobDir))); len(entries) != 0 {
		t.Fatalf("leftovers: %v", entries)
	}
}

func TestEmptyLayer(t *testing.T) {
	s := newStore(t)
	l := writeLayer(t, s, nil)
	root := must[string](t)(s.Rootfs(context.Background(), putImage(t, s, "", l)))
	if entries := must[[]os.DirEntry](t)(os.ReadDir(root)); len(entries) != 0 {
		t.Fatalf("entries: %v", entries)
	}
}
