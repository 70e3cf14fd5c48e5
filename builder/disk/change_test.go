package disk

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/test/tools/diskdiff"
)

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
		changed, all, err := diskdiff.Count(before, build(app))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d of %d blocks", name, changed, all)
		if share := float64(changed) / float64(all); share > 0.12 { // of which the program itself is 4 or 5
			t.Errorf("a program %s: %.0f %% of the disk changed, %d of %d blocks", name, 100*share, changed, all)
		}
	}
}
