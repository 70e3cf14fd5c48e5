package sandbox

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/local"
	"github.com/bootandshoot/release/internal/fault"
)

// A folder without a record is nobody's to remove, what a crash left of a volume that was being made has no name yet, and no
// name leads out of the folder.
func TestVolumeWithoutRecord(t *testing.T) {
	root := t.TempDir()
	d := &Driver{opts: Options{Dir: root, Installation: "test"}, nodes: local.Nodes[record]{Root: root, Installation: "test"}}
	d.volumes = d.keeper(d.nodes)
	check(t, d.nodes.Make())
	v := fleet.VolumeMount{Volume: fleet.VolumeID{App: "shop", Env: "production", Role: "db", Name: "data"}, Path: "/data"}
	data, err := d.makeVolume(v, t.TempDir())
	check(t, err)
	kept := filepath.Join(data, "kept")
	check(t, os.WriteFile(kept, nil, 0o644))
	again, err := d.makeVolume(v, t.TempDir())
	check(t, err)
	if list, err := d.Volumes(t.Context()); err != nil || len(list) != 1 || again != data {
		t.Errorf("volumes: %v, %v, %s", list, err, again)
	}
	check(t, os.Remove(filepath.Join(filepath.Dir(data), "volume.json")))
	if _, err := d.makeVolume(v, t.TempDir()); !fault.Is(err, fault.Exists) {
		t.Errorf("a folder without record: %v", err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(d.path("trash")); err != nil || len(left) != 0 {
		t.Errorf("left aside: %v, %v", left, err)
	}
	v.Volume.Name = "../../etc"
	if _, err := d.makeVolume(v, t.TempDir()); !fault.Is(err, fault.Invalid) {
		t.Errorf("a name that leads out: %v", err)
	}
}
