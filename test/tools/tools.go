// Package tools builds the programs of others that tests run against: each folder here is a module of its own that pins one.
// What was built is kept in the user's cache, outside the work tree, once for each version of the program and of Go.
package tools

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Build is the path of a program: the command (a package's path) of a module, as the folder of that name pins it. The first
// time takes from seconds to minutes, and needs the Go module proxy or the modules in the module cache.
func Build(t testing.TB, folder, module, command string) string {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	dir := filepath.Join(filepath.Dir(file), folder)
	version, err := exec.Command("go", "-C", dir, "list", "-m", "-f", "{{.Version}}", module).Output()
	if err != nil {
		t.Fatalf("read version of %s in %s: %v", module, dir, err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cache, "release-test-tools", fmt.Sprintf("%s-%s-%s", filepath.Base(command), strings.TrimSpace(string(version)), runtime.Version()))
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	temp, err := os.MkdirTemp(filepath.Dir(path), "building-") // several may build at a time
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(temp)
	built := filepath.Join(temp, "program")
	build := exec.Command("go", "-C", dir, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", built, command)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s (needs the Go module proxy, or its modules in the module cache): %v\n%s", command, err, out)
	}
	if err := os.Rename(built, path); err != nil {
		t.Fatal(err)
	}
	return path
}
