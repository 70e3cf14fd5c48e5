package http1

import (
	"bytes"
	"testing"
)

// slowTextEnd says what textEnd must.
func slowTextEnd(b []byte, i int) int {
	for i < len(b) && (b[i] == '\t' || b[i] >= 0x20 && b[i] != 0x7f) {
		i++
	}
	return i
}

// Every byte at every place among every neighbour's kind: borrows of the subtraction must not show.
func TestTextEnd(t *testing.T) {
	for _, filler := range []byte{'a', '\t', ' ', 0x1f, 0x20, 0x21, 0x7e, 0x7f, 0x80, 0xff, 0} {
		for length := range 20 {
			for at := range length {
				for c := range 256 {
					b := bytes.Repeat([]byte{'a'}, length)
					b[at] = byte(c)
					if at+1 < length {
						b[at+1] = filler
					}
					for start := range min(length, 3) {
						if got, want := textEnd(b, start), slowTextEnd(b, start); got != want {
							t.Fatalf("%q from %d: %d, want %d", b, start, got, want)
						}
					}
				}
			}
		}
	}
}

func FuzzTextEnd(f *testing.F) {
	f.Add([]byte("text/html,\t*/*;q=0.8\r\n"), 0)
	f.Fuzz(func(t *testing.T, b []byte, i int) {
		if i < 0 || i > len(b) {
			return
		}
		if got, want := textEnd(b, i), slowTextEnd(b, i); got != want {
			t.Fatalf("%d, want %d", got, want)
		}
	})
}
