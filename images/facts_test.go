package images

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/bootandshoot/release/internal/fault"
)

// allKinds is a layer with an entry of every type.
func allKinds(t testing.TB, s *Store) (Layer, []Entry) {
	t.Helper()
	entries := []Entry{
		{Path: ".", Type: Dir, Mode: 0o755},
		{Path: "dev", Type: Dir, Mode: 0o755},
		{Path: "dev/null", Type: CharDevice, Mode: 0o666, Major: 1, Minor: 3},
		{Path: "dev/sda", Type: BlockDevice, Mode: 0o660, GID: 6, Major: 8},
		{Path: "etc", Type: Dir, Mode: 0o755, UID: 1, GID: 2},
		{Path: "etc", Type: Opaque},
		{Path: "etc/gone", Type: Whiteout},
		{Path: "etc/pass", Mode: 0o640, GID: 42, Size: 5, Xattrs: map[string]string{"user.b": "2", "user.a": "\x00\x01"}},
		{Path: "etc/pass2", Type: HardLink, Link: "etc/pass", Mode: 0o640, GID: 42},
		{Path: "etc/zero", Mode: 0o4755},
		{Path: "link", Type: Symlink, Link: "/etc/pass", Mode: 0o777},
		{Path: "pipe", Type: Fifo, Mode: 0o600},
	}
	w := must[*LayerWriter](t)(s.NewLayer(context.Background(), 7))
	defer w.Abort()
	for _, e := range entries {
		check(t, w.Add(e, strings.NewReader(strings.Repeat("x", int(e.Size)))))
	}
	return must[Layer](t)(w.Commit("all kinds")), entries
}

// TestKeepFacts holds the facts that are found out while a layer is written against those of reading it.
func TestKeepFacts(t *testing.T) {
	s := newStore(t)
	_, entries := allKinds(t, s)
	long := strings.Repeat("long/", 60)
	for i := range 60 {
		entries = append(entries, Entry{Path: "x/" + long[:5*i+4], Type: Dir, Mode: 0o755})
	}
	entries = append(entries, Entry{Path: "x/" + long + "file", Size: fileBuffer + 1}, Entry{Path: "y", Size: 513, UID: 1 << 30})
	w := must[*LayerWriter](t)(s.NewLayer(t.Context(), 7))
	defer w.Abort()
	w.KeepFacts()
	for _, e := range entries {
		check(t, w.Add(e, strings.NewReader(strings.Repeat("y", int(e.Size)))))
	}
	l := must[Layer](t)(w.Commit("noted"))
	noted, ok := s.knownFacts(l.Digest)
	if !ok {
		t.Fatal("nothing was kept")
	}
	check(t, os.Remove(s.factsPath(l.Digest)))
	if diff := cmp.Diff(must[LayerFacts](t)(s.LayerFacts(t.Context(), l)), noted); diff != "" {
		t.Errorf("facts (-read +noted):\n%s", diff)
	}
}

func TestLayerFacts(t *testing.T) {
	s := newStore(t)
	l, entries := allKinds(t, s)
	facts := must[LayerFacts](t)(s.LayerFacts(t.Context(), l))
	for i := range entries {
		entries[i].Mode &= 0o7777
		if entries[i].Type == Whiteout || entries[i].Type == Opaque {
			entries[i].Mode = 0
		}
	}
	var got []Entry
	for _, e := range facts.Entries {
		got = append(got, e.Entry)
		if e.Type != File {
			continue
		}
		data := must[[]byte](t)(s.ReadContent(l.Digest, e, 100))
		if string(data) != strings.Repeat("x", int(e.Size)) || e.Content != DigestOf(data) {
			t.Errorf("%s: content %q, digest %s", e.Path, data, e.Content)
		}
	}
	if diff := cmp.Diff(entries, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}

	kept := must[[]byte](t)(os.ReadFile(s.factsPath(l.Digest)))
	if diff := cmp.Diff(facts, must[LayerFacts](t)(decodeFacts(kept))); diff != "" {
		t.Errorf("the cache differs:\n%s", diff)
	}
	check(t, os.Remove(s.blobPath(l.Digest)))
	if diff := cmp.Diff(facts, must[LayerFacts](t)(s.LayerFacts(t.Context(), l))); diff != "" {
		t.Errorf("facts from the cache differ:\n%s", diff)
	}
}

