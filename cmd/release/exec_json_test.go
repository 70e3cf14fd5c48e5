package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/bootandshoot/release/api"
)

func TestLineEvents(t *testing.T) {
	long := strings.Repeat("x", maxOutputLine-1)
	for name, c := range map[string]struct {
		writes, want []string
	}{
		"lines":            {[]string{"a\nb\n"}, []string{"a", "b"}},
		"in pieces":        {[]string{"a", "b\n", "\n", "c"}, []string{"ab", "", "c"}},
		"nothing":          {nil, nil},
		"just fits":        {[]string{long, "y\n", "z\n"}, []string{long + "y", "z"}},
		"too long":         {[]string{long + "yz", "\n"}, []string{long + "y", "z"}},
		"no rune is split": {[]string{long + "\u00fcz\n"}, []string{long, "\u00fcz"}},
		"no text at all":   {[]string{"\xff\n"}, []string{"\ufffd"}},
	} {
		var stdout bytes.Buffer
		w := &lineEvents{out: &output{stdout: &stdout, json: true}, node: "n", stream: "out"}
		for _, text := range c.writes {
			if n, err := w.Write([]byte(text)); n != len(text) || err != nil {
				t.Fatal(name, n, err)
			}
		}
		if err := w.flush(); err != nil {
			t.Fatal(name, err)
		}
		if err := w.out.result(api.ExecResult{Head: api.NewHead(nil), Node: "n"}, nil); err != nil {
			t.Fatal(name, err)
		}
		conforms(t, stdout.String())
		lines := json.NewDecoder(&stdout)
		for i, want := range c.want {
			var have logLine
			if err := lines.Decode(&have); err != nil || have.Text != want || have.Stream != "out" || have.Node != "n" {
				t.Errorf("%s: event %d is %.60q of %s: %v", name, i, have.Text, have.Stream, err)
			}
		}
		var last api.Head
		if err := lines.Decode(&last); err != nil || last.Type != "result" {
			t.Errorf("%s: more events than %d: %+v, %v", name, len(c.want), last, err)
		}
	}
}

func TestExecOfATerminalAsJSON(t *testing.T) {
	got := run(t, project(t, map[string]string{"release.yaml": smallApp, "recipe.yaml": smallRecipe}), "exec -t --json node -- sh")
	conforms(t, got.stdout)
	if got.code != 2 || !strings.Contains(got.stdout, "--tty and --json exclude each other") {
		t.Errorf("exit code %d\n%s", got.code, got.stdout)
	}
}
