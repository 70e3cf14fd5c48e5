package payload

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/bootandshoot/release/internal/fault"
)

// largest is what a program may add to an image, or to a machine, whose agent speaks SSH.
var largest = map[string]int{Supervise: 2_500_000, BootInit: 2_500_000, Agent: 5_000_000}

// sources are the packages of the programs.
var sources = map[string]string{Supervise: "./supervisor/supervise", BootInit: "./internal/bootinit", Agent: "./internal/machineagent"}

func TestProgramsAreSmallAndStatic(t *testing.T) {
	for name := range sources {
		for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
			checkProgram(t, name, arch, machine)
		}
	}
}

func checkProgram(t *testing.T, name, arch string, machine elf.Machine) {
	data, err := Program(name, arch)
	if err != nil {
		t.Fatalf("%v; run: make payload", err)
	}
	if len(data) > largest[name] {
		t.Errorf("%s for %s has %d bytes, more than %d", name, arch, len(data), largest[name])
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if f.Machine != machine {
		t.Errorf("%s for %s is for %s", name, arch, f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Errorf("%s for %s is not static", name, arch)
		}
	}
}

// packages are the folders of the module that the programs are made from.
func packages(t *testing.T) []string {
	args := []string{"list", "-deps", "-f", "{{if and .Module .Module.Main}}{{.Dir}}{{end}}"}
	cmd := exec.Command("go", append(args, slices.Collect(maps.Values(sources))...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var folders []string
	for dir := range strings.Lines(string(out)) {
		if dir = strings.TrimSpace(dir); dir != "" {
			folders = append(folders, strings.TrimPrefix(dir, root+"/"))
		}
	}
	return folders
}

// The same sources in another folder give the same bytes as those that are carried, which are also not out of date then.
func TestProgramIsReproducible(t *testing.T) {
	dir := t.TempDir()
	for _, name := range append(packages(t), "go.mod", "go.sum") {
		cp := exec.Command("cp", "-r", "--parents", name, dir)
		cp.Dir = "../.."
		if out, err := cp.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for name, source := range sources {
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", "program", source)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64", "GOAMD64=v1", "GOFLAGS=", "GOEXPERIMENT=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		built, err := os.ReadFile(filepath.Join(dir, "program"))
		if err != nil {
			t.Fatal(err)
		}
		carried, err := Program(name, "amd64")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(built, carried) {
			t.Errorf("the program %s that is carried is not what the sources give: run make payload", name)
		}
	}
}

func TestProgramThatIsNotCarried(t *testing.T) {
	_, err := Program(Supervise, "riscv64")
	if !fault.Is(err, fault.Unsupported) || !strings.Contains(fault.All(err)[0].Hint, "make") {
		t.Errorf("%v", err)
	}
	if _, err := Key(Supervise, "riscv64"); !fault.Is(err, fault.Unsupported) {
		t.Errorf("key: %v", err)
	}
	if a, err := Key(Supervise, "amd64"); err != nil || len(a) != 64 {
		t.Errorf("key: %q %v", a, err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write([]byte("program"))
	_ = w.Close()
	from := fstest.MapFS{"bin/a-amd64.gz": {Data: packed.Bytes()}, "bin/b-amd64.gz": {Data: packed.Bytes()[:20]}}
	if data, err := program(from, "a", "amd64"); err != nil || string(data) != "program" {
		t.Errorf("%q %v", data, err)
	}
	if _, err := program(from, "b", "amd64"); err == nil {
		t.Error("a torn program is taken")
	}
}
