package recipes_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bootandshoot/release/recipes"
)

func TestMachineOfARecipe(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"common.yaml": "base: scratch\nmachine: {debian: trixie, kernel: linux-image-amd64, modules: [wireguard], volumes: {data: /srv/a, logs: /var/log}}\n",
		"r.yaml":      "include: [common.yaml]\nmachine: {debian: bookworm, modules: [nf_tables, wireguard], volumes: {data: /srv/b}}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r, err := recipes.Load(filepath.Join(dir, "r.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := &recipes.Machine{Debian: "bookworm", Kernel: "linux-image-amd64", Modules: []string{"wireguard", "nf_tables"},
		Volumes: []recipes.Volume{{Label: "data", Path: "/srv/b"}, {Label: "logs", Path: "/var/log"}}}
	if diff := cmp.Diff(want, r.Machine, cmpopts.IgnoreTypes(recipes.Position{})); diff != "" {
		t.Error(diff)
	}
}

func TestPinsOfAMachineComeBack(t *testing.T) {
	name := filepath.Join(t.TempDir(), "r.lock")
	sum := "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	l := &recipes.Lock{Machine: &recipes.LockedMachine{Request: []string{"kernel b", "debian a"}, Packages: []recipes.LockedPackage{
		{Name: "stub", Version: "2", Arch: "amd64", Suite: "a", Size: 2, SHA256: sum, Path: "p/stub.deb"},
		{Name: "linux", Version: "1", Arch: "amd64", Suite: "a", Size: 1, SHA256: sum, Path: "p/linux.deb"}}}}
	if err := l.Save(name); err != nil {
		t.Fatal(err)
	}
	got, err := recipes.LoadLock(name)
	if err != nil || !got.Same(l) || got.Machine.Packages[0].Name != "linux" {
		t.Errorf("%v: %+v", err, got.Machine)
	}
	got.Machine.Packages[0].Version = "3"
	if got.Same(l) {
		t.Error("another version is the same")
	}
	if !got.Newest().IsZero() {
		t.Error("the kernel dates the image")
	}
}
