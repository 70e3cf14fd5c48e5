package sandbox

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/local"
	"github.com/bootandshoot/release/internal/fault"
)

// A new volume has what the image has at its path, with owners, modes and links.
func TestVolumeIsSeeded(t *testing.T) {
	root, data := t.TempDir(), t.TempDir()
	at := filepath.Join(root, "var/lib/db")
	check(t, os.MkdirAll(filepath.Join(at, "conf"), 0o755))
	check(t, os.WriteFile(filepath.Join(at, "conf/main"), []byte("x"), 0o640))
	check(t, os.Symlink("/etc/passwd", filepath.Join(at, "link")))
	check(t, os.Chmod(at, 0o2770))
	check(t, syscall.Chmod(at, 0o2770))
	old := time.Unix(1_700_000_000, 0)
	check(t, os.Chtimes(filepath.Join(at, "conf/main"), old, old))
	owned := os.Getuid() == 0
	if owned {
		check(t, os.Chown(filepath.Join(at, "conf/main"), 33, 34))
	}
	check(t, os.Symlink("lib", filepath.Join(root, "var/other")))
	check(t, seed(root, "/var/other/db", data)) // through a link of the image
	info, err := os.Stat(filepath.Join(data, "conf/main"))
	check(t, err)
	st := info.Sys().(*syscall.Stat_t)
	if st.Mode&0o7777 != 0o640 || !info.ModTime().Equal(old) || owned && (st.Uid != 33 || st.Gid != 34) {
		t.Errorf("the file is %v, of %d:%d", info, st.Uid, st.Gid)
	}
	if link, err := os.Readlink(filepath.Join(data, "link")); link != "/etc/passwd" {
		t.Errorf("the link leads to %q, %v", link, err)
	}
	if info, err := os.Stat(data); err != nil || info.Sys().(*syscall.Stat_t).Mode&0o7777 != 0o2770 {
		t.Errorf("the volume is %v, %v", info.Mode(), err)
	}
	none := t.TempDir()
	check(t, seed(root, "/srv/none", none))
	check(t, seed(root, "/var/lib/db/conf/main", none))
	if list, err := os.ReadDir(none); err != nil || len(list) != 0 {
		t.Errorf("of nothing there is %v, %v", list, err)
	}
	check(t, os.Symlink("/etc", filepath.Join(root, "out")))
	if err := seed(root, "/out", none); err == nil {
		t.Error("a link of the image leads out of it")
	}
}

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
