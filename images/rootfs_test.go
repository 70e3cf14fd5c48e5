package images

import (
	"archive/tar"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/fault"
)

func rootOf(t testing.TB, s *Store, layers ...Layer) string {
	t.Helper()
	return must[string](t)(s.Rootfs(context.Background(), putImage(t, s, "", layers...)))
}

func TestRootfsOfEveryKind(t *testing.T) {
	s := newStore(t)
	root := rootOf(t, s, writeLayer(t, s, everyKind()))
	if got := readFile(t, filepath.Join(root, "bin/link")); got != "hello" {
		t.Fatalf("hard link has %q", got)
	}
	app := must[os.FileInfo](t)(os.Stat(filepath.Join(root, "bin/app")))
	st := app.Sys().(*syscall.Stat_t)
	if app.ModTime().Unix() != 1_700_000_000 || st.Nlink != 2 {
		t.Errorf("time %v, links %d", app.ModTime(), st.Nlink)
	}
	if os.Geteuid() == 0 && (st.Uid != 1000 || app.Mode()&os.ModeSetuid == 0) {
		t.Errorf("owner %d mode %v", st.Uid, app.Mode())
	}
	if target := must[string](t)(os.Readlink(filepath.Join(root, "etc/alt"))); target != "/usr/bin/ünï" {
		t.Errorf("link to %q", target)
	}
	etc := must[os.FileInfo](t)(os.Stat(filepath.Join(root, "etc")))
	if etc.Mode().Perm() != 0o777 || etc.Mode()&os.ModeSticky == 0 || etc.ModTime().Unix() != 1_700_000_000 {
		t.Errorf("etc: %v %v", etc.Mode(), etc.ModTime())
	}
	value := make([]byte, 16)
	if n, err := unix.Getxattr(filepath.Join(root, "bin/app"), "user.a", value); err == nil && string(value[:n]) != "b" {
		t.Errorf("xattr %q", value[:n])
	}
	parent := must[os.FileInfo](t)(os.Stat(filepath.Join(s.Dir(), "rootfs")))
	if parent.Mode().Perm() != 0o700 {
		t.Errorf("rootfs folder is %v", parent.Mode())
	}
}

// layered is a stack of layers and what its root must look like: path → content, "/" for a folder.
func TestRootfsFlattens(t *testing.T) {
	dir := func(name string) tar.Header { return tar.Header{Name: name + "/", Typeflag: tar.TypeDir} }
	file := func(name string) tar.Header { return tar.Header{Name: name, Size: 1} }
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink}
	}
	cases := map[string]struct {
		layers [][]tar.Header
		want   string
	}{
		"whiteout file":           {[][]tar.Header{{file("a"), file("b")}, {file(".wh.a")}}, "b"},
		"whiteout folder":         {[][]tar.Header{{file("d/a"), file("b")}, {file(".wh.d")}}, "b"},
		"whiteout spares own":     {[][]tar.Header{{file("a")}, {file("a"), file(".wh.a")}}, "a"},
		"whiteout of nothing":     {[][]tar.Header{{file("a")}, {file("x/y/.wh.z")}}, "a"},
		"whiteout then again":     {[][]tar.Header{{file("d/a")}, {file(".wh.d")}, {file("d/b")}}, "d/ d/b"},
		"opaque":                  {[][]tar.Header{{file("d/a"), file("d/e/f")}, {dir("d"), file("d/.wh..wh..opq"), file("d/b")}}, "d/ d/b"},
		"opaque last":             {[][]tar.Header{{file("d/a"), file("d/e/f")}, {file("d/e/g"), file("d/.wh..wh..opq")}}, "d/ d/e/ d/e/g"},
		"opaque root":             {[][]tar.Header{{file("a"), file("d/b")}, {file("c"), file(".wh..wh..opq")}}, "c"},
		"old bookkeeping":         {[][]tar.Header{{file("a"), file(".wh..wh.plnk/1.2"), dir(".wh..wh.aufs")}}, "a"},
		"file over folder":        {[][]tar.Header{{file("d/a")}, {file("d")}}, "d"},
		"link over folder":        {[][]tar.Header{{dir("run"), file("var/run/a"), dir("var/run")}, {link("var/run", "/run")}}, "run/ var/ var/run>"},
		"folder over file":        {[][]tar.Header{{file("d")}, {dir("d"), file("d/a")}}, "d/ d/a"},
		"folder over folder":      {[][]tar.Header{{file("d/a")}, {dir("d"), file("d/b")}}, "d/ d/a d/b"},
		"folder over link":        {[][]tar.Header{{file("r/a"), link("d", "r")}, {dir("d"), file("d/b")}}, "d/ d/b r/ r/a"},
		"file over link":          {[][]tar.Header{{file("a"), link("b", "a")}, {file("b")}}, "a b"},
		"through a relative link": {[][]tar.Header{{dir("usr/lib"), link("lib", "usr/lib")}, {file("lib/x")}}, "lib> usr/ usr/lib/ usr/lib/x"},
		"same file twice":         {[][]tar.Header{{file("a"), file("a")}}, "a"},
		"absolute and dotted":     {[][]tar.Header{{file("/a"), file("./b"), dir("."), dir("/")}}, "a b"},
		"hard link":               {[][]tar.Header{{file("a"), {Name: "b", Linkname: "/a", Typeflag: tar.TypeLink}}}, "a b"},
		"hard link to lower":      {[][]tar.Header{{file("a")}, {{Name: "b", Linkname: "a", Typeflag: tar.TypeLink}}}, "a b"},
		"global header":           {[][]tar.Header{{{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}, file("a")}}, "a"},
		"device 0:0":              {[][]tar.Header{{file("a"), {Name: "z", Typeflag: tar.TypeChar}}}, "a"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			var layers []Layer
			for _, headers := range c.layers {
				layers = append(layers, rawLayer(t, s, tarOf(t, headers...)))
			}
			if got := treeText(t, rootOf(t, s, layers...)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			// The same in two roots: the second is a clone of the first with the last layer on top.
			s = newStore(t)
			layers = layers[:0]
			for _, headers := range c.layers {
				layers = append(layers, rawLayer(t, s, tarOf(t, headers...)))
				rootOf(t, s, layers...)
			}
			if got := treeText(t, rootOf(t, s, layers...)); got != c.want {
				t.Errorf("on a clone: got %q, want %q", got, c.want)
			}
		})
	}
}

