// Package kerneltest gets what tests of machines need from Debian: the package of its kernel for clouds. It is downloaded once
// for each version, by apt, into the user's cache.
package kerneltest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// meta is the package that depends on the present kernel's.
const meta = "linux-image-cloud-amd64"

var dependency = regexp.MustCompile(`(?m)^Depends: .*?(linux-image-[0-9][a-z0-9.+-]*)`)

// Need gives the path of the package, a file that is not to be changed.
func Need(t testing.TB) string {
	t.Helper()
	name, err := get()
	if err != nil {
		t.Fatalf("this test needs Debian's kernel for clouds: %v\nit comes by: apt-get update && apt-get download %s", err, meta)
	}
	return name
}

func get() (string, error) {
	shown, err := exec.Command("apt-cache", "show", "--no-all-versions", meta).Output()
	if err != nil {
		return "", fmt.Errorf("apt-cache show %s: %w", meta, err)
	}
	found := dependency.FindSubmatch(shown)
	if found == nil {
		return "", fmt.Errorf("%s depends on no kernel", meta)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "release-test-kernel")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return fetch(dir, string(found[1]))
}

// fetch gives the package in the folder. Others may do the same at the same time: a rename brings it there.
func fetch(dir, name string) (string, error) {
	pattern := filepath.Join(dir, name+"_*.deb")
	if list, err := filepath.Glob(pattern); err != nil || len(list) > 0 {
		return list[len(list)-1], err
	}
	temp, err := os.MkdirTemp(dir, ".tmp-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	get := exec.Command("apt-get", "download", "-qq", name)
	get.Dir = temp
	if out, err := get.CombinedOutput(); err != nil {
		return "", fmt.Errorf("apt-get download %s: %w\n%s", name, err, out)
	}
	list, err := filepath.Glob(filepath.Join(temp, "*.deb"))
	if err != nil || len(list) != 1 {
		return "", fmt.Errorf("apt-get download %s made %d files", name, len(list))
	}
	final := filepath.Join(dir, filepath.Base(list[0]))
	return final, os.Rename(list[0], final)
}
