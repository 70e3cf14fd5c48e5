package pairfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func mustWrite(t interface{ Fatal(...any) }, f *File, value string) {
	if err := f.Write([]byte(value), PutWaiting); err != nil {
		t.Fatal(err)
	}
}

func TestTheNewestIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "value")
	if _, err := New(path, 0o600).Read(nil); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("without files: %v", err)
	}
	f := New(path, 0o600)
	for _, value := range []string{"one", "two, which is longer", "", "four", "five"} {
		mustWrite(t, f, value)
		if got, err := New(path, 0o600).Read(nil); err != nil || string(got) != value {
			t.Errorf("read %q, %v; want %q", got, err, value)
		}
	}
	for _, name := range f.Paths() {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

// Whatever happens to the file that is written last, the value before it is there, and goes on being so while others are written.
func TestAnyDamageLeavesTheOther(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		path := filepath.Join(dir, fmt.Sprint(n))
		f := New(path, 0o600)
		writes := rapid.IntRange(2, 6).Draw(t, "writes")
		for i := range writes {
			mustWrite(t, f, fmt.Sprint("value ", i))
		}
		last := f.Paths()[1-f.turn]
		whole, err := os.ReadFile(last)
		if err != nil {
			t.Fatal(err)
		}
		var harmed []byte
		switch rapid.IntRange(0, 2).Draw(t, "how") {
		case 0:
			harmed = whole[:rapid.IntRange(0, len(whole)-1).Draw(t, "cut")]
		case 1:
			harmed = bytes.Clone(whole)
			harmed[rapid.IntRange(0, len(whole)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		case 2: // a new head over an old value, or the other way round
			cut := rapid.IntRange(1, len(whole)-1).Draw(t, "torn")
			next := encode(uint64(writes+2), []byte("VALUE X"))
			harmed = append(bytes.Clone(next[:min(cut, len(next)-1)]), whole[min(cut, len(next)-1):]...)
		}
		if err := os.WriteFile(last, harmed, 0o600); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprint("value ", writes-2)
		again := New(path, 0o600)
		if got, err := again.Read(nil); string(got) != want && string(got) != fmt.Sprint("value ", writes-1) || string(got) == want && !errors.Is(err, ErrDamaged) {
			t.Fatalf("read %q, %v; want %q", got, err, want)
		}
		mustWrite(t, again, "after")
		if got, err := New(path, 0o600).Read(nil); err != nil && !errors.Is(err, ErrDamaged) || string(got) != "after" {
			t.Fatalf("after another write: %q, %v", got, err)
		}
	})
}

func TestNothingIsWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "value")
	f := New(path, 0o600)
	mustWrite(t, f, "one")
	mustWrite(t, f, "two")
	for _, name := range f.Paths() {
		if err := os.Truncate(name, 3); err != nil {
			t.Fatal(err)
		}
	}
	if value, err := f.Read(nil); value != nil || !errors.Is(err, ErrDamaged) {
		t.Fatalf("read %q, %v", value, err)
	}
	mustWrite(t, f, "three")
	if value, err := New(path, 0o600).Read(nil); string(value) != "three" || !errors.Is(err, ErrDamaged) {
		t.Errorf("read %q, %v", value, err)
	}
	mustWrite(t, f, "four")
	if value, err := New(path, 0o600).Read(nil); string(value) != "four" || err != nil {
		t.Errorf("read %q, %v", value, err)
	}
}