func TestLayerFactsOfDamagedCache(t *testing.T) {
	s := newStore(t)
	l, _ := allKinds(t, s)
	facts := must[LayerFacts](t)(s.LayerFacts(t.Context(), l))
	good := must[[]byte](t)(os.ReadFile(s.factsPath(l.Digest)))
	for i := range good {
		for _, bad := range [][]byte{good[:i], slices.Concat(good[:i], []byte{good[i] ^ 1}, good[i+1:])} {
			if _, err := decodeFacts(bad); err == nil {
				t.Fatalf("damage at byte %d is not seen", i)
			}
		}
	}
	check(t, os.WriteFile(s.factsPath(l.Digest), good[:len(good)-1], 0o644))
	if diff := cmp.Diff(facts, must[LayerFacts](t)(s.LayerFacts(t.Context(), l))); diff != "" {
		t.Errorf("facts differ:\n%s", diff)
	}
}

func TestLayerFactsOfBadLayers(t *testing.T) {
	s := newStore(t)
	ok := tarOf(t, tar.Header{Name: "a", Size: 3})
	for name, data := range map[string][]byte{
		"no tar":  bytes.Repeat([]byte("no tar "), 200),
		"upward":  tarOf(t, tar.Header{Name: "../a", Size: 3}),
		"cut":     ok[:514],
		"gzip":    append([]byte("\x1f\x8b"), ok...),
		"removes": tarOf(t, tar.Header{Name: "a/.wh...", Size: 0}),
	} {
		if _, err := s.LayerFacts(t.Context(), rawLayer(t, s, data)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	l := rawLayer(t, s, ok)
	check(t, os.WriteFile(s.blobPath(l.Digest), bytes.Replace(ok, []byte("xxx"), []byte("xyx"), 1), 0o644))
	if _, err := s.LayerFacts(t.Context(), l); !fault.Is(err, fault.Failed) {
		t.Errorf("a damaged layer gives %v", err)
	}
	if _, err := os.Stat(s.factsPath(l.Digest)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("facts of a damaged layer are kept: %v", err)
	}
}

func FuzzDecodeFacts(f *testing.F) {
	f.Add([]byte(factsMagic))
	f.Add(encodeFacts(LayerFacts{Layer: DigestOf(nil), Entries: []FileFacts{{Entry: Entry{Path: "a", Type: Symlink, Link: "b"}}}})[:60])
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := DigestOf(body)
		facts, err := decodeFacts(appendDigest(slices.Clone(body), sum))
		if err != nil {
			return
		}
		again, err := decodeFacts(encodeFacts(facts))
		if err != nil || len(again.Entries) != len(facts.Entries) {
			t.Errorf("%v after encoding again", err)
		}
	})
}

// TestFilesLikeRootfs holds the tree that Files gives against the one that is unpacked, for layers of all kinds.
func TestFilesLikeRootfs(t *testing.T) {
	names := []string{"a", "b", "a/a", "a/b", "b/a", "a/a/a", "l", "l/a", "a/l", "a/l/b"}
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		check(t, err)
		s := must[*Store](t)(Open(dir))
		var layers []Layer
		for range rapid.IntRange(1, 4).Draw(rt, "layers") {
			var headers []tar.Header
			for range rapid.IntRange(1, 6).Draw(rt, "entries") {
				headers = append(headers, drawHeader(rt, names))
			}
			data := tarOf(t, headers...)
			layers = append(layers, Layer{Descriptor: Descriptor{Digest: quickBlob(t, s, data), Size: int64(len(data))}})
		}
		config, manifest, err := encode(Image{Config: testConfig(), Layers: layers})
		check(t, err)
		quickBlob(t, s, config)
		d := quickBlob(t, s, manifest)
		root, unpackErr := s.Rootfs(t.Context(), d)
		if unpackErr != nil {
			return // what is refused there need not be here: nothing is written
		}
		img := must[Image](t)(s.Get(d))
		var facts []LayerFacts
		for _, l := range img.Layers {
			facts = append(facts, must[LayerFacts](t)(s.readFacts(t.Context(), l)))
		}
		files, err := s.filesOf(img, facts)
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(listDisk(t, root), listFiles(t, files)); diff != "" {
			rt.Fatalf("unpacked (-) and looked into (+):\n%s", diff)
		}
	})
}

// quickBlob stores a blob without waiting for the disk.
func quickBlob(t *testing.T, s *Store, data []byte) Digest {
	d := DigestOf(data)
	check(t, os.WriteFile(s.blobPath(d), data, 0o644))
	return d
}

func drawHeader(rt *rapid.T, names []string) tar.Header {
	name := rapid.SampledFrom(names).Draw(rt, "name")
	switch rapid.IntRange(0, 7).Draw(rt, "type") {
	case 0, 1:
		return tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o750}
	case 2:
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: rapid.SampledFrom([]string{"a", "/b", "../a", "nowhere"}).Draw(rt, "link"), Mode: 0o777}
	case 3:
		return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: rapid.SampledFrom(names).Draw(rt, "link")}
	case 4:
		return tar.Header{Name: filepath.Join(filepath.Dir(name), ".wh."+filepath.Base(name)), Typeflag: tar.TypeReg}
	case 5:
		return tar.Header{Name: name + "/.wh..wh..opq", Typeflag: tar.TypeReg}
	}
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(rapid.IntRange(0, 3).Draw(rt, "size")), Mode: 0o640}
}

