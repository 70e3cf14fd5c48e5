package docs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/recipes"
	"github.com/bootandshoot/release/test/harness"
)

// TestExampleOfEC2: its files load, and what it lets the agent do is what the documentation says, which a test of the driver compares with
// the calls that are made.
func TestExampleOfEC2(t *testing.T) {
	dir := filepath.Join(harness.Root(), "examples/ec2")
	app, err := config.Load(filepath.Join(dir, config.FileName), "")
	if err != nil || app.Fleet.Driver != config.DriverEC2 || len(app.Fleet.EC2.Types) == 0 {
		t.Errorf("release.yaml: %+v %v", app, err)
	}
	there := t.TempDir() // with the program that its README builds
	recipe, err := os.ReadFile(filepath.Join(dir, "recipe.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"recipe.yaml": recipe, "bin/hello": nil} {
		path := filepath.Join(there, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := recipes.Load(filepath.Join(there, "recipe.yaml")); err != nil {
		t.Error(err)
	}
	tf, err := os.ReadFile(filepath.Join(dir, "main.tf"))
	if err != nil {
		t.Fatal(err)
	}
	for file, doc := range map[string]string{"policy.json": "ec2.md", "policy-alb.json": "alb.md"} {
		allowed, aerr := os.ReadFile(filepath.Join(dir, file))
		text, terr := os.ReadFile(filepath.Join(harness.Root(), "docs", doc))
		if err := errors.Join(aerr, terr); err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "```json\n")
		if documented, _, _ := strings.Cut(rest, "```"); documented != string(allowed) {
			t.Errorf("%s is not the policy of docs/%s", file, doc)
		}
		const tagged = `"Null": {"aws:ResourceTag/release.installation": "false"}` // main.tf puts the installation's id in its place
		if !strings.Contains(string(tf), fmt.Sprintf("tagged = %q", tagged)) || strings.Count(string(allowed), tagged) != 1 || !strings.Contains(string(tf), `"${path.module}/`+file+`"), local.tagged, local.ours)`) {
			t.Errorf("main.tf does not bind %s to an installation", file)
		}
	}
}
