package images

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// bigLayer has about as many files as a small Debian system: n of 16 KiB in folders of fifty.
func bigLayer(b *testing.B, s *Store, n int) Layer {
	b.Helper()
	w := must[*LayerWriter](b)(s.NewLayer(context.Background(), 0))
	defer w.Abort()
	content := bytes.Repeat([]byte("release"), 16<<10/7)
	for i := range n {
		if i%50 == 0 {
			check(b, w.Add(Entry{Path: fmt.Sprintf("usr-%05d", i), Type: Dir, Mode: 0o755}, nil))
		}
		path := fmt.Sprintf("usr-%05d/file-%05d", i-i%50, i)
		check(b, w.Add(Entry{Path: path, Mode: 0o644, Size: int64(len(content))}, bytes.NewReader(content)))
	}
	return must[Layer](b)(w.Commit(""))
}

func BenchmarkRootfsUnpack(b *testing.B) {
	s := newStore(b)
	d := putImage(b, s, "", bigLayer(b, s, 8000))
	for b.Loop() {
		root := must[string](b)(s.Rootfs(context.Background(), d))
		b.StopTimer()
		check(b, os.Remove(filepath.Join(filepath.Dir(root), "meta.json")))
		check(b, os.RemoveAll(root))
		b.StartTimer()
	}
}

func BenchmarkRootfsClone(b *testing.B) {
	s := newStore(b)
	base := bigLayer(b, s, 8000)
	rootOf(b, s, base)
	d := putImage(b, s, "", base, fileLayer(b, s, "app", "x"))
	for b.Loop() {
		root := must[string](b)(s.Rootfs(context.Background(), d))
		b.StopTimer()
		check(b, os.Remove(filepath.Join(filepath.Dir(root), "meta.json")))
		check(b, os.RemoveAll(root))
		b.StartTimer()
	}
}

func BenchmarkRootfsReady(b *testing.B) {
	s := newStore(b)
	d := putImage(b, s, "", fileLayer(b, s, "app", "x"))
	for b.Loop() {
		must[string](b)(s.Rootfs(context.Background(), d))
	}
}

func BenchmarkOpenResolveGet(b *testing.B) {
	s := newStore(b)
	for i := range 50 {
		putImage(b, s, "shop", fileLayer(b, s, "app", fmt.Sprint(i)))
	}
	for b.Loop() {
		s := must[*Store](b)(Open(s.Dir()))
		must[Image](b)(s.Get(must[Digest](b)(s.Resolve("shop"))))
	}
}

func BenchmarkLayer6MB(b *testing.B) {
	s := newStore(b)
	content := bytes.Repeat([]byte("release!"), 6<<20/8)
	b.SetBytes(int64(len(content)))
	for i := 0; b.Loop(); i++ {
		copy(content, fmt.Sprint(i))
		w := must[*LayerWriter](b)(s.NewLayer(context.Background(), 0))
		check(b, w.Add(Entry{Path: "app", Mode: 0o755, Size: int64(len(content))}, bytes.NewReader(content)))
		must[Layer](b)(w.Commit(""))
	}
}
