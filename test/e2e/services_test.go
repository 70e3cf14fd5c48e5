package e2e

import (
	"crypto/rand"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/test/harness"
)

// TestServicesAndTests releases an image with two services that its tests have seen, and ends one of them: the node goes on.
func TestServicesAndTests(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	in.WriteProject(quick, 1, "")
	in.BuildHello("v1")
	recipe := `name: hello
base: scratch
copy: [{from: ./bin/hello, to: /hello}]
ports: [8080]
services:
  web: {cmd: [/hello], restart: always, after: [side]}
  side: {cmd: [/hello], restart: always, env: {PORT: "8099"}}
tests:
  - {http: {path: /healthz}}
  - {http: {path: /, port: 8099, body: v1}}
`
	in.Write("recipe.yaml", strings.Replace(recipe, "body: v1}", "body: v9}, within: 300ms", 1))
	wants(t, in.Run("up"), 1, "recipe.yaml:10:5: error: test GET :8099/: after 300 ms: GET / at port 8099 answered with a body that does not match v9")
	if out := in.Must("images", "ls").Stdout; strings.Contains(out, "hello") {
		t.Errorf("an image is listed though its test failed:\n%s", out)
	}
	in.Write("recipe.yaml", recipe)
	in.Operate("up")
	var baked api.BakeResult
	if code := in.JSON(&baked, "bake"); code != 0 || !baked.Cached || len(baked.Tests) != 2 || !baked.Tests[1].Cached {
		t.Errorf("bake: %d %+v", code, baked)
	}
	before := in.Status().Fleets[0].Nodes[0]
	_, _ = ask(in, "/exit") // what comes back is nobody's business
	in.Until("the service is back", 20*time.Second, func() bool {
		text, err := ask(in, "/")
		return err == nil && strings.Contains(text, "v1")
	})
	if after := in.Status().Fleets[0].Nodes[0]; after.ID != before.ID || after.PID != before.PID {
		t.Errorf("the node was %+v, is %+v", before, after)
	}
	if out := in.Must("logs").Stdout; !strings.Contains(out, "supervise: web ended with") {
		t.Errorf("logs:\n%s", out)
	}
}

// ask is the answer of a path, from an app that may just be away.
func ask(in *harness.Installation, path string) (string, error) {
	resp, err := http.Get("http://" + in.Listen + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// TestDockerfileAsRecipe releases what the Docker engine built.
func TestDockerfileAsRecipe(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	in.WriteProject(quick, 1, "")
	in.BuildHello("v1")
	in.Write("Dockerfile", "FROM scratch\nCOPY bin/hello /hello\nEXPOSE 8080\nENTRYPOINT [\"/hello\"]\nLABEL test="+in.Dir+"\n")
	in.Write(".dockerignore", "*\n!bin\n")
	wants(t, in.Run("init", "--dockerfile", "keep"), 1, "release.yaml", "-y overwrites")
	in.Must("init", "--dockerfile", "keep", "-y")
	edit(t, in, `listen: ":8080"`, `listen: "`+in.Listen+`"`)
	edit(t, in, "size: 2", "size: 1, driver: "+quick)
	in.Must("validate")
	in.Operate("up")
	if text := body(t, in, "/"); !strings.Contains(text, "v1") {
		t.Errorf("the app answers %q", text)
	}
	var again api.BakeResult
	if code := in.JSON(&again, "bake"); code != 0 || !again.Cached || again.Reproducible {
		t.Errorf("bake: %d %+v", code, again)
	}
	var shown struct {
		Annotations map[string]string `json:"annotations"`
	}
	in.JSON(&shown, "images", "inspect", again.Image)
	removeBuilt(t, shown.Annotations["release.docker.image"])
	wants(t, in.Run("bake", "--locked"), 2, "a Dockerfile cannot be locked")
	wants(t, in.Run("bake", "--var", "a=b"), 2, "a Dockerfile cannot be given")
	wants(t, in.Run("bake", "--allow", "/a"), 2, "is not PATH[:RULE]=REASON")
	token := "gh" + "p_" + (rand.Text() + rand.Text())[:36]
	in.Write("bin/token", token)
	in.Write("Dockerfile", "FROM scratch\nCOPY bin/token /token\nLABEL test="+in.Dir+"\n")
	refused := in.Run("bake")
	wants(t, refused, 1, "layer 1 of 1: /token, line 1: a token of GitHub would be in the image", "--allow '/token:github-token=REASON'")
	if strings.Contains(refused.Stdout+refused.Stderr, token) {
		t.Error("the error tells the secret")
	}
	in.Env = append(in.Env, "RELEASE_CACHE_LIMIT=20GiB")
	var allowed api.BakeResult
	if code := in.JSON(&allowed, "bake", "--allow", "/token:github-token=a test"); code != 0 || allowed.Image == again.Image {
		t.Errorf("bake with --allow: %d %+v", code, allowed)
	}
	if _, err := os.Stat(filepath.Join(in.Dir, "i", "cache", "limited")); err != nil {
		t.Errorf("the caches were not looked at: %v", err)
	}
	in.JSON(&shown, "images", "inspect", allowed.Image)
	removeBuilt(t, shown.Annotations["release.docker.image"])
	in.Write("Dockerfile", "FROM scratch\nCOPY bin/nothing /hello\n")
	wants(t, in.Run("up"), 1, "docker build ended with exit code 1", "nothing")
}

// removeBuilt removes an image of the Docker engine at the end.
func removeBuilt(t *testing.T, id string) {
	t.Cleanup(func() { _ = exec.Command("docker", "image", "rm", id).Run() })
}