func listFiles(t *testing.T, files *Files) []string {
	var list []string
	for n := range files.All() {
		line := fmt.Sprintf("%s type %d", n.Path, n.Type)
		switch n.Type {
		case File:
			r := must[io.ReadCloser](t)(files.Open(n))
			line += fmt.Sprintf(" mode %o %q", n.Mode, readAll(t, r))
			check(t, r.Close())
		case Symlink:
			line += " " + n.Link
		}
		list = append(list, line)
	}
	slices.Sort(list)
	return list
}

func listDisk(t *testing.T, root string) []string {
	var list []string
	check(t, filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		check(t, err)
		rel := must[string](t)(filepath.Rel(root, name))
		var st unix.Stat_t
		check(t, unix.Lstat(name, &st))
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			list = append(list, fmt.Sprintf("%s type %d mode %o %q", rel, File, st.Mode&0o7777, readFile(t, name)))
		case unix.S_IFDIR:
			list = append(list, fmt.Sprintf("%s type %d", rel, Dir))
		case unix.S_IFLNK:
			list = append(list, fmt.Sprintf("%s type %d %s", rel, Symlink, must[string](t)(os.Readlink(name))))
		default:
			t.Fatalf("%s has mode %o", name, st.Mode)
		}
		return nil
	}))
	slices.Sort(list)
	return list
}

func TestFilesStayWithinTheImage(t *testing.T) {
	s := newStore(t)
	files := must[*Files](t)(s.Files(t.Context(), putImage(t, s, "x", rawLayer(t, s, tarOf(t,
		tar.Header{Name: "etc/", Typeflag: tar.TypeDir},
		tar.Header{Name: "etc/real", Typeflag: tar.TypeReg, Size: 3},
		tar.Header{Name: "abs", Typeflag: tar.TypeSymlink, Linkname: "/etc/real"},
		tar.Header{Name: "up", Typeflag: tar.TypeSymlink, Linkname: "../../../etc/real"},
		tar.Header{Name: "dir", Typeflag: tar.TypeSymlink, Linkname: "etc"},
		tar.Header{Name: "loop", Typeflag: tar.TypeSymlink, Linkname: "loop"},
	)))))
	for _, name := range []string{"/abs", "up", "dir/real", "./dir/../etc/real", "../../etc/real"} {
		if data, err := files.Read(name, 10); err != nil || string(data) != "xxx" {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	if n := must[*ImageFile](t)(files.Lookup("abs")); n.Type != Symlink {
		t.Errorf("Lookup follows the last link: %+v", n)
	}
	if _, err := files.Read("nothing", 10); !errors.Is(err, fs.ErrNotExist) || !fault.Is(err, fault.NotFound) {
		t.Errorf("a name that is not there: %v", err)
	}
	if _, err := files.Read("loop", 10); !fault.Is(err, fault.Invalid) {
		t.Errorf("a loop: %v", err)
	}
	if _, err := files.Read("abs", 2); !fault.Is(err, fault.Invalid) {
		t.Errorf("a large file: %v", err)
	}
}

// FuzzScanLayer looks into layers of any bytes: no panic, and no name outside of the root.
func FuzzScanLayer(f *testing.F) {
	f.Add(tarOf(f, tar.Header{Name: "a/", Typeflag: tar.TypeDir}, tar.Header{Name: "a/b", Size: 3, Typeflag: tar.TypeReg}, tar.Header{Name: "a/.wh.b", Typeflag: tar.TypeReg}))
	f.Add(tarOf(f, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../l"}, tar.Header{Name: "l/h", Typeflag: tar.TypeLink, Linkname: "l"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		scan := layerScan{ctx: t.Context(), in: io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data))), size: int64(len(data)),
			limits: Limits{Entries: 1000}.withDefaults(), sum: sha256.New(), buf: make([]byte, 4096)}
		entries, err := scan.run()
		if err != nil {
			return
		}
		s := &Store{}
		layer := LayerFacts{Layer: DigestOf(data), Entries: entries}
		files, err := s.filesOf(Image{}, []LayerFacts{layer, layer})
		if err != nil {
			return
		}
		for n := range files.All() {
			if n.Path != "." && !filepath.IsLocal(n.Path) {
				t.Errorf("path %q", n.Path)
			}
		}
	})
}
