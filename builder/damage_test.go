package builder_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/builder"
)

// A cached layer that the disk did not keep is made anew when a step needs it, and the image is the one it always was.
func TestDamagedCachedLayer(t *testing.T) {
	for name, at := range map[string]int64{"header": 100, "content": 515} {
		t.Run(name, func(t *testing.T) {
			recipe := "base: {image: ./base}\ncopy: [{from: app, to: /srv/app}]\nrun: [{cmd: \"touch /tmp/x && ls /srv > /opt/%\"}]\n"
			whole, p := newProject(t), newProject(t)
			for _, q := range []*project{whole, p} {
				q.base()
				q.write("app", "program", 0o755)
			}
			first := p.bake(strings.ReplaceAll(recipe, "%", "one"))
			blob := filepath.Join(p.store.Dir(), "blobs/sha256", first.Steps[1].Layer.Hex())
			f, err := os.OpenFile(blob, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte{0xff}, at); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(p.store.Dir(), "rootfs")); err != nil { // another boot
				t.Fatal(err)
			}
			var said []string
			second := p.bake(strings.ReplaceAll(recipe, "%", "two"), func(o *builder.Options) {
				o.Progress = func(e builder.Event) {
					if e.Kind == builder.Note {
						said = append(said, e.Line)
					}
				}
			})
			if want := whole.bake(strings.ReplaceAll(recipe, "%", "two")); second.Image != want.Image {
				t.Errorf("it is %s, without damage %s", second.Image, want.Image)
			}
			if text := strings.Join(said, "\n"); !strings.Contains(text, "made anew") || !strings.Contains(text, "damaged") {
				t.Errorf("it said only %q", text)
			}
		})
	}
}

// An owner is not looked up in a file that the disk did not keep: the base is brought anew.
func TestDamagedPasswd(t *testing.T) {
	const recipe = "base: {image: ./base}\ncopy: [{from: %, to: /srv/%, owner: www}]\n"
	whole, p := newProject(t), newProject(t)
	for _, q := range []*project{whole, p} {
		q.base()
		q.write("one", "program", 0o755)
		q.write("two", "program", 0o755)
	}
	first := p.bake(strings.ReplaceAll(recipe, "%", "one"))
	image, err := p.store.Get(first.Image)
	if err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(p.store.Dir(), "blobs/sha256", image.Layers[0].Digest.Hex())
	data, err := os.ReadFile(blob)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Replace(data, []byte("www:x:33:33:"), []byte("www:x:44:33:"), 1)
	if bytes.Equal(damaged, data) {
		t.Fatal("the base has no user www")
	}
	if err := os.WriteFile(blob, damaged, 0o644); err != nil {
		t.Fatal(err)
	}
	second := p.bake(strings.ReplaceAll(recipe, "%", "two"))
	if want := whole.bake(strings.ReplaceAll(recipe, "%", "two")); second.Image != want.Image {
		t.Errorf("it is %s, without damage %s", second.Image, want.Image)
	}
}
