package e2e

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/test/harness"
)

// secretTool shows the build secret, and with an argument writes it there.
const secretTool = `package main

import (
	"fmt"
	"os"
)

func main() {
	value, err := os.ReadFile("/run/secrets/token")
	if err != nil {
		fmt.Println(err)
		os.Exit(9)
	}
	fmt.Printf("got %s\n", value)
	for _, name := range os.Args[1:] {
		if err := os.WriteFile(name, append([]byte("x="), value...), 0o600); err != nil {
			fmt.Println(err)
			os.Exit(8)
		}
	}
}
`

func buildTool(t *testing.T, in *harness.Installation) {
	t.Helper()
	buildProgram(t, in, secretTool)
}

// buildProgram makes a program the project's tool.
func buildProgram(t *testing.T, in *harness.Installation, source string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-o", filepath.Join(in.Project, "tool"), "main.go")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GO111MODULE=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
}

// TestBuildSecrets gives a run step a secret and looks for it in everything that the bake leaves.
func TestBuildSecrets(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	buildTool(t, in)
	const secret = "Zq8-wX2!rT5#nB7"
	in.Write("with.yaml", "base: scratch\ncopy: [{from: tool, to: /tool}]\nrun: [{cmd: [/tool, /tmp/x], secrets: [token]}]\n")
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	wants(t, in.Run("bake", "with.yaml"), 2, "build secret token", "--secret token=file:PATH")
	wants(t, in.Run("bake", "with.yaml", "--secret", "token="+secret), 2, "--secret")
	wants(t, in.Run("bake", "with.yaml", "--secret", "token=env:NOT_SET_ANYWHERE"), 1, "NOT_SET_ANYWHERE is not set")
	out := in.Run("bake", "with.yaml", "-v", "--json", "--secret", "token=file:"+file)
	wants(t, out, 0)
	if !strings.Contains(out.Stdout, "got ***") || strings.Contains(out.Stdout+out.Stderr, secret) {
		t.Errorf("output:\n%s\n%s", out.Stdout, out.Stderr)
	}
	in.Write("leak.yaml", "base: scratch\ncopy: [{from: tool, to: /tool}]\nrun: [{cmd: [/tool, /leak], secrets: [token]}]\n")
	out = in.Run("bake", "leak.yaml", "--secret", "token=file:"+file)
	wants(t, out, 1, "/leak has the secret token")
	if strings.Contains(out.Stdout+out.Stderr, secret) {
		t.Errorf("output:\n%s\n%s", out.Stdout, out.Stderr)
	}
	if out := in.Must("images", "ls"); strings.Contains(out.Stdout, "leak") {
		t.Errorf("an image is listed:\n%s", out.Stdout)
	}
	err := filepath.WalkDir(in.Dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		if data, err := os.ReadFile(path); err == nil && strings.Contains(string(data), secret) {
			t.Errorf("%s holds the secret", path)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestSecretInImage bakes a private key, which is refused until it is allowed.
func TestSecretInImage(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	in.Write("x.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	const recipe = "base: scratch\nvars: {port: \"80\"}\ncopy: [{from: x.key, to: /etc/x.key}]\nfiles: [{to: /etc/port, content: \"{{.port}}\", template: true}]\n"
	in.Write("key.yaml", recipe)
	out := in.Run("bake", "key.yaml", "--json")
	wants(t, out, 1, "key.yaml:3:8: ", "/etc/x.key, line 1: a private key", `allow: [{path: "/etc/x.key", rule: private-key, reason: "…"}]`)
	if r := result(t, out); r.Error == nil || r.Error.Code != "denied" || r.Error.Line != 3 || strings.Contains(out.Stdout+out.Stderr, "MC4C") {
		t.Errorf("result: %+v\n%s", r, out.Stderr)
	}
	in.Write("key.yaml", recipe+"allow: [{path: /etc/*.key, rule: private-key, reason: made for this test}]\n")
	var first, second api.BakeResult
	in.JSON(&first, "bake", "key.yaml")
	in.JSON(&second, "bake", "key.yaml", "--var", "port=81")
	if first.Image == "" || second.Image == "" || first.Image == second.Image {
		t.Errorf("images: %q %q", first.Image, second.Image)
	}
	wants(t, in.Run("bake", "key.yaml", "--var", "prot=81"), 2, "no variable", "vars has: port")
	if out := in.Must("images", "cat", second.Image, "/etc/port"); out.Stdout != "81" {
		t.Errorf("port: %q", out.Stdout)
	}
}
