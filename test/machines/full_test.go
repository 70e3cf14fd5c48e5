package machines

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet"
)

// smallDisk is a disk of its own.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=256m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// A machine that cannot write to its volume because the disk below is full stands still, and goes on when there is space: nothing is lost.
func volumeOnAFullDisk(t *testing.T, d fleet.Driver, dir, image string) {
	v := fleet.VolumeMount{Volume: fleet.VolumeID{App: "full", Env: "test", Role: "web", Name: "data"}, Path: "/srv/data", OneWriter: true, Size: 64 << 20}
	boot := func(incarnation int) (fleet.FleetID, fleet.Node) {
		t.Helper()
		spec := fleet.Spec{Fleet: fleet.FleetID{App: "full", Env: "test", Role: "web", Release: "r1", Incarnation: incarnation}, Installation: "one",
			Kind: fleet.Serve, Image: image, Port: 8080, Nodes: []fleet.NodeSpec{{Name: "full-r1-n1", Slot: 202}}, Volumes: []fleet.VolumeMount{v}}
		nodes, err := d.Ensure(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		return spec.Fleet, nodes[0]
	}
	first, n := boot(1)
	text := strings.Repeat("of a node ", 10<<10)
	const files, left = 40, 1 << 20 // 4 MB for 1 MiB
	file := func(i int) string { return fmt.Sprint("/srv/data/", i) }
	question(t, n, "/write", "path", file(0), "text", text)
	filler, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	if err := syscall.Fallocate(int(filler.Fd()), 0, 0, free(t, dir)-left); err != nil {
		t.Fatal(err)
	}
	for i := range files {
		question(t, n, "/write", "path", file(i), "text", text)
	}
	gone := make(chan error, 1)
	go func() { gone <- d.Destroy(t.Context(), first) }() // it writes all that is in memory
	for deadline := time.Now().Add(patience); free(t, dir) > 64<<10; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are free still", free(t, dir))
		}
	}
	if err := filler.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if err := <-gone; err != nil {
		t.Fatal(err)
	}
	second, n := boot(2)
	for i := range files {
		if got := question(t, n, "/read", "path", file(i)); got != text {
			t.Errorf("file %d has %d bytes, want %d", i, len(got), len(text))
		}
	}
	if err := d.Destroy(t.Context(), second); err != nil {
		t.Error(err)
	}
}

// free is in bytes.
func free(t *testing.T, dir string) int64 {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Bavail) * s.Bsize
}
