package xz

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	library "github.com/mikelolasagasti/xz"
)

// packed runs the xz program.
func packed(t testing.TB, data []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("xz", append([]string{"--stdout", "--threads=1"}, args...)...)
	var out, problem bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(data), &out, &problem
	if err := cmd.Run(); err != nil {
		t.Fatalf("this test needs xz (apt-get install xz-utils): %v: %s", err, problem.String())
	}
	return out.Bytes()
}

func unpacked(data []byte) ([]byte, error) {
	z, err := NewReader(bytes.NewReader(data), MaxDictionary)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// samples are data of several kinds: such that matches are near, far, long and of distances that come again, and none.
func samples() map[string][]byte {
	random := rand.NewChaCha8([32]byte{7})
	noise := make([]byte, 100_000)
	_, _ = random.Read(noise)
	var text, records bytes.Buffer
	for i := range 15_000 {
		fmt.Fprintf(&text, "%s %d %x\n", strings.Repeat("and ", i%5), i, i*i*7919)
	}
	for i := range 10_000 {
		fmt.Fprintf(&records, "\x7fELF%c%c\x00\x00%04d\x00\xff\xff%c", byte(i), byte(i>>8), i%1000, noise[i])
	}
	return map[string][]byte{
		"nothing":  nil,
		"byte":     {'x'},
		"zeros":    make([]byte, 3_000_000),
		"noise":    noise,
		"text":     text.Bytes(),
		"records":  records.Bytes(),
		"far":      bytes.Join([][]byte{noise, text.Bytes(), noise, records.Bytes(), noise[:1000]}, nil),
		"patterns": bytes.Join([][]byte{bytes.Repeat([]byte("ab"), 7_000), bytes.Repeat(noise[:15], 1_000), bytes.Repeat(noise[:16], 1_000), bytes.Repeat(noise[:17], 1_000)}, nil),
	}
}

func TestReadsWhatXZWrites(t *testing.T) {
	for name, data := range samples() {
		for _, args := range []string{
			"-0", "-6e", "--check=none", "--check=crc32", "--check=sha256", "--block-size=100000",
			"--lzma2=dict=4KiB", "--lzma2=dict=64KiB,lc=0,lp=4,pb=0", "--lzma2=dict=1536KiB,lc=4,lp=0,pb=4", "--lzma2=lc=1,lp=2,pb=3,mode=fast,mf=hc3",
			"--x86 --lzma2", "--delta=dist=4 --lzma2=dict=64KiB",
		} {
			got, err := unpacked(packed(t, data, strings.Fields(args)...))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s %s: %d bytes of %d, %v", name, args, len(got), len(data), err)
			}
		}
	}
}

func TestReadsSeveralStreams(t *testing.T) {
	a, b := packed(t, []byte("one "), "--check=sha256"), packed(t, []byte("two"), "--check=none")
	file := bytes.Join([][]byte{a, make([]byte, 8), packed(t, nil), b, make([]byte, 4)}, nil)
	got, err := unpacked(file)
	if string(got) != "one two" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range [][]byte{append(bytes.Clone(a), 0), append(bytes.Clone(a), 0, 0, 0, 0, 'x'), append(append(bytes.Clone(a), 0, 0), b...)} {
		if _, err := unpacked(bad); !errors.Is(err, ErrDamaged) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}

func TestReadsInPieces(t *testing.T) {
	data := samples()["text"]
	z, err := NewReader(bytes.NewReader(packed(t, data)), MaxDictionary)
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	buf := make([]byte, 4097)
	for n := 0; ; n++ {
		k, err := z.Read(buf[:n%len(buf)])
		got = append(got, buf[:k]...)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got, data) {
		t.Error("other data")
	}
}

func TestBoundsTheDictionary(t *testing.T) {
	for _, filter := range []string{"--lzma2=dict=8MiB", "--x86 --lzma2=dict=8MiB"} {
		file := packed(t, []byte("x"), strings.Fields(filter)...)
		for most, want := range map[uint32]error{8 << 20: nil, 8<<20 - 1: ErrMemory} {
			z, err := NewReader(bytes.NewReader(file), most)
			if err == nil {
				_, err = io.ReadAll(z)
			}
			if !errors.Is(err, want) {
				t.Errorf("%s: at most %d: %v", filter, most, err)
			}
		}
	}
}

// TestWindowIsBounded holds the memory against what the package says.
func TestWindowIsBounded(t *testing.T) {
	const dict = 1 << 20
	z, err := NewReader(bytes.NewReader(packed(t, samples()["far"], "--lzma2=dict=1MiB")), MaxDictionary)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, z); err != nil {
		t.Fatal(err)
	}
	if n := len(z.data.window); n > dict+maxPlain+100 {
		t.Errorf("a window of %d bytes", n)
	}
}

