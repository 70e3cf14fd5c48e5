package guest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// However a program's writes are cut, its lines come out whole, in order, and once.
func TestLinesSurviveAnyCutting(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		_ = os.Remove(filepath.Join(dir, "log"))
		l := openLog(t, dir)
		defer l.file.Close()
		text := rapid.StringMatching(`([a-z ]{0,40}(\n|\r\n)?){0,20}`).Draw(t, "text")
		var rest []byte
		for left := text; left != ""; {
			n := rapid.IntRange(1, len(left)).Draw(t, "cut")
			rest = l.lines(append(rest, left[:n]...), "out", false)
			left = left[n:]
		}
		l.lines(rest, "out", true)
		var want []string
		for line := range strings.Lines(text) {
			want = append(want, strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"))
		}
		if got := written(t, dir); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("%q became %q", text, got)
		}
	})
}

type failer interface {
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func openLog(t failer, dir string) *logWriter {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLogWriter(fd, 1<<20, 1)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fd)
	return l
}

// written is the text of each line of the log.
func written(t failer, dir string) (texts []string) {
	data, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 3)
		if _, err := time.Parse(time.RFC3339Nano, f[0]); err != nil || len(f) != 3 || f[1] != "out" {
			t.Fatalf("line %q: %v", line, err)
		}
		texts = append(texts, f[2])
	}
	return texts
}

// The image's passwd and group may hold anything.
func FuzzAccounts(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/sh\n", "shop")
	f.Add("a:b:c\n::::::\nx:x:99999999999:1:::\n", "0")
	f.Fuzz(func(t *testing.T, text, name string) {
		file := filepath.Join(t.TempDir(), "passwd")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, a := range readAccounts(file, 7, parseUser) {
			if a.id < 0 || a.gid < 0 {
				t.Errorf("%q gave %+v", text, a)
			}
		}
		if a, ok := find(readAccounts(file, 4, parseGroup), name); ok && a.name != name {
			if id, err := ParseID(name); err != nil || id != a.id {
				t.Errorf("looked for %q, found %+v", name, a)
			}
		}
	})
}
