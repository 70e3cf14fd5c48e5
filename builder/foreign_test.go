package builder_test

import (
	"strings"
	"testing"

	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/sandbox"
)

const foreignRecipe = `
base: {image: ./base}
ports: [8080]
user: www
run:
  - {cmd: "arch > /opt/arch && id >> /opt/arch"}
entrypoint: [/bin/sh, -c, "serve $PORT"]
tests:
  - {http: {path: "/cat?/opt/arch"}, within: 2m}
  - {cmd: "arch && dial 127.0.0.1:8080", within: 2m}
`

// Steps and tests of an image for another architecture run here, by an emulator.
func TestForeignArchitecture(t *testing.T) {
	arch := foreignArch()
	if _, err := sandbox.Emulator(arch); err != nil {
		t.Fatalf("this test needs an emulator: %v: apt-get install qemu-user-static", err)
	}
	p := newProject(t)
	p.baseWith(arch, foreignShell)
	foreign := func(o *builder.Options) { o.Platform = "linux/" + arch }
	var out []string
	res := p.bake(foreignRecipe, foreign, func(o *builder.Options) {
		o.Progress = func(e builder.Event) { out = append(out, e.Line) }
	})
	if got := p.content(res.Steps[1].Layer, "opt/arch"); !strings.HasPrefix(got, arch+"\n0 0") {
		t.Errorf("the step says %q", got)
	}
	if len(res.Tests) != 2 || !strings.Contains(strings.Join(out, "\n"), arch) {
		t.Errorf("tests %+v: %q", res.Tests, out)
	}
	if again := p.bake(foreignRecipe, foreign, func(o *builder.Options) { o.NoCache = true }); again.Image != res.Image {
		t.Errorf("another bake gave %s instead of %s", again.Image, res.Image)
	}
	p.nothingLeft()
}

// Without an emulator the error says what to install, at the step's place.
func TestForeignArchitectureWithoutEmulator(t *testing.T) {
	p := newProject(t)
	p.baseWith(foreignArch(), foreignShell)
	t.Setenv("PATH", t.TempDir())
	_, err := p.try(foreignRecipe, func(o *builder.Options) { o.Platform = "linux/" + foreignArch() })
	e := fault.All(err)
	if len(e) != 1 || e[0].Code != fault.Unsupported || e[0].Line != 6 || !strings.Contains(e[0].Message, "cannot run programs for "+foreignArch()) || !strings.Contains(e[0].Hint, "qemu-user-static") {
		t.Errorf("%v", err)
	}
	p.nothingLeft()
}
