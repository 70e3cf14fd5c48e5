package sandbox

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestCommandOfAnotherArchitecture runs a program that this machine's processor cannot.
func TestCommandOfAnotherArchitecture(t *testing.T) {
	arch := "arm64"
	if runtime.GOARCH == arch {
		arch = "amd64"
	}
	emulator, err := Emulator(arch)
	if err != nil {
		t.Fatalf("this test needs an emulator: %v: apt-get install qemu-user-static", err)
	}
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\nimport (\"fmt\"; \"runtime\")\nfunc main() { fmt.Print(runtime.GOARCH) }\n"), 0o644))
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "root/program"), "main.go")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, d := range []string{"upper", "work"} {
		check(t, os.Mkdir(filepath.Join(dir, d), 0o755))
	}
	var out strings.Builder
	exit, err := Run(t.Context(), Spec{
		Root:    Root{Lower: []string{filepath.Join(dir, "root")}, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")},
		Command: []string{"/program"}, Emulator: emulator, Stdout: &out, Stderr: &out,
	})
	if err != nil || exit.Code != 0 || out.String() != arch {
		t.Errorf("%+v %v: %q", exit, err, out.String())
	}
}

func TestHandles(t *testing.T) {
	const magic = "7f454c460201010000000000000000000200b700"
	for text, want := range map[string]bool{
		"enabled\ninterpreter /usr/bin/qemu\nflags: PF\noffset 0\nmagic " + magic + "\nmask ff\n":  true,
		"enabled\ninterpreter /usr/bin/qemu\nflags: P\noffset 0\nmagic " + magic + "\nmask ff\n":   false,
		"disabled\ninterpreter /usr/bin/qemu\nflags: PF\noffset 0\nmagic " + magic + "\nmask ff\n": false,
		"enabled\ninterpreter /usr/bin/qemu\nflags: PF\noffset 0\nmagic 7f45\nmask ff\n":           false,
		"": false,
	} {
		if got := handles(text, magic); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	m, _ := machines("arm64")
	if head, mask := m.header(); len(head) != 20 || len(mask) != 20 {
		t.Errorf("%d %d", len(head), len(mask))
	}
}
