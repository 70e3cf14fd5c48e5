package disk

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/bootandshoot/release/images"
)

// uploadBlock is what is uploaded as a whole to EC2 (fleet/ec2/ami.BlockSize).
const uploadBlock = 512 << 10

// A new version of the app's program, a little longer than before, changes little of the disk: what lies behind it on the disk stays where
// it was, for only blocks that changed are uploaded.
func TestAChangeMovesLittle(t *testing.T) {
	random := rand.NewChaCha8([32]byte{4})
	some := func(n int) string {
		b := make([]byte, n)
		random.Read(b)
		return string(b)
	}
	var system []file
	for i := range 1500 {
		system = append(system, file{images.Entry{Path: fmt.Sprintf("usr/lib/%02d/%04d", i/100, i), Type: images.File, Mode: 0o644}, some(40_000)})
	}
	app, agent := some(2_000_000), file{images.Entry{Path: "usr/lib/agent", Type: images.File, Mode: 0o755}, some(7_000_000)}
	build := func(app string) *os.File {
		files := putImage(t, "amd64", system, []file{{images.Entry{Path: "app/main", Type: images.File, Mode: 0o755}, app}}, []file{agent})
		f := newFile(t, "disk.raw")
		if _, err := Build(t.Context(), f, Request{Files: files, Own: 1, Kernel: someKernel(), Stub: stub(t)}); err != nil {
			t.Fatal(err)
		}
		return f
	}
	before := build(app)
	for name, app := range map[string]string{"of the same length": some(len(app)), "20 kB longer": app[:1_000_000] + some(20_000) + app[1_000_000:], "20 kB shorter": app[20_000:]} {
		changed, all := compareBlocks(t, before, build(app))
		t.Logf("%s: %d of %d blocks", name, changed, all)
		if share := float64(changed) / float64(all); share > 0.12 { // of which the program itself is 4 or 5
			t.Errorf("a program %s: %.0f %% of the disk changed, %d of %d blocks", name, 100*share, changed, all)
		}
	}
}

// compareBlocks counts the blocks of a disk that are not zero, and those that another disk has not at the same place.
func compareBlocks(t *testing.T, before, now *os.File) (changed, all int) {
	t.Helper()
	old, block, zero := make([]byte, uploadBlock), make([]byte, uploadBlock), make([]byte, uploadBlock)
	for at := int64(0); ; at += uploadBlock {
		n, err := now.ReadAt(block, at)
		if n == 0 {
			return changed, all
		}
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		clear(old)
		if _, err := before.ReadAt(old[:n], at); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if bytes.Equal(block[:n], zero[:n]) {
			continue
		}
		all++
		if !bytes.Equal(block[:n], old[:n]) {
			changed++
		}
	}
}
