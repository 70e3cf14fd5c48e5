package bake

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// most is how much of docker build's time a bake may take, with nothing changed and with a changed program.
const most = 0.4

// TestBake is a measurement and runs only when asked for, alone on the machine:
//
//	RELEASE_BENCH=1 go test -count=1 -v -run TestBake ./test/bench/bake
func TestBake(t *testing.T) {
	if os.Getenv("RELEASE_BENCH") == "" {
		t.Skip("a measurement: set RELEASE_BENCH=1")
	}
	r, err := Measure(t.Context(), Options{Release: program(t), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rounds against %s", r.Rounds, r.Client)
	t.Logf("unchanged: %s", r.Unchanged)
	t.Logf("changed:   %s", r.Changed)
	if r.Unchanged.Ratio > most || r.Changed.Ratio > most {
		t.Errorf("a ratio is over %.2f", most)
	}
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
