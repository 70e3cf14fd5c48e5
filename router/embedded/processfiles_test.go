package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/router/routertest"
)

const inNamespace = "TEST_IN_NAMESPACE"

// withMounts runs the test again in a mount namespace of its own, which ends with it, and says whether this is there.
func withMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inNamespace) != "" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, fs.ErrPermission) && os.Getenv("CI") == "" {
		t.Skipf("run this test as root or where user namespaces are allowed: it mounts a small disk: %v", err)
	}
	if err != nil {
		t.Fatalf("in a mount namespace: %v\n%s", err, out)
	}
	t.Logf("%s", out)
	return false
}

// smallDisk is a folder on a disk of its own.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// fill leaves no room in the folder and gives what makes room again.
func fill(t *testing.T, dir string) (room func()) {
	t.Helper()
	var made []string
	for _, size := range []int{64 << 10, 4 << 10, 1, 0} {
		for err := error(nil); err == nil; {
			path := filepath.Join(dir, fmt.Sprint("fill-", len(made)))
			if err = os.WriteFile(path, make([]byte, size), 0o600); err != nil && !errors.Is(err, unix.ENOSPC) {
				t.Fatal(err)
			}
			if _, serr := os.Lstat(path); serr == nil {
				made = append(made, path)
			}
			if size == 0 && len(made) > 2000 {
				break // names cost nothing here
			}
		}
	}
	return func() {
		for _, path := range made {
			if err := os.Remove(path); err != nil {
				t.Error(err)
			}
		}
	}
}

// answers waits for the route to serve, without the control API.
func answers(t *testing.T, listen, want string) {
	t.Helper()
	routertest.Eventually(t, "the route serves", func() bool {
		res, err := http.Get("http://" + listen + "/")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		b := make([]byte, len(want))
		n, _ := res.Body.Read(b)
		return string(b[:n]) == want
	})
}

// A router that was killed serves its table again although its disk is full; what could not be written comes when there is room.
func TestFullDisk(t *testing.T) {
	exe := withoutRaceDetector(t)
	t.Setenv(programEnv, exe) // also in the mount namespace
	if !withMounts(t) {
		return
	}
	const limit = 200 * time.Millisecond
	for _, disk := range []struct {
		name, options string
		lost          []string // removed before the disk is filled
	}{
		{"no room", "size=256k", nil},
		{"no room, and files are missing", "size=256k", []string{idName, pidName, socketName, "access.log"}},
		{"no more names", "size=4m,nr_inodes=40", nil},
		{"no more names, and files are missing", "size=4m,nr_inodes=40", []string{idName, pidName, socketName, "access.log"}},
	} {
		t.Run(disk.name, func(t *testing.T) {
			dir := smallDisk(t, disk.options)
			c := startProgram(t, dir, exe)
			node := routertest.StartNode(t, "a", nil)
			listen := routertest.FreeListen(t)
			mustApply(t, c, routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 1, node))))
			before := mustStatus(t, c)
			room := func() {}
			best := time.Hour
			for try := 0; try < 5 && best > limit/2; try++ {
				if try > 0 {
					room()
					routertest.Eventually(t, "the control API answers", func() bool { _, err := c.Status(t.Context()); return err == nil })
				}
				kill(t, c)
				for _, name := range disk.lost {
					if err := os.Remove(filepath.Join(dir, name)); err != nil && !os.IsNotExist(err) {
						t.Fatal(err)
					}
				}
				room = fill(t, dir)
				cmd := exec.Command(exe, asRouter, dir)
				cmd.Stderr = os.Stderr
				begin := time.Now()
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				go func() { _ = cmd.Wait() }()
				answers(t, listen, "a")
				best = min(best, time.Since(begin))
			}
			t.Logf("first answer %s after the start", best)
			if best > limit {
				t.Errorf("first answer %s after the start, want at most %s", best, limit)
			}

			room()
			routertest.Eventually(t, "all files are there", func() bool {
				s, err := c.Status(context.Background())
				if err != nil {
					return false
				}
				pid, _ := os.ReadFile(filepath.Join(dir, pidName))
				edge, _ := os.ReadFile(filepath.Join(dir, idName))
				_, lerr := os.Stat(filepath.Join(dir, "access.log"))
				return string(pid) == fmt.Sprintln(s.PID) && strings.TrimSpace(string(edge)) == s.Edge && lerr == nil
			})
			if s := mustStatus(t, c); len(disk.lost) == 0 && s.Edge != before.Edge {
				t.Errorf("the edge was %s and is %s", before.Edge, s.Edge)
			}
			mustApply(t, c, routertest.TableOf(2, routertest.RouteTo(listen, routertest.FleetOf(1, 1, node))))
			upgrade(t, c)
			answers(t, listen, "a")
		})
	}
}

// A successor has the name of the edge even where no disk has it.
func TestEdgeNameWithoutADisk(t *testing.T) {
	dir := t.TempDir()
	c := startRouter(t, dir)
	name := mustStatus(t, c).Edge
	if err := os.Remove(filepath.Join(dir, idName)); err != nil {
		t.Fatal(err)
	}
	if s := upgrade(t, c); s.Edge != name {
		t.Errorf("edge %s became %s", name, s.Edge)
	}
}
