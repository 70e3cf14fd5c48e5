package archive

import (
	"bytes"
	"testing"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/debian/archive/archivetest"
)

// FuzzInRelease gives damaged release files and signatures to what opens them. None may be taken but the one that was signed.
func FuzzInRelease(f *testing.F) {
	s := archivetest.New(f, today)
	good := s.Suite("test").InRelease([]byte("Codename: test\nDate: Sat, 21 Nov 2026 11:00:00 UTC\nSHA256:\n"))
	_, rel, _ := bytes.Cut(good, []byte("\n\n"))
	f.Add(good)
	f.Add(bytes.Replace(good, []byte("test"), []byte("evil"), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, _, err := openInRelease(data, s.Keys, today)
		if err == nil && !bytes.HasPrefix(rel, []byte(text)) {
			t.Errorf("%q is taken as signed", text)
		}
		_, _ = debian.ParseRelease("InRelease", text)
		_, _, _ = openRelease([]byte("text"), data, s.Keys, today)
		_, _ = parseKeyring(data)
	})
}
