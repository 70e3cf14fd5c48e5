package machine

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/bootandshoot/release/internal/fault"
)

// plainELF is an ELF file of 64 bits with one note.
func plainELF(owner string, kind uint32) []byte {
	const header, program = 64, 56
	var notes bytes.Buffer
	le := binary.LittleEndian
	for _, n := range []struct {
		owner string
		kind  uint32
	}{{"Linux", 1}, {owner, kind}} {
		name := append([]byte(n.owner), 0)
		_ = binary.Write(&notes, le, []uint32{uint32(len(name)), 4, n.kind})
		notes.Write(append(name, make([]byte, (4-len(name)%4)%4)...))
		notes.Write([]byte{1, 2, 3, 4})
	}
	b := make([]byte, header+program)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 2)       // executable
	le.PutUint16(b[18:], 62)      // x86-64
	le.PutUint32(b[20:], 1)       // version
	le.PutUint64(b[32:], header)  // of the program headers
	le.PutUint16(b[52:], header)  // size of this one
	le.PutUint16(b[54:], program) // and of those
	le.PutUint16(b[56:], 1)
	le.PutUint32(b[header:], 4) // PT_NOTE
	le.PutUint64(b[header+8:], header+program)
	le.PutUint64(b[header+32:], uint64(notes.Len()))
	return append(append(b, notes.Bytes()...), bytes.Repeat([]byte("kernel "), 100)...)
}

// bzImage is one with a payload.
func bzImage(packed []byte, size int) []byte {
	b := make([]byte, 2*sectorSize+16)
	le := binary.LittleEndian
	b[setupSectors] = 1
	copy(b[headerMagic:], "HdrS")
	le.PutUint16(b[headerVersion:], 0x20f)
	le.PutUint32(b[payloadOffset:], 16)
	le.PutUint32(b[payloadLength:], uint32(len(packed)+4))
	b = append(b, packed...)
	return append(le.AppendUint32(b, uint32(size)), "behind it"...)
}

func lz4Packed(t testing.TB, plain []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := lz4.NewWriter(&out)
	if err := w.Apply(lz4.LegacyOption(true)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstdPacked(t *testing.T, plain []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(plain, nil)
}

func TestPlainKernel(t *testing.T) {
	const pvh = 18
	plain := plainELF("Xen", pvh)
	for name, packed := range map[string][]byte{"lz4": lz4Packed(t, plain), "zstd": zstdPacked(t, plain)} {
		image, dir := filepath.Join(t.TempDir(), name), filepath.Join(t.TempDir(), "kernels")
		if err := os.WriteFile(image, bzImage(packed, len(plain)), 0o600); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				file, err := PlainKernel(image, dir)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(plain), err)
				}
			})
		}
		all.Wait()
		if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
			t.Errorf("%s: %d files are there, %v", name, len(list), err)
		}
	}
}

func TestKernelsThatAreBootedAsTheyAre(t *testing.T) {
	plain, none, other := plainELF("Xen", 18), plainELF("Xen", 17), plainELF("Xex", 18)
	for name, image := range map[string][]byte{
		"no kernel":      []byte("text"),
		"no note":        bzImage(lz4Packed(t, none), len(none)),
		"another's note": bzImage(lz4Packed(t, other), len(other)),
		"no ELF":         bzImage(lz4Packed(t, bytes.Repeat([]byte("seven7 "), 99)), 99*7),
		"another length": bzImage(lz4Packed(t, plain), len(plain)+1),
		"too short":      bzImage(lz4Packed(t, plain), len(plain)-1),
		"gzip":           bzImage([]byte("\x1f\x8b\x08"), len(plain)),
		"cut off":        bzImage(lz4Packed(t, plain), len(plain))[:1100],
	} {
		if _, err := unpackKernel(image); !fault.Is(err, fault.Unsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzUnpackKernel(f *testing.F) {
	plain := plainELF("Xen", 18)
	f.Add(bzImage(lz4Packed(f, plain), len(plain)))
	f.Fuzz(func(t *testing.T, image []byte) {
		if kernel, err := unpackKernel(image); err == nil && !entersByPVH(kernel) {
			t.Error("a kernel without an entry")
		}
	})
}