// treeText lists a tree: folders end with "/", links with ">".
func treeText(t testing.TB, root string) string {
	t.Helper()
	var list []string
	check(t, filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name := must[string](t)(filepath.Rel(root, path))
		switch {
		case e.IsDir():
			name += "/"
		case e.Type()&os.ModeSymlink != 0:
			name += ">"
		}
		list = append(list, name)
		return nil
	}))
	return strings.Join(list, " ")
}

func TestRootfsRefusesHostileEntries(t *testing.T) {
	outside := t.TempDir()
	check(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("untouched"), 0o600))
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink}
	}
	hard := func(name, to string) tar.Header {
		return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeLink}
	}
	devices := []tar.Header{{Name: "a"}}
	for range 20 {
		devices = append(devices, tar.Header{Name: "d" + strings.Repeat("d", len(devices)), Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3})
	}
	many := make([]tar.Header, 101)
	for i := range many {
		many[i] = tar.Header{Name: "many"}
	}
	cases := map[string]struct {
		headers []tar.Header
		entry   string
	}{
		"upward":                     {[]tar.Header{{Name: "../../evil"}}, "../../evil"},
		"upward inside":              {[]tar.Header{{Name: "a/../../evil"}}, "a/../../evil"},
		"absolute link parent":       {[]tar.Header{link("d", outside), {Name: "d/secret", Size: 1}}, "d/secret"},
		"upward link parent":         {[]tar.Header{link("d", "../../../../../../../../../.."+outside), {Name: "d/secret", Size: 1}}, "d/secret"},
		"link chain":                 {[]tar.Header{link("a", ".."), link("b", "a/.."), {Name: "b/x", Size: 1}}, "b/x"},
		"hard link upward":           {[]tar.Header{hard("h", "../../../../../../../../../../.."+outside+"/secret")}, "h"},
		"hard link through link":     {[]tar.Header{link("d", outside), hard("h", "d/secret")}, "h"},
		"hard link absolute":         {[]tar.Header{hard("h", outside+"/secret")}, "h"},
		"hard link to itself":        {[]tar.Header{{Name: "h"}, hard("h", "./h")}, "h"},
		"hard link to folder":        {[]tar.Header{{Name: "d/", Typeflag: tar.TypeDir}, hard("h", "d")}, "h"},
		"hard link to root":          {[]tar.Header{hard("h", ".")}, "h"},
		"whiteout through link":      {[]tar.Header{link("d", outside), {Name: "d/.wh.secret"}}, "d/.wh.secret"},
		"opaque through link":        {[]tar.Header{link("d", outside), {Name: "d/.wh..wh..opq"}}, "d/.wh..wh..opq"},
		"whiteout of dots":           {[]tar.Header{{Name: "d/", Typeflag: tar.TypeDir}, {Name: "d/.wh..."}, {Name: "d/.wh..."}, {Name: "d/.wh.."}}, "d/.wh.."},
		"whiteout of nothing":        {[]tar.Header{{Name: ".wh."}}, ".wh."},
		"root as link":               {[]tar.Header{link("./", outside)}, "./"},
		"parent is a file":           {[]tar.Header{{Name: "f"}, {Name: "f/x"}}, "f/x"},
		"dangling parent":            {[]tar.Header{link("l", "nowhere"), {Name: "l/x"}}, "l/x"},
		"loop":                       {[]tar.Header{link("l", "l"), {Name: "l/x"}}, "l/x"},
		"device flood":               {devices, devices[11].Name},
		"entry flood":                {many, "many"},
		"impossible device":          {[]tar.Header{{Name: "d", Typeflag: tar.TypeChar, Devmajor: 1 << 20, Format: tar.FormatGNU}}, "d"},
		"long name":                  {[]tar.Header{{Name: strings.Repeat("a/", 3000) + "b"}}, "a/a/a"},
		"long component":             {[]tar.Header{{Name: strings.Repeat("a", 300)}}, "aaa"},
		"empty link":                 {[]tar.Header{link("l", "")}, "l"},
		"whiteout makes room for ..": {[]tar.Header{{Name: "x/.wh..."}, {Name: "x/.."}}, "x/.wh..."},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, WithLimits(Limits{Devices: 10, Entries: 100}))
			d := putImage(t, s, "", rawLayer(t, s, tarOf(t, c.headers...)))
			_, err := s.Rootfs(context.Background(), d)
			if err == nil || !strings.Contains(err.Error(), `entry "`+c.entry) {
				t.Fatalf("got %v", err)
			}
			if left := must[[]string](t)(filepath.Glob(s.path("rootfs/*/*"))); len(left) != 1 || !strings.HasSuffix(left[0], ".lock") {
				t.Errorf("left: %v", left)
			}
			if got := readFile(t, filepath.Join(outside, "secret")); got != "untouched" {
				t.Fatalf("outside file has %q", got)
			}
			if entries := must[[]os.DirEntry](t)(os.ReadDir(outside)); len(entries) != 1 {
				t.Fatalf("outside: %v", entries)
			}
		})
	}
}

