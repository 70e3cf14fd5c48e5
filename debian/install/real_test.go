package install

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/debian/archive/archivetest"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/sandbox"
)

// realPackages fetches what apt would install of the machine's own sources into a system where under is installed.
func realPackages(t testing.TB, under []Item, want ...string) []Item {
	t.Helper()
	var installed []string
	for _, item := range under {
		installed = append(installed, item.File)
	}
	var items []Item
	for _, file := range archivetest.Download(t, installed, want...) {
		items = append(items, itemOf(t, file))
	}
	return items
}

// itemOf describes a package file by what it says itself.
func itemOf(t testing.TB, file string) Item {
	t.Helper()
	list, err := debian.ParseParagraphs(file, archivetest.Run(t, "", "dpkg-deb", "-f", file))
	if err != nil {
		t.Fatal(err)
	}
	p, err := debian.ParsePackage(list[0])
	if err != nil {
		t.Fatal(err)
	}
	return Item{Package: p, File: file}
}

const testEpoch = 1_700_000_000

// newStore makes a store with a work folder in it.
func newStore(t testing.TB, dir string) (s *images.Store, work string) {
	t.Helper()
	s, err := images.Open(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	work = filepath.Join(dir, "store", "work")
	if err := os.MkdirAll(work, 0o700); err != nil {
		t.Fatal(err)
	}
	return s, work
}

// system is a base that the tests of this run share.
type system struct {
	store  *images.Store
	work   string
	items  []Item
	layers []images.Layer
}

var shared struct {
	sync.Once
	dir string
	system
}

// base gives the shared base. Who installs on it gets layers of its own, and does not change it.
func base(t testing.TB) system {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test installs a system: run it as root")
	}
	shared.Do(func() {
		items := realPackages(t, nil, archivetest.Minbase...)
		dir, err := os.MkdirTemp("", "install-test-")
		if err != nil {
			t.Fatal(err)
		}
		shared.dir = dir
		s, work := newStore(t, dir)
		layers, err := Install(t.Context(), Options{Store: s, Work: work, Arch: archivetest.Arch(), Epoch: testEpoch, Batches: [][]Item{items},
			Progress: logOutput(t)})
		if err != nil {
			t.Fatal(err)
		}
		shared.system = system{s, work, items, layers}
	})
	if shared.layers == nil {
		t.Fatal("the base could not be installed: see the first test that needs it")
	}
	return shared.system
}

func logOutput(t testing.TB) func(Event) {
	return func(e Event) {
		if e.Kind == Output {
			t.Log(e.Line)
		}
	}
}

// on installs packages on the base.
func (s system) on(t testing.TB, batches ...[]Item) ([]images.Layer, error) {
	t.Helper()
	layers, err := Install(t.Context(), Options{Store: s.store, Work: s.work, Arch: archivetest.Arch(), Epoch: testEpoch, Under: s.layers,
		Batches: batches, Progress: logOutput(t)})
	left, rerr := os.ReadDir(s.work)
	if rerr != nil || len(left) > 0 {
		t.Errorf("the work folder holds %v, %v", left, rerr)
	}
	return layers, err
}

// shell runs a command in a throw-away copy of a system.
func (s system) shell(t testing.TB, layers []images.Layer, command string) string {
	t.Helper()
	out, code := s.try(t, layers, command)
	if code != 0 {
		t.Errorf("%s: exit code %d\n%s", command, code, out)
	}
	return out
}

func (s system) try(t testing.TB, layers []images.Layer, command string) (string, int) {
	t.Helper()
	dir := t.TempDir()
	root := sandbox.Root{Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")}
	for _, l := range layers {
		at, err := s.store.LayerRoot(context.Background(), l)
		if err != nil {
			t.Fatal(err)
		}
		root.Lower = append([]string{at}, root.Lower...)
	}
	for _, d := range []string{root.Upper, root.Work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	exit, err := sandbox.Run(t.Context(), sandbox.Spec{Root: root, Command: []string{"/bin/sh", "-c", command}, Stdout: &out, Stderr: &out,
		Env: []string{"LC_ALL=C.UTF-8"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = exec.Command("chmod", "-R", "u+rwx", root.Work).Run()
	return out.String(), exit.Code
}
