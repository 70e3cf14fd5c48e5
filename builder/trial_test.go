package builder_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/usertest"
)

func TestSupervisedSameAsOrdinaryUser(t *testing.T) {
	p := newProject(t)
	p.base()
	recipe := supervised + "tests:\n  - {http: {path: /, body: \"^hello from 33 33\"}}\n  - {cmd: \"id > /opt/id && echo fine\", user: \"7:50\"}\n"
	recipe = strings.Replace(recipe, "/opt/id", "/tmp/id", 1)
	res := p.bake(recipe)
	out, err := p.asUser(false).CombinedOutput()
	if err != nil {
		t.Fatalf("bake as %s: %v\n%s", usertest.Name, err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if got := lines[len(lines)-1]; got != string(res.Image) {
		t.Errorf("root made %s, %s made %s", res.Image, usertest.Name, out)
	}
}

// A bake that is killed while it tests leaves no process of the image behind.
func TestKilledTestLeavesNoProcess(t *testing.T) {
	p := newProject(t)
	p.base()
	mark := fmt.Sprintf("mark-%d-%d", os.Getpid(), time.Now().UnixNano())
	p.recipe(fmt.Sprintf("base: {image: ./base}\nservices: {a: {cmd: [/bin/sh, -c, \"wait %[1]s\"]}, b: {cmd: [/bin/sh, -c, \"wait %[1]s\"]}}\n"+
		"tests: [{cmd: \"echo ready && wait %[1]s\"}]\n", mark))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), bakeVar+"="+filepath.Join(p.dir, "app.yaml")+"\n"+p.store.Dir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for in := bufio.NewScanner(out); in.Scan() && in.Text() != "ready"; {
	}
	await := func(n int) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); marked(t, mark) != n; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d processes of the image run, want %d", marked(t, mark), n)
			}
		}
	}
	await(3)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	await(0)
	if list, err := p.store.List(); err != nil || len(list) != 1 { // the base
		t.Errorf("images: %v %v", list, err)
	}
}

// marked counts processes with a word in their command line.
func marked(t *testing.T, mark string) int {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		if data, err := os.ReadFile(f); err == nil && bytes.Contains(data, []byte(mark)) {
			n++
		}
	}
	return n
}
