package secrets_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/bootandshoot/release/builder/secrets"
)

// prose is text as in manuals and sources, with the words that rules stop at.
func prose(size int) []byte {
	words := strings.Fields(`the of and a to in is you that it package function return value password token secret key error file string
		user config := = { } ( ) "text" if else for import const https://example.org/path 12 0x7f config.json api_key: private`)
	r := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for n := 0; b.Len() < size; n++ {
		b.WriteString(words[r.IntN(len(words))])
		if n%12 == 0 {
			b.WriteByte('\n')
		} else {
			b.WriteByte(' ')
		}
	}
	return b.Bytes()[:size]
}

func BenchmarkFile(b *testing.B) {
	s := secrets.New()
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		b.Fatal(err)
	}
	binary := bytes.Repeat(program, 6<<20/len(program)+1)[:6<<20]
	for name, data := range map[string][]byte{"text": prose(8 << 20), "binary6MB": binary} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := s.File("usr/share/doc/x", bytes.NewReader(data)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// endless gives size bytes of text without having them.
type endless struct{ left int }

func (e *endless) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, fmt.Errorf("end: %w", os.ErrClosed)
	}
	n := min(len(p), e.left)
	for i := range p[:n] {
		p[i] = "line of text\n"[i%13]
	}
	e.left -= n
	return n, nil
}

func TestMemoryIsBounded(t *testing.T) {
	s := secrets.New()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := s.File("big", &endless{left: 256 << 20}); err == nil {
		t.Error("an error of the file is lost")
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
		t.Errorf("a file of 256 MB took %d bytes", used)
	}
}
