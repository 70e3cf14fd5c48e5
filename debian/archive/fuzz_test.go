package archive

import (
	"bytes"
	"testing"

	"github.com/bootandshoot/release/debian"
)

// FuzzInRelease gives damaged release files and signatures to what opens them. None may be taken but the one that was signed.
func FuzzInRelease(f *testing.F) {
	key, err := signer()
	if err != nil {
		f.Fatal(err)
	}
	s := &site{suite: "test", date: today}
	s.keys = append(s.keys, key)
	good := s.inRelease([]byte("Codename: test\nDate: Sat, 21 Nov 2026 11:00:00 UTC\nSHA256:\n"))
	_, rel, _ := bytes.Cut(good, []byte("\n\n"))
	f.Add(good)
	f.Add(bytes.Replace(good, []byte("test"), []byte("evil"), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, _, err := openInRelease(data, s.keys, today)
		if err == nil && !bytes.HasPrefix(rel, []byte(text)) {
			t.Errorf("%q is taken as signed", text)
		}
		_, _ = debian.ParseRelease("InRelease", text)
		_, _, _ = openRelease([]byte("text"), data, s.keys, today)
		_, _ = parseKeyring(data)
	})
}
