package disk

import (
	"bytes"
	debugpe "debug/pe"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/bootandshoot/release/internal/fault"
)

func allocated(t *testing.T, f *os.File) int64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

// Every number of levels of the tree, and levels that are just full or just not, against cryptsetup's own.
func TestHashTreeIsThatOfVeritysetup(t *testing.T) {
	for _, blocks := range []int64{1, 2, 127, 128, 129, 128*128 + 1} {
		t.Run(strconv.FormatInt(blocks, 10), func(t *testing.T) {
			data := newFile(t, "data")
			random := rand.NewChaCha8([32]byte{byte(blocks)})
			chunk := make([]byte, blockSize)
			for i := range min(blocks, 300) { // the rest is a hole
				random.Read(chunk)
				if _, err := data.WriteAt(chunk, i*blockSize); err != nil {
					t.Fatal(err)
				}
			}
			if err := data.Truncate(blocks * blockSize); err != nil {
				t.Fatal(err)
			}
			v, err := hashTree(t.Context(), data, blocks)
			if err != nil {
				t.Fatal(err)
			}
			hashes := newFile(t, "hashes")
			id := guid{1, 2, 3}
			if err := v.write(hashes, 0, id); err != nil {
				t.Fatal(err)
			}
			theirs := filepath.Join(t.TempDir(), "theirs")
			mustTool(t, "cryptsetup-bin", "veritysetup", "format", "--salt=-", "--uuid=01020300-0000-0000-0000-000000000000", data.Name(), theirs)
			if want, err := os.ReadFile(theirs); err != nil || int64(len(want)) != v.size() || !bytes.Equal(want, readAll(t, hashes)) {
				t.Errorf("veritysetup writes other bytes (%d, %d): %v", len(want), v.size(), err)
			}
			mustTool(t, "cryptsetup-bin", "veritysetup", "verify", data.Name(), hashes.Name(), v.hash())
		})
	}
}

func readAll(t *testing.T, f *os.File) []byte {
	t.Helper()
	data, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A window holds what was written last, in any order, as a plain file would.
func TestWindowIsAFile(t *testing.T) {
	f := newFile(t, "window")
	rapid.Check(t, func(t *rapid.T) {
		if err := f.Truncate(0); err != nil {
			t.Fatal(err)
		}
		w := &window{file: f, base: 12345}
		var want []byte
		for range rapid.IntRange(1, 8).Draw(t, "writes") {
			at, n := rapid.IntRange(0, 40_000).Draw(t, "at"), rapid.IntRange(0, 30_000).Draw(t, "length")
			p := make([]byte, n)
			for i := 0; i < n; i += 4096 {
				if rapid.Bool().Draw(t, "data") {
					p[min(n-1, i+rapid.IntRange(0, 4095).Draw(t, "where"))] = 1
				}
			}
			if grow := at + n - len(want); grow > 0 && n > 0 {
				want = append(want, make([]byte, grow)...)
			}
			if n > 0 {
				copy(want[at:], p)
			}
			if _, err := w.Seek(int64(at), io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if wrote, err := w.Write(p); err != nil || wrote != n {
				t.Fatalf("wrote %d of %d: %v", wrote, n, err)
			}
		}
		if err := f.Truncate(12345 + w.total); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(w); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read %d bytes, want %d: %v", len(got), len(want), err)
		}
	})
}

func TestUnifiedImageIsAProgram(t *testing.T) {
	data, err := unifiedImage(stub(t), []byte("ID=x\n"), []byte("kernel"), bytes.Repeat([]byte("i"), 5000), "quiet")
	if err != nil {
		t.Fatal(err)
	}
	f, err := debugpe.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{".osrel": "ID=x\n", ".cmdline": "quiet\x00", ".initrd": strings.Repeat("i", 5000), ".linux": "kernel"} {
		s := f.Section(name)
		if s == nil {
			t.Errorf("no section %s", name)
			continue
		}
		if got, err := s.Data(); err != nil || string(got[:s.VirtualSize]) != want {
			t.Errorf("section %s has %q: %v", name, got, err)
		}
	}
	var end uint32
	for _, s := range f.Sections {
		if s.VirtualAddress < end {
			t.Errorf("section %s begins in the one before it", s.Name)
		}
		end = s.VirtualAddress + s.VirtualSize
	}
}

func FuzzUnifiedImage(f *testing.F) {
	f.Add(stub(f))
	f.Add([]byte("MZ"))
	f.Fuzz(func(t *testing.T, data []byte) {
		made, err := unifiedImage(data, []byte("a"), []byte("b"), []byte("c"), "d")
		if err == nil && len(made) < len(data) {
			t.Error("it lost something of the stub")
		}
	})
}

func FuzzModinfo(f *testing.F) {
	f.Add([]byte("name=a\x00depends=b,c-d\x00softdep=pre: e post: f\x00alias=g\x00alias=pci:*\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := parseModinfo(data)
		for _, name := range append(m.needs, m.before...) {
			if name == "" || strings.Contains(name, "-") {
				t.Errorf("a module needs %q", name)
			}
		}
		_, _ = parseModule(data)
	})
}

func TestLoadOrder(t *testing.T) {
	modules := map[string]module{
		"a":    {needs: []string{"b", "c"}},
		"b":    {needs: []string{"c"}, before: []string{"soft", "nowhere"}},
		"c":    {},
		"real": {aliases: []string{"soft"}},
		"x":    {needs: []string{"y"}}, "y": {needs: []string{"x"}},
		"lone": {needs: []string{"missing"}},
	}
	for _, test := range []struct {
		wanted, order string
		code          fault.Code
	}{
		{"a", "real c b a", ""},
		{"c a", "c real b a", ""},
		{"inside", "", ""},
		{"x", "", fault.Failed},
		{"lone", "", fault.Unsupported},
		{"missing", "", fault.Unsupported},
	} {
		order, err := loadOrder(modules, []string{"inside"}, strings.Fields(test.wanted))
		if fault.CodeOf(err) != test.code || err == nil && strings.Join(order, " ") != test.order {
			t.Errorf("%s: %v, %v", test.wanted, order, err)
		}
	}
}

func TestQCOW2IsTheSameDisk(t *testing.T) {
	raw := newFile(t, "disk.raw")
	random := rand.NewChaCha8([32]byte{7})
	for _, at := range []int64{0, 65_000, 200_000, 5 << 20, 200<<20 + 512} {
		data := make([]byte, 150_000)
		random.Read(data)
		copy(data[40_000:], bytes.Repeat([]byte("compressible"), 8000))
		if _, err := raw.WriteAt(data, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := raw.Truncate(600<<20 + 512); err != nil { // more than one level 2 table covers
		t.Fatal(err)
	}
	for name, o := range map[string]QCOW2{"plain": {}, "compressed": {Compress: true}} {
		t.Run(name, func(t *testing.T) {
			f := newFile(t, "disk.qcow2")
			if err := WriteQCOW2(t.Context(), f, raw, o); err != nil {
				t.Fatal(err)
			}
			if out := mustTool(t, "qemu-utils", "qemu-img", "check", f.Name()); !strings.Contains(out, "No errors were found") {
				t.Errorf("qemu-img check says:\n%s", out)
			}
			if out := mustTool(t, "qemu-utils", "qemu-img", "compare", raw.Name(), f.Name()); !strings.Contains(out, "identical") {
				t.Errorf("qemu-img compare says:\n%s", out)
			}
			if used := allocated(t, f); used > 2<<20 {
				t.Errorf("it takes %d bytes", used)
			}
		})
	}
}
