package builder_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/internal/fault"
)

// theSecret is what no layer, record, line or error may have.
const theSecret = "Zq8-wX2!rT5#nB7"

func withSecret(value string) func(*builder.Options) {
	return func(o *builder.Options) { o.Secrets = map[string][]byte{"token": []byte(value)} }
}

// nowhere looks for a text in all files of the store and the project.
func (p *project) nowhere(text string) {
	p.t.Helper()
	for _, dir := range []string{p.store.Dir(), p.dir} {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if err == nil && strings.Contains(string(data), text) {
				p.t.Errorf("%s holds the secret", path)
			}
			return err
		})
		if err != nil {
			p.t.Error(err)
		}
	}
}

func TestRunSecret(t *testing.T) {
	p := newProject(t)
	p.base()
	const recipe = `
base: {image: ./base}
run:
  - {cmd: "stat /run/secrets/token > /opt/stat && cat /run/secrets/token && env && cat /run/secrets/token > /tmp/x", secrets: [token]}
  - {cmd: "ls /run > /opt/after"}
`
	var lines []string
	res := p.bake(recipe, withSecret(theSecret), func(o *builder.Options) {
		o.Progress = func(e builder.Event) { lines = append(lines, e.Line+e.Step) }
	})
	if got := p.steps(res); !strings.Contains(got, "opt/stat = -r-------- 15\n") || strings.Contains(got, "secrets\n") {
		t.Errorf("layers:\n%s", got)
	}
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "***") }) || strings.Contains(strings.Join(lines, "\n"), theSecret) {
		t.Errorf("output is not masked: %q", lines)
	}
	p.nowhere(theSecret)
	// The value is in no key: another one, or none, changes nothing.
	for _, change := range []func(*builder.Options){withSecret("another value"), func(*builder.Options) {}} {
		if again := p.bake(recipe, change); again.Image != res.Image || !again.Cached {
			t.Errorf("another value made %+v", again)
		}
	}
}

func TestRunSecretMissing(t *testing.T) {
	p := newProject(t)
	p.base()
	_, err := p.try("base: {image: ./base}\nrun:\n  - {cmd: \"true\", secrets: [npmrc]}\n")
	e := fault.All(err)[0]
	if e.Code != fault.Invalid || e.Line != 3 || !strings.Contains(e.Message, "npmrc") || !strings.Contains(e.Hint, "--secret npmrc=file:PATH") {
		t.Errorf("error: %+v", e)
	}
}

func TestRunSecretInFailure(t *testing.T) {
	p := newProject(t)
	p.base()
	for _, cmd := range []string{"cat /run/secrets/token && exit 3", "pad 4090 /run/secrets/token && exit 3", "pad 5000 /run/secrets/token && exit 3", "cat /run/secrets/token.x"} {
		_, err := p.try("base: {image: ./base}\nrun: [{cmd: \""+cmd+"\", secrets: [token]}]\n", withSecret(theSecret))
		if err == nil || strings.Contains(err.Error(), theSecret) {
			t.Errorf("%s: %v", cmd, err)
		}
	}
	p.nowhere(theSecret)
	p.nothingLeft()
}

func TestRunSecretLands(t *testing.T) {
	p := newProject(t)
	p.base()
	for cmd, path := range map[string]string{
		"cat /run/secrets/token > /opt/leak":                      "/opt/leak",
		"b64 /run/secrets/token > /opt/b64":                       "/opt/b64",
		"pad 70000 /run/secrets/token > /opt/far":                 "/opt/far",
		"cat /run/secrets/token > /opt/a && ln /opt/a /opt/b":     "/opt/a",
		"mkdir /opt/d && cat /run/secrets/token > /opt/d/.config": "/opt/d/.config",
	} {
		_, err := p.try("base: {image: ./base}\nrun: [{cmd: \""+cmd+"\", secrets: [token]}]\n", withSecret(theSecret))
		if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), path+" has the secret token") || strings.Contains(err.Error(), theSecret) {
			t.Errorf("%s: %v", cmd, err)
		}
	}
	p.nowhere(theSecret)
	p.nothingLeft()
	if _, err := p.store.Resolve("app"); !fault.Is(err, fault.NotFound) {
		t.Errorf("an image is listed: %v", err)
	}
}

// TestRunSecretAsOrdinaryUser reads a secret as a user that a range of ids gives, and as the one id of who has none.
func TestRunSecretAsOrdinaryUser(t *testing.T) {
	for lone, user := range map[bool]string{false: ", user: \"7:50\"", true: ""} {
		p := newProject(t)
		p.base()
		p.recipe("base: {image: ./base}\nrun: [{cmd: \"stat /run/secrets/token && cat /run/secrets/token && id\", secrets: [token]" + user + "}]\n")
		cmd := p.asUser(lone)
		cmd.Env = append(cmd.Env, secretVar+"=token="+theSecret)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), "-r-------- 15\n***") {
			t.Errorf("lone %v: %v\n%s", lone, err, out)
		}
	}
}

// A command that prints the secret in another form than it got it is masked as well.
func TestRunSecretInOtherForms(t *testing.T) {
	p := newProject(t)
	p.base()
	const secret = "k3y/with+signs&more=of them"
	forms := []string{base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte("user:" + secret)), hex.EncodeToString([]byte(secret)), url.QueryEscape(secret)}
	for i, form := range forms {
		p.write(fmt.Sprint("form", i), form, 0o644)
	}
	var out []string
	_, err := p.try("base: {image: ./base}\ncopy: [{from: ., to: /srv}]\nrun:\n  - {cmd: \"cat /srv/form0 && cat /srv/form1 && cat /srv/form2 && cat /srv/form3 && false\", secrets: [token]}\n",
		withSecret(secret), func(o *builder.Options) {
			o.Progress = func(e builder.Event) { out = append(out, e.Line) }
		})
	if err == nil {
		t.Fatal("the command did not fail")
	}
	text := strings.Join(append(out, err.Error()), "\n")
	for _, form := range forms {
		if piece := form[len(form)/2 : len(form)/2+8]; strings.Contains(text, piece) {
			t.Errorf("%q is in the output: %s", piece, text)
		}
	}
	if !strings.Contains(text, "***") {
		t.Errorf("nothing was printed: %s", text)
	}
}
