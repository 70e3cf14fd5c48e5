package builder_test

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/recipes"
)

// project is a folder with a recipe, and a store.
type project struct {
	t     *testing.T
	dir   string
	store *images.Store
}

func newProject(t *testing.T) *project {
	t.Helper()
	return &project{t: t, dir: t.TempDir(), store: newStore(t, t.TempDir())}
}

func newStore(t *testing.T, dir string) *images.Store {
	t.Helper()
	s, err := images.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// write writes a file of the project; the mode is set exactly.
func (p *project) write(name, content string, mode os.FileMode) {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(path, []byte(content), mode), os.Chmod(path, mode)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *project) recipe(text string) *recipes.Recipe {
	p.t.Helper()
	p.write("app.yaml", text, 0o644)
	return p.load()
}

func (p *project) load() *recipes.Recipe {
	p.t.Helper()
	r, err := recipes.Load(filepath.Join(p.dir, "app.yaml"))
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// bake bakes a recipe that must be fine.
func (p *project) bake(text string, change ...func(*builder.Options)) builder.Result {
	p.t.Helper()
	res, err := p.try(text, change...)
	if err != nil {
		p.t.Fatalf("bake: %v", err)
	}
	return res
}

func (p *project) try(text string, change ...func(*builder.Options)) (builder.Result, error) {
	p.t.Helper()
	o := builder.Options{Recipe: p.recipe(text), Store: p.store}
	for _, c := range change {
		c(&o)
	}
	return builder.Bake(context.Background(), o)
}

// entry is a layer's entry as a line: "type mode uid:gid path [-> link] [= content]".
func (p *project) layer(d images.Digest) []string {
	p.t.Helper()
	f, err := p.store.OpenBlob(d)
	if err != nil {
		p.t.Fatal(err)
	}
	defer f.Close()
	var list []string
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			p.t.Fatal(err)
		}
		list = append(list, line(p.t, h, tr))
	}
}

func line(t *testing.T, h *tar.Header, r io.Reader) string {
	t.Helper()
	text := fmt.Sprintf("%c %04o %d:%d %s", kinds[h.Typeflag], h.Mode, h.Uid, h.Gid, h.Name)
	if h.Linkname != "" {
		text += " -> " + h.Linkname
	}
	for _, name := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		if attr, ok := strings.CutPrefix(name, "SCHILY.xattr."); ok {
			text += fmt.Sprintf(" {%s=%q}", attr, h.PAXRecords[name])
		}
	}
	if h.Typeflag == tar.TypeReg {
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > 200 {
			text += fmt.Sprintf(" [%d]", len(data))
		} else if len(data) > 0 {
			text += " = " + strings.ReplaceAll(strings.TrimSpace(string(data)), "\n", "|")
		}
	}
	return text
}

var kinds = map[byte]rune{tar.TypeReg: 'f', tar.TypeDir: 'd', tar.TypeSymlink: 'l', tar.TypeLink: 'h', tar.TypeChar: 'c', tar.TypeFifo: 'p'}

// steps lists the layers of a bake, step by step.
func (p *project) steps(res builder.Result) string {
	p.t.Helper()
	var b strings.Builder
	for _, s := range res.Steps {
		fmt.Fprintf(&b, "# %s\n", s.Name)
		if s.Layer != "" {
			b.WriteString(strings.Join(p.layer(s.Layer), "\n") + "\n")
		}
	}
	return b.String()
}

func cachedSteps(res builder.Result) string {
	var b strings.Builder
	for _, s := range res.Steps {
		if s.Cached {
			b.WriteByte('c')
		} else {
			b.WriteByte('-')
		}
	}
	return b.String()
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != strings.TrimPrefix(want, "\n") {
		t.Errorf("%s:\n%s\nwant:\n%s", what, got, strings.TrimPrefix(want, "\n"))
	}
}

// content is a file of a layer.
func (p *project) content(d images.Digest, name string) string {
	p.t.Helper()
	f, err := p.store.OpenBlob(d)
	if err != nil {
		p.t.Fatal(err)
	}
	defer f.Close()
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if err != nil {
			p.t.Fatalf("%s: %v", name, err)
		}
		if h.Name == name {
			data, err := io.ReadAll(tr)
			if err != nil {
				p.t.Fatal(err)
			}
			return string(data)
		}
	}
}
