package screen

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestScreen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		s := New(&b, func() int { return 24 })
		for range 1000 { // drawn once, not a thousand times
			s.Update([]string{"one", strings.Repeat("x", 50)})
		}
		time.Sleep(3 * interval)
		s.Print("stays")
		s.Update([]string{"two"})
		time.Sleep(interval)
		synctest.Wait()
		s.Close(false)
		s.Close(false)
		want := hideCursor +
			"\r" + clearDown + "one\n" + strings.Repeat("x", 23) + reset + "\n" +
			"\x1b[2A\r" + clearDown + "stays\ntwo\n" +
			"\x1b[1A\r" + clearDown + showCursor
		if b.String() != want {
			t.Errorf("drew\n%q\nwant\n%q", b.String(), want)
		}
	})
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		line    string
		columns int
		want    string
	}{
		{"short", 10, "short"},
		{"exact", 5, "exact"},
		{"longer", 3, "lon" + reset},
		{"\x1b[31mred\x1b[0m", 3, "\x1b[31mred\x1b[0m"},
		{"\x1b[31mredder\x1b[0m", 3, "\x1b[31mred" + reset},
		{"grün und mehr", 4, "grün" + reset},
		{"\x1b[", 1, "\x1b["},
	} {
		if got := Cut(c.line, c.columns); got != c.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", c.line, c.columns, got, c.want)
		}
	}
}