// A value that did not reach the disk is not the value, and the one before is.
func TestFailedSync(t *testing.T) {
	path := filepath.Join(t.TempDir(), "value")
	f := New(path, 0o600)
	for _, value := range []string{"one", "two", "three"} {
		mustWrite(t, f, value)
	}
	failure := errors.New("the disk is gone")
	if err := f.Write([]byte("four"), func(name string, b []byte) error {
		return put(name, b, func(*os.File) error { return failure })
	}); !errors.Is(err, failure) {
		t.Fatal(err)
	}
	if value, err := New(path, 0o600).Read(nil); string(value) != "three" || !errors.Is(err, ErrDamaged) {
		t.Errorf("read %q, %v", value, err)
	}
	mustWrite(t, f, "five")
	if value, err := New(path, 0o600).Read(nil); string(value) != "five" || err != nil {
		t.Errorf("read %q, %v", value, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("1 3 x\nabc"))
	f.Add(encode(7, []byte("value")))
	f.Add(append(encode(7, []byte("value")), "the rest"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		number, value, ok := decode(b)
		if ok && !bytes.HasPrefix(b, encode(number, value)) {
			// A number may be written in more than one way; the value must still be what the sum says.
			if again, v, ok := decode(encode(number, value)); !ok || again != number || !bytes.Equal(v, value) {
				t.Errorf("decoded %d %q of %q", number, value, b)
			}
		}
	})
}

// The asynchronous way makes the same files, many at a time, whatever their size was and is.
func TestQueue(t *testing.T) {
	for name, dir := range map[string]string{"disk": t.TempDir(), "memory": memoryDir(t)} {
		t.Run(name, func(t *testing.T) {
			var asides atomic.Int64
			q, err := NewQueue(func(name string, b []byte) error { asides.Add(1); return PutWaiting(name, b) })
			if err != nil {
				t.Fatal(err)
			}
			defer q.Close()
			var group sync.WaitGroup
			for i := range 8 {
				group.Go(func() {
					f := New(filepath.Join(dir, fmt.Sprint(i)), 0o600)
					for j := range 12 {
						value := strings.Repeat(fmt.Sprint(j), 1+j%3*3000)
						if err := f.Write([]byte(value), q.Put); err != nil {
							t.Error(err)
						}
						if got, err := New(f.path, 0o600).Read(nil); err != nil || string(got) != value {
							t.Errorf("read %d bytes, %v; want %d", len(got), err, len(value))
						}
					}
				})
			}
			group.Wait()
			if n := asides.Load(); name == "disk" && n > 8*6 {
				t.Errorf("%d of %d writes were not asynchronous", n, 8*12)
			}
		})
	}
}

// memoryDir is a folder of a file system without disk.
func memoryDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "pairfile")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestQueueFails(t *testing.T) {
	q, err := NewQueue(PutWaiting)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	dir := t.TempDir()
	if err := q.Put(filepath.Join(dir, "none"), []byte("x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := q.Put(dir, []byte("x")); !errors.Is(err, syscall.EISDIR) {
		t.Errorf("a folder: %v", err)
	}
	if err := q.Put("a\x00b", []byte("x")); err == nil {
		t.Error("a name that is none")
	}
	if err := q.write(^uintptr(0), q.pad([]byte("x"))); !errors.Is(err, syscall.EBADF) {
		t.Errorf("a closed file: %v", err)
	}
}

// A write whose end was not heard breaks the queue: the next ones never take its end for theirs, and go aside.
func TestBrokenQueue(t *testing.T) {
	asides := 0
	q, err := NewQueue(func(name string, b []byte) error { asides++; return PutWaiting(name, b) })
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	f := New(filepath.Join(t.TempDir(), "value"), 0o600)
	for _, value := range []string{"one", "two", "three", "four"} {
		if err := f.Write([]byte(value), q.Put); err != nil {
			t.Fatal(err)
		}
	}
	asides = 0
	if err := q.done.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := f.Write([]byte("five"), q.Put); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("an end that nobody hears: %v", err)
	}
	if got, err := New(f.path, 0o600).Read(nil); string(got) != "four" || !errors.Is(err, ErrDamaged) {
		t.Errorf("read %q, %v", got, err)
	}
	for _, value := range []string{"six", "seven"} {
		if err := f.Write([]byte(value), q.Put); err != nil {
			t.Error(err)
		}
		if got, _ := New(f.path, 0o600).Read(nil); string(got) != value {
			t.Errorf("read %q, want %q", got, value)
		}
	}
	if asides != 2 {
		t.Errorf("%d writes went aside, want 2", asides)
	}
}
