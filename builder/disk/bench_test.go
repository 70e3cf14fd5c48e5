package disk

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/bootandshoot/release/images"
)

// BenchmarkBuild makes a disk of 300 MB in 10,000 files, as a Debian system with an app has.
func BenchmarkBuild(b *testing.B) {
	random := rand.NewChaCha8([32]byte{3})
	var layer []file
	for i := range 10_000 {
		content := make([]byte, 30_000)
		random.Read(content)
		name := fmt.Sprintf("usr/lib/%02d/%04d", i/100, i)
		layer = append(layer, file{images.Entry{Path: name, Type: images.File, Mode: 0o644}, string(content)})
	}
	files := putImage(b, "amd64", layer)
	r := Request{Files: files, Kernel: someKernel(), Stub: stub(b)}
	f := newFile(b, "disk.raw")
	b.SetBytes(300_000_000)
	for b.Loop() {
		if err := f.Truncate(0); err != nil {
			b.Fatal(err)
		}
		if _, err := Build(b.Context(), f, r); err != nil {
			b.Fatal(err)
		}
	}
}
