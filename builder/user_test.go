package builder_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/usertest"
	"github.com/bootandshoot/release/recipes"
	"github.com/bootandshoot/release/sandbox"
)

// bakeVar makes the test binary bake: "recipe" and "store" separated by a newline.
const bakeVar = "BUILDER_TEST_BAKE"

// secretVar gives that bake a build secret, "name=value".
const secretVar = "BUILDER_TEST_SECRET"

// bakeMain is the test binary as another user's program.
func bakeMain(what string) int {
	if entered, code, err := sandbox.EnterUserNamespace(nil); err != nil || entered {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}
	recipe, dir, _ := strings.Cut(what, "\n")
	r, err := recipes.Load(recipe)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s, err := images.Open(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	secret, value, _ := strings.Cut(os.Getenv(secretVar), "=")
	given := map[string][]byte{secret: []byte(value)}
	res, err := builder.Bake(context.Background(), builder.Options{Recipe: r, Store: s, Secrets: given, Progress: func(e builder.Event) {
		if e.Kind == builder.Output {
			fmt.Println(e.Line)
		}
	}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(res.Image)
	return 0
}

// asUser prepares the test binary to bake a copy of the project as an ordinary user, in another folder, with another
// umask and locale. lone takes the user's range of ids away.
func (p *project) asUser(lone bool) *exec.Cmd {
	p.t.Helper()
	u := usertest.Need(p.t)
	dir := u.TempDir(p.t)
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	script := fmt.Sprintf("cp -r %s %s/project && cp %s %s/baker && mkdir %s/store && chown -R %d:%d %s && chmod 755 %s", p.dir, dir, self, dir, dir, u.UID, u.GID, dir, dir)
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		p.t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command("sh", "-c", "umask 077; exec "+dir+"/baker")
	path := "PATH=" + os.Getenv("PATH")
	if lone {
		path = "PATH=/nowhere"
		cmd = exec.Command("/bin/sh", "-c", "umask 077; exec "+dir+"/baker")
	}
	cmd.Dir = dir
	cmd.Env = []string{path, "HOME=" + u.Home, "USER=" + usertest.Name, "LC_ALL=de_DE.UTF-8", "TZ=Asia/Tokyo",
		bakeVar + "=" + dir + "/project/app.yaml\n" + dir + "/store"}
	u.Become(cmd)
	return cmd
}

func TestSameDigestAsOrdinaryUser(t *testing.T) {
	p := newProject(t)
	p.manySteps()
	res := p.bake(manySteps)
	out, err := p.asUser(false).CombinedOutput()
	if err != nil {
		t.Fatalf("bake as %s: %v\n%s", usertest.Name, err, out)
	}
	if got := strings.TrimSpace(string(out)); got != string(res.Image) {
		t.Errorf("root made %s, %s made %s", res.Image, usertest.Name, got)
	}
}

// TestSameDigestWithOneID bakes as a user who has no range: what changes no owner bakes, and to the same digest.
func TestSameDigestWithOneID(t *testing.T) {
	p := newProject(t)
	p.manySteps()
	const recipe = `
base: {image: ./base}
copy: [{from: app, to: /srv/app, owner: "7:50"}]
run: [{cmd: "touch /srv/app /var/www/index.html && echo x > /opt/x && rm /opt/old"}]
`
	res := p.bake(recipe)
	out, err := p.asUser(true).CombinedOutput()
	if got := strings.TrimSpace(string(out)); err != nil || got != string(res.Image) {
		t.Errorf("root made %s, %s without a range: %v %s", res.Image, usertest.Name, err, got)
	}
	p.recipe("base: {image: ./base}\nrun: [{cmd: \"chown 33:33 /srv\"}]\n")
	out, err = p.asUser(true).CombinedOutput()
	if err == nil {
		t.Errorf("a step that needs more ids: %s", out)
	}
}

func TestKilledBakeLeavesUsableCache(t *testing.T) {
	p := newProject(t)
	p.base()
	p.recipe("base: {image: ./base}\nrun: [{cmd: \"touch /opt/a\"}, {cmd: \"echo ready && wait\"}]\n")
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
	line := make([]byte, 6)
	if _, err := out.Read(line); err != nil || string(line) != "ready\n" {
		t.Fatalf("%q %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if left, _ := filepath.Glob(filepath.Join(p.store.Dir(), "cache", "work", "*")); len(left) != 1 {
		t.Errorf("the killed bake left %v", left)
	}
	if list, err := p.store.List(); err != nil || len(list) != 1 { // the base
		t.Errorf("images: %v %v", list, err)
	}
	if res := p.bake("base: {image: ./base}\nrun: [{cmd: \"touch /opt/a\"}, {cmd: \"touch /opt/b\"}]\n"); cachedSteps(res) != "cc-" {
		t.Errorf("steps: %+v", res.Steps)
	}
	p.nothingLeft()
}

// listen gives an address of this machine that accepts connections.
func listen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// TestDebianNeedsARangeAtOnce fails before it asks an archive, and says what to type.
func TestDebianNeedsARangeAtOnce(t *testing.T) {
	p := newProject(t)
	asked := make(chan string, 100)
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		http.NotFound(w, r)
	}))
	defer mirror.Close()
	p.recipe("base: {debian: bookworm, mirrors: [\"" + mirror.URL + "\"], security_mirrors: [\"" + mirror.URL + "\"]}\n")
	out, err := p.asUser(true).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "this account has one id") || strings.Count(string(out), "base debian") > 1 {
		t.Errorf("%v: %s", err, out)
	}
	if len(asked) > 0 {
		t.Errorf("the mirror was asked for %s", <-asked)
	}
}
