package archivetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Minbase is what a base of Debian is, as apt-get takes it: essential, required, apt.
var Minbase = []string{"?or(?essential,?priority(required))", "apt", "usr-is-merged"}

// Download fetches what apt would install of the machine's own sources, for its architecture, into a system where the packages
// of some files are installed. It gives files in a cache that stays for the next run of the tests.
func Download(t testing.TB, installed []string, want ...string) []string {
	t.Helper()
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Fatal("this test installs real packages: run it on Debian, with apt sources that answer (apt-get update)")
	}
	status := filepath.Join(t.TempDir(), "status")
	var text strings.Builder
	for _, file := range installed {
		text.WriteString(Run(t, "", "dpkg-deb", "-f", file) + "Status: install ok installed\n\n")
	}
	if err := os.WriteFile(status, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"-s", "-qq", "-o", "Dir::State::Status=" + status, "-o", "APT::Install-Recommends=false", "install"}
	out := Run(t, "", "apt-get", append(args, want...)...)
	var files []string
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 4 || f[0] != "Inst" {
			continue
		}
		arch := Arch()
		for _, a := range f {
			if strings.HasPrefix(a, "[all]") {
				arch = "all"
			}
		}
		files = append(files, Fetch(t, f[1], strings.TrimPrefix(f[2], "("), arch))
	}
	if len(files) == 0 {
		t.Fatalf("apt-get installs nothing: %s", out)
	}
	return files
}

// Arch is the machine's architecture as Debian names it.
func Arch() string { return strings.ReplaceAll(runtime.GOARCH, "386", "i386") }

// cache is where packages stay.
func cache(t testing.TB) string {
	t.Helper()
	base, err := os.UserCacheDir()
	if err != nil {
		base = os.TempDir()
	}
	dir := filepath.Join(base, "release-test", "debs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Fetch gives the file of one package of the machine's own sources.
func Fetch(t testing.TB, name, version, arch string) string {
	t.Helper()
	dir := cache(t)
	name, _, _ = strings.Cut(name, ":")
	file := filepath.Join(dir, fmt.Sprintf("%s_%s_%s.deb", name, strings.ReplaceAll(version, ":", "%3a"), arch))
	if _, err := os.Stat(file); err != nil {
		Run(t, dir, "apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", name+"="+version)
	}
	return file
}

// Run gives the output of a program that must succeed, run in a folder in the C.UTF-8 locale.
func Run(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, errs.String())
	}
	return string(out)
}
