package debian

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// memory is how many bytes a bake may hold at most.
const memory = 300 << 20

// TestDebian is a measurement and runs only when asked for, alone on the machine:
//
//	RELEASE_BENCH=1 go test -count=1 -v -timeout 60m -run TestDebian ./test/bench/debian
func TestDebian(t *testing.T) {
	if os.Getenv("RELEASE_BENCH") == "" {
		t.Skip("a measurement: set RELEASE_BENCH=1")
	}
	r, err := Measure(t.Context(), Options{Release: program(t), Docker: docker(t), Dir: t.TempDir()})
	for _, p := range r.Pairs {
		t.Log(p)
		if p.Ratio > p.Most {
			t.Errorf("%s: the ratio is over %.2f", p.Name, p.Most)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("most memory of a bake: %d MB", r.Memory>>20)
	if r.Memory > memory {
		t.Errorf("a bake held more than %d MB", memory>>20)
	}
}

// docker is a client that builds with BuildKit; those since 23 need a plugin for it.
func docker(t *testing.T) string {
	t.Helper()
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		cmd := exec.Command(filepath.Join(dir, "docker"), "build", "--progress=plain", "-")
		cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=1")
		cmd.Stdin = strings.NewReader("FROM scratch\nLABEL bench=debian\n")
		if out, err := cmd.CombinedOutput(); err == nil && strings.Contains(string(out), "#1 [internal]") {
			return cmd.Path
		}
	}
	t.Fatal("no Docker client here builds with BuildKit: apt-get install docker.io")
	return ""
}

// program builds the program as `make build` does.
func program(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "release")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, "github.com/bootandshoot/release/cmd/release")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build release: %v: %s", err, out)
	}
	return bin
}
