package sandbox

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet"
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

// What a crash left of a volume that was being made is no volume, and no name leads out of the folder.
func TestHalfMadeVolume(t *testing.T) {
	d := &Driver{opts: Options{Dir: t.TempDir(), Installation: "test"}}
	v := fleet.VolumeMount{Volume: fleet.VolumeID{App: "shop", Env: "production", Role: "db", Name: "data"}, Path: "/data"}
	half := d.path("volumes", "shop.production.db.data", "data")
	check(t, os.MkdirAll(half, 0o755))
	check(t, os.WriteFile(filepath.Join(half, "half"), nil, 0o644))
	if list, err := d.Volumes(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("volumes: %v, %v", list, err)
	}
	dir, err := d.makeVolume(v, t.TempDir())
	check(t, err)
	if list, err := os.ReadDir(filepath.Join(dir, "data")); err != nil || len(list) != 0 {
		t.Errorf("the new volume has %v, %v", list, err)
	}
	v.Volume.Name = "../../etc"
	if _, err := d.makeVolume(v, t.TempDir()); !fault.Is(err, fault.Invalid) {
		t.Errorf("a name that leads out: %v", err)
	}
}
