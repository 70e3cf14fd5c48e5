package builder

import (
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// A reader that stops before the end had a reason, such as a full disk; the file is not to blame.
func TestReaderThatStopsEarly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	s := &source{abs: path, print: fingerprint{size: 10}}
	r := &hashingFile{f: f, s: s, hash: sha256.New()}
	if _, err := io.ReadFull(r, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil || s.sum != "" {
		t.Errorf("closed with %v, sum %q", err, s.sum)
	}
}