// A sparse member claims far more bytes than it brings.
func TestRootfsRefusesSparseBomb(t *testing.T) {
	s := newStore(t)
	data := tarOf(t, tar.Header{Name: "bomb", Size: 8})
	// A PAX sparse 0.1 member by hand: archive/tar reads such but writes none.
	var sparse []byte
	pax := ""
	for _, kv := range []string{"GNU.sparse.major=0", "GNU.sparse.minor=1", "GNU.sparse.size=9999999999", "GNU.sparse.numblocks=1", "GNU.sparse.map=0,8"} {
		pax += paxRecord(kv)
	}
	header := tarOf(t, tar.Header{Name: "PaxHeaders/bomb", Size: int64(len(pax))})[:512]
	header[156] = 'x'
	fixChecksum(header)
	body := make([]byte, 512)
	copy(body, pax)
	sparse = append(append(append(sparse, header...), body...), data...)
	_, err := s.Rootfs(context.Background(), putImage(t, s, "", rawLayer(t, s, sparse)))
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), `"bomb"`) || !strings.Contains(err.Error(), "claims") {
		t.Fatalf("got %v", err)
	}
}

func TestRootfsChecksDigests(t *testing.T) {
	s := newStore(t)
	l := fileLayer(t, s, "a", strings.Repeat("x", 100))
	d := putImage(t, s, "", l)
	data := []byte(readFile(t, s.blobPath(l.Digest)))
	data[600]++
	check(t, os.WriteFile(s.blobPath(l.Digest), data, 0o644))
	if _, err := s.Rootfs(context.Background(), d); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Fatalf("got %v", err)
	}
}

