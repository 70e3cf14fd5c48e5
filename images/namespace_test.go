package images

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"archive/tar"
)

// asOther names, in the environment of a child process, the store whose image "shop" it unpacks and prints.
const asOther = "IMAGES_TEST_UNPACK"

func TestMain(m *testing.M) {
	if dir := os.Getenv(asOther); dir != "" {
		os.Exit(unpackChild(dir))
	}
	if dir := os.Getenv(asVictim); dir != "" {
		os.Exit(victimChild(dir))
	}
	os.Exit(m.Run())
}

func unpackChild(dir string) int {
	s, err := Open(dir)
	if err == nil {
		var d Digest
		var root string
		if d, err = s.Resolve("shop"); err == nil {
			if root, err = s.Rootfs(context.Background(), d); err == nil {
				_, _ = os.Stdout.WriteString(root)
				return 0
			}
		}
	}
	_, _ = os.Stderr.WriteString(err.Error())
	return 1
}

// The root is unpacked with owners as far as the process has ids: in a namespace with a range, and as one ordinary id.
func TestRootfsWithOtherIDs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("run this test as root: it makes user namespaces with ranges of ids and changes its user")
	}
	headers := []tar.Header{
		{Name: "own", Uid: 1000, Gid: 33, Mode: 0o4755}, {Name: "far", Uid: 70000, Gid: 33, Mode: 0o4755},
		{Name: "closed/", Typeflag: tar.TypeDir, Mode: 0o100, Uid: 33}, {Name: "closed/in", Mode: 0o4400},
		{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666},
	}
	mapped := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 200_000, Size: 65536}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 200_000, Size: 65536}},
		Credential:  &syscall.Credential{Uid: 0, Gid: 0},
	}
	for _, c := range []struct {
		name, variant string
		owner         int // of the store
		attr          *syscall.SysProcAttr
		uids          map[string]uint32
		modes         map[string]os.FileMode
	}{
		{
			"range", "mapped-", 200_000, mapped,
			map[string]uint32{"own": 201_000, "far": 200_000, "closed": 200_033, "closed/in": 200_000},
			map[string]os.FileMode{"own": os.ModeSetuid | 0o755, "far": 0o755, "closed": os.ModeDir | 0o100, "closed/in": os.ModeSetuid | 0o400},
		},
		{
			"ordinary user", "single-54321", 54321, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 54321, Gid: 54321}},
			map[string]uint32{"own": 54321, "far": 54321, "closed": 54321, "closed/in": 54321},
			map[string]os.FileMode{"own": 0o755, "far": 0o755, "closed": os.ModeDir | 0o100, "closed/in": os.ModeSetuid | 0o400},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t)
			d := putImage(t, s, "shop", rawLayer(t, s, tarOf(t, headers...)))
			openTo(t, s.Dir(), c.owner)
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), asOther+"="+s.Dir())
			cmd.SysProcAttr = c.attr
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("child: %v: %s", err, stderr.String())
			}
			root := string(out)
			if !strings.HasPrefix(filepath.Base(filepath.Dir(filepath.Dir(root))), c.variant) {
				t.Errorf("unpacked at %s", root)
			}
			for name, uid := range c.uids {
				info := must[os.FileInfo](t)(os.Lstat(filepath.Join(root, name)))
				if st := info.Sys().(*syscall.Stat_t); st.Uid != uid || info.Mode() != c.modes[name] {
					t.Errorf("%s: %v of %d", name, info.Mode(), st.Uid)
				}
			}
			m := must[meta](t)(readMeta(filepath.Dir(root)))
			if !strings.Contains(skippedText(m), "null: character device 1:3") {
				t.Errorf("skipped: %+v", m.Skipped)
			}
			check(t, s.Remove(context.Background(), d, false))
			if _, err := os.Stat(root); err == nil {
				t.Error("the root stayed")
			}
		})
	}
}

func skippedText(m meta) string {
	var list []string
	for _, s := range m.Skipped {
		list = append(list, s.Path+": "+s.What)
	}
	return strings.Join(list, "\n")
}

// openTo gives a store to another user and lets him reach it.
func openTo(t *testing.T, dir string, owner int) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, owner, owner)
	}))
	for up := filepath.Dir(dir); up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
		check(t, os.Chmod(up, 0o755))
	}
}
