package volumeseed

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
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
	check(t, Fill(root, "/var/other/db", data)) // through a link of the image
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
	check(t, Fill(root, "/srv/none", none))
	check(t, Fill(root, "/var/lib/db/conf/main", none))
	if list, err := os.ReadDir(none); err != nil || len(list) != 0 {
		t.Errorf("of nothing there is %v, %v", list, err)
	}
	check(t, os.Symlink("/etc", filepath.Join(root, "out")))
	if err := Fill(root, "/out", none); err == nil {
		t.Error("a link of the image leads out of it")
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