// TestFindsDamage cuts a file everywhere, and changes each of its bytes.
func TestFindsDamage(t *testing.T) {
	data := samples()["records"][:3000]
	for _, args := range []string{"--check=crc64 --block-size=1000", "--check=sha256"} {
		file := packed(t, data, strings.Fields(args)...)
		for i := range file {
			if got, err := unpacked(file[:i]); !errors.Is(err, io.ErrUnexpectedEOF) || !bytes.HasPrefix(data, got) {
				t.Errorf("%s: %d bytes of %d: %d, %v", args, i, len(file), len(got), err)
			}
			for _, bit := range []byte{1, 0x10, 0x80} {
				bad := bytes.Clone(file)
				bad[i] ^= bit
				_, err := unpacked(bad)
				if err == nil || !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrMemory) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("%s: byte %d other by %#x: %v", args, i, bit, err)
				}
			}
		}
	}
}

func TestPassesErrorsOn(t *testing.T) {
	file := packed(t, samples()["noise"])
	broken := errors.New("the disk is broken")
	for _, n := range []int{0, 5, 20, 1000, len(file) - 5} {
		z, err := NewReader(io.MultiReader(bytes.NewReader(file[:n]), failing{broken}), MaxDictionary)
		if err == nil {
			_, err = io.ReadAll(z)
		}
		if !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// theirsOf is what the library makes of a file.
func theirsOf(file []byte) ([]byte, error) {
	z, err := library.NewReader(bytes.NewReader(file), MaxDictionary)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// FuzzReader holds whole files against the library.
func FuzzReader(f *testing.F) {
	for _, args := range []string{"-0", "--check=none", "--check=sha256 --block-size=100", "--x86 --lzma2=dict=4KiB"} {
		f.Add(packed(f, samples()["records"][:500], strings.Fields(args)...))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		got, err := unpacked(file)
		want, lerr := theirsOf(file)
		if errors.Is(err, errFirst) {
			return // the library reads it
		}
		if (err == nil) != (lerr == nil) || err == nil && !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, %v; the library has %d, %v", len(got), err, len(want), lerr)
		}
	})
}

// FuzzChunks holds LZMA2 against the library, where no checksum stands in the way of odd data.
func FuzzChunks(f *testing.F) {
	for name, data := range samples() {
		file := packed(f, data[:min(len(data), 3000)], "--check=none", "--lzma2=dict=4KiB,lc=3,lp=1,pb=1")
		if name != "nothing" {
			f.Add(file[headSize+12:])
		}
	}
	// The header of the stream, and that of the block.
	head := packed(f, []byte("x"), "--check=none", "--lzma2=dict=4KiB")[:headSize+12]
	f.Fuzz(func(t *testing.T, data []byte) {
		want, lerr := theirsOf(append(bytes.Clone(head), data...))
		var c chunks
		c.begin(&source{r: bufio.NewReader(bytes.NewReader(data))}, 4096)
		var got []byte
		err := c.next()
		for ; err == nil; err = c.next() {
			got = append(got, c.plain()...)
		}
		if !bytes.HasPrefix(want, got) || len(want)-len(got) > maxPlain || errors.Is(err, errEnd) && len(got) != len(want) {
			t.Fatalf("%d bytes, %v; the library has %d others, %v", len(got), err, len(want), lerr)
		}
		if errors.Is(err, errFirst) || errors.Is(err, errEnd) {
			return
		}
		if errors.Is(err, ErrDamaged) != errors.Is(lerr, library.ErrData) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%v; the library says %v", err, lerr)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	file := packed(b, bytes.Join([][]byte{samples()["text"], samples()["records"]}, nil))
	for name, open := range map[string]func(io.Reader) (io.Reader, error){
		"ours":    func(r io.Reader) (io.Reader, error) { return NewReader(r, MaxDictionary) },
		"library": func(r io.Reader) (io.Reader, error) { return library.NewReader(r, MaxDictionary) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				z, err := open(bytes.NewReader(file))
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.Copy(io.Discard, z)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(n)
			}
		})
	}
}
