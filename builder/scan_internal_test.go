package builder

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/recipes"
)

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		glob, path string
		want       bool
	}{
		{"/etc/x", "/etc/x", true}, {"/etc/x", "/etc/xy", false}, {"/etc/*.key", "/etc/a.key", true}, {"/etc/*.key", "/etc/a/b.key", false},
		{"/srv/**", "/srv/a/b", true}, {"/srv/**/x", "/srv/a/b/x", true}, {"/a?", "/aß", true}, {"/ä*", "/äx", true}, {"/a.b", "/aXb", false},
		{"env:API_*", "env:API_KEY", true}, {"/[a]", "/[a]", true}, {"/[a]", "/a", false},
	} {
		if got := globPattern(c.glob).MatchString(c.path); got != c.want {
			t.Errorf("%s and %s: %v", c.glob, c.path, got)
		}
	}
}

// BenchmarkFindSecrets measures what the search adds to a bake: with nothing changed, for 20 layers, and with one layer of
// a new program of 6 MB among them.
func BenchmarkFindSecrets(b *testing.B) {
	store, err := images.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		b.Fatal(err)
	}
	program = bytes.Repeat(program, 6<<20/len(program)+1)[:6<<20]
	layer := func(name string, content []byte) images.Layer {
		l, err := writePieces(b.Context(), store, 0, []piece{{Entry: images.Entry{Path: name, Mode: 0o644, Size: int64(len(content))},
			open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }}})
		if err != nil {
			b.Fatal(err)
		}
		made, err := l.Commit(name)
		if err != nil {
			b.Fatal(err)
		}
		return made
	}
	k, err := newBake(Options{Recipe: &recipes.Recipe{Base: recipes.Base{Scratch: true}}, Store: store})
	if err != nil {
		b.Fatal(err)
	}
	m := &made{state: &state{store: store}}
	for i := range 20 {
		m.state.layers = append(m.state.layers, layer(fmt.Sprintf("f%d", i), []byte(fmt.Sprint(i))))
	}
	find := func() {
		if err := k.findSecrets(context.Background(), m); err != nil {
			b.Fatal(err)
		}
	}
	find()
	b.Run("unchanged", func(b *testing.B) {
		for b.Loop() {
			find()
		}
	})
	b.Run("program6MB", func(b *testing.B) {
		n := 0
		for b.Loop() {
			b.StopTimer()
			n++
			copy(program, fmt.Sprintf("%08d", n))
			m.state.layers[19] = layer("app", program)
			b.StartTimer()
			find()
		}
	})
}
