package builder_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/internal/fault"
)

// Too many layers are told before the first is made, at the step that is one too many, with what to do.
func TestTooManyLayers(t *testing.T) {
	p := newProject(t)
	var copies, runs strings.Builder
	for i := range 128 {
		p.write(fmt.Sprint("f", i), fmt.Sprint(i), 0o644)
		if i < 127 {
			fmt.Fprintf(&copies, "  - {from: f%d, to: /f%d}\n", i, i)
		}
		if i < 8 {
			fmt.Fprintf(&runs, "  - {cmd: \"echo %d > /opt/%d\"}\n", i, i)
		}
	}
	started := 0
	_, err := p.try("base: scratch\ncopy:\n"+copies.String(), func(o *builder.Options) {
		o.Progress = func(e builder.Event) {
			if e.Kind == builder.Started {
				started++
			}
		}
	})
	e := fault.All(err)[0]
	if e == nil || e.Code != fault.Invalid || e.Line != 2+126 || !strings.Contains(e.Message, "127 layers, engines take 125") || !strings.Contains(e.Hint, "take away 2 or more") || started > 0 {
		t.Errorf("%d steps were begun: %v", started, err)
	}
	if code := e.Code.ExitCode(); code != 2 {
		t.Errorf("exit code %d", code)
	}
	// What run steps leave is known when they ran.
	p.base()
	first := strings.Join(strings.SplitAfter(copies.String(), "\n")[:120], "")
	_, err = p.try("base: {image: ./base}\ncopy:\n" + first + "run:\n" + runs.String())
	if e = fault.All(err)[0]; e == nil || e.Code != fault.Invalid || e.Line <= 2+120 || !strings.Contains(e.Message, "126 layers") {
		t.Errorf("%v", err)
	}
}

// Names of platforms are told apart from what the machine cannot do: exit code 2, with those that there are.
func TestUnknownPlatform(t *testing.T) {
	p := newProject(t)
	p.write("a", "a", 0o644)
	for _, platform := range []string{"linux/foo", "amd64", "windows/amd64", "linux/amd64/", "linux/arm/v7/x", "linux/"} {
		_, err := p.try("base: scratch\ncopy: [{from: a, to: /a}]\n", func(o *builder.Options) { o.Platform = platform })
		e := fault.All(err)
		if len(e) != 1 || e[0].Code.ExitCode() != 2 || !strings.Contains(e[0].Message, fmt.Sprintf("%q", platform)) || !strings.Contains(e[0].Hint, "linux/amd64, linux/arm,") {
			t.Errorf("%s: %v", platform, err)
		}
	}
	p.bake("base: scratch\ncopy: [{from: a, to: /a}]\n", func(o *builder.Options) { o.Platform = "linux/arm/v7" })
}
