package consul

import (
	"bytes"
	"strings"
	"testing"

	"github.com/bootandshoot/release/internal/fault"
)

func testCodec(t testing.TB) *codec {
	t.Helper()
	c, err := newCodec()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDecode(t *testing.T) {
	c := testCodec(t)
	commit := newCommit()
	tests := map[string]fault.Code{
		"1 " + commit + " plain\nvalue": "", "1 " + commit + " plain\n": "", "": fault.Failed, "{}": fault.Failed,
		"1 " + commit + " plain": fault.Failed, "1 short plain\nx": fault.Failed, "1 " + commit + " zstd\nno frame": fault.Failed,
		"1 " + commit + " lzma\nx": fault.Failed, "2 " + commit + " plain\nx": fault.Unsupported,
	}
	for raw, want := range tests {
		number, _, err := c.decode([]byte(raw))
		if fault.CodeOf(err) != want || err == nil && number != commit {
			t.Errorf("%q: %q, %v, want %q", raw, number, err, want)
		}
	}
	// A small value that unpacks to more than anybody stores.
	bomb := c.packer.EncodeAll(make([]byte, maxValue+1), nil)
	if _, _, err := c.decode(join(commit, packed, bomb)); !fault.Is(err, fault.Failed) {
		t.Errorf("%d bytes that unpack to %d: %v", len(bomb), maxValue+1, err)
	}
}

func FuzzDecode(f *testing.F) {
	c := testCodec(f)
	f.Add([]byte("1 " + newCommit() + " plain\nvalue"))
	f.Add(c.encode(newCommit(), []byte(strings.Repeat("text ", 1000))))
	f.Add([]byte("1  \n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		commit, value, err := c.decode(raw)
		if err != nil {
			return
		}
		again, same, err := c.decode(c.encode(commit, value))
		if err != nil || again != commit || !bytes.Equal(same, value) {
			t.Errorf("%q became %q of %q, %v", value, same, again, err)
		}
	})
}

func TestSlotsAreUsedAlone(t *testing.T) {
	var s slots
	a, b := s.take(), s.take()
	if a != 0 || b != 1 {
		t.Fatalf("slots %d and %d", a, b)
	}
	s.give(b)
	s.give(a)
	if got := s.take(); got != 0 || s.take() != 1 || s.take() != 2 {
		t.Errorf("slot %d first", got)
	}
}