func TestRootfsOnceForAll(t *testing.T) {
	s := newStore(t)
	d := putImage(t, s, "", writeLayer(t, s, everyKind()))
	roots := make([]string, 8)
	errs := make([]error, len(roots))
	var wg sync.WaitGroup
	for i := range roots {
		wg.Go(func() {
			other, err := Open(s.Dir())
			if err == nil {
				roots[i], err = other.Rootfs(context.Background(), d)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	check(t, errors.Join(errs...))
	for _, r := range roots {
		if r != roots[0] {
			t.Fatalf("roots differ: %v", roots)
		}
	}
}

func TestRootfsAfterACrashAndAReboot(t *testing.T) {
	s, ctx := newStore(t), context.Background()
	d := putImage(t, s, "", fileLayer(t, s, "a", "x"))
	root := must[string](t)(s.Rootfs(ctx, d))
	dir := filepath.Dir(root)
	check(t, os.MkdirAll(filepath.Join(dir+".tmp", "root", "half"), 0o700))
	check(t, os.WriteFile(filepath.Join(dir, "meta.json"), []byte(`{"schema":1,"boot":"another"}`), 0o644))
	check(t, os.Remove(filepath.Join(root, "a")))
	must[string](t)(s.Rootfs(ctx, d))
	if got := treeText(t, root); got != "a" {
		t.Fatalf("got %q", got)
	}
	if _, err := os.Stat(dir + ".tmp"); err == nil {
		t.Fatal("the half root stayed")
	}
}

func TestRootfsSharesFilesOfLowerLayers(t *testing.T) {
	s := newStore(t)
	base := writeLayer(t, s, everyKind())
	a := rootOf(t, s, base)
	b := rootOf(t, s, base, rawLayer(t, s, tarOf(t, tar.Header{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o700}, tar.Header{Name: "bin/new", Size: 1})))
	inA := must[os.FileInfo](t)(os.Stat(filepath.Join(a, "bin/app")))
	inB := must[os.FileInfo](t)(os.Stat(filepath.Join(b, "bin/app")))
	if !os.SameFile(inA, inB) {
		t.Error("the file was written again")
	}
	for root, want := range map[string]os.FileMode{a: 0o777, b: 0o700} {
		if got := must[os.FileInfo](t)(os.Stat(filepath.Join(root, "etc"))); got.Mode().Perm() != want {
			t.Errorf("%s/etc has %v", root, got.Mode())
		}
	}
	if bin := must[os.FileInfo](t)(os.Stat(filepath.Join(b, "bin"))); bin.ModTime().Unix() != 1_700_000_000 {
		t.Errorf("bin has time %v", bin.ModTime())
	}
	if _, err := os.Stat(filepath.Join(a, "bin/new")); err == nil {
		t.Error("the lower root was changed")
	}
}

func TestIDs(t *testing.T) {
	cases := []struct {
		euid       uint64
		uids, gids string
		variant    string
		chown      bool
	}{
		{0, "0 0 4294967295\n", "0 0 4294967295\n", "root", true},
		{1000, "0 0 4294967295\n", "0 0 4294967295\n", "single-1000", false},
		{0, "         0       1000          1\n", "0 1000 1\n", "single-1000", false},
		{0, "0 1000 1\n1 100000 65536\n", "0 1000 1\n1 100000 65536\n", "mapped-", true},
		{0, "0 0 65536\n", "0 0 65536\n", "mapped-", true},
	}
	for _, c := range cases {
		got := idsOf(c.euid, []byte(c.uids), []byte(c.gids))
		if !strings.HasPrefix(got.variant, c.variant) || got.chown != c.chown {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

// A process with one id owns everything; an owner it cannot give costs setuid.
func TestSingleID(t *testing.T) {
	root := must[*os.Root](t)(os.OpenRoot(t.TempDir()))
	defer root.Close()
	u := newUnpacker(root, idSpace{variant: "single-0"}, Limits{}.withDefaults())
	data := tarOf(t,
		tar.Header{Name: "mine", Mode: 0o4755}, tar.Header{Name: "other", Mode: 0o4755, Uid: 33, Gid: 33},
		tar.Header{Name: "closed/", Mode: 0o001, Typeflag: tar.TypeDir}, tar.Header{Name: "closed/in", Mode: 0o4755})
	check(t, u.layer(context.Background(), strings.NewReader(string(data)), int64(len(data)), DigestOf(data)))
	check(t, u.finish())
	for name, want := range map[string]os.FileMode{"mine": os.ModeSetuid | 0o755, "other": 0o755, "closed": os.ModeDir | 0o001} {
		info := must[os.FileInfo](t)(root.Lstat(name))
		if st := info.Sys().(*syscall.Stat_t); info.Mode() != want || st.Uid != uint32(os.Geteuid()) {
			t.Errorf("%s: %v of %d", name, info.Mode(), st.Uid)
		}
	}
}

func paxRecord(kv string) string {
	for n := len(kv) + 3; ; n++ {
		if r := strconv.Itoa(n) + " " + kv + "\n"; len(r) == n {
			return r
		}
	}
}

func fixChecksum(header []byte) {
	copy(header[148:156], "        ")
	sum := 0
	for _, b := range header[:512] {
		sum += int(b)
	}
	text := []byte("000000\x00 ")
	for i := 5; i >= 0; i-- {
		text[i] = byte('0' + sum&7)
		sum >>= 3
	}
	copy(header[148:156], text)
}
