package e2e

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/diff"
	"github.com/bootandshoot/release/internal/usertest"
	"github.com/bootandshoot/release/test/harness"
)

// writer is a program of an image: it prints its first argument, writes a file, and ends with a code.
const writer = `package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Print(os.Args[1], " ", os.Getuid(), " ", os.Getenv("A"))
	if os.WriteFile("/written", nil, 0o644) != nil {
		os.Exit(9)
	}
	os.Exit(7)
}
`

// writerRecipe is an image with a program and a page.
const writerRecipe = "name: tool\nbase: scratch\ncopy: [{from: ./tool/bin, to: /bin}, {from: ./page, to: /srv/page, owner: \"7\"}]\nenv: {A: \"1\"}\nentrypoint: [/bin/tool]\n"

func buildWriter(t *testing.T, in *harness.Installation) {
	t.Helper()
	in.Write("tool/main.go", writer)
	in.Write("page", "one\n")
	in.Write("tool.yaml", writerRecipe)
	cmd := exec.Command("go", "build", "-o", "bin/tool", "main.go")
	cmd.Dir, cmd.Env = filepath.Join(in.Project, "tool"), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// lastLine decodes the result of a command.
func lastLine(t *testing.T, out harness.Output, v any) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out.Stdout), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), v); err != nil {
		t.Fatalf("%v in %s\n%s", err, out.Stdout, out.Stderr)
	}
}

// TestImages looks into images, compares, moves and collects them.
func TestImages(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	buildWriter(t, in)
	first := strings.TrimSpace(in.Must("bake", "tool.yaml", "-q").Stdout)
	in.Write("page", "two!\n")
	in.Must("bake", "tool.yaml", "-q")
	insideImages(t, in, first)
	moveImages(t, in)
	collectImages(t, in, first)
}

func insideImages(t *testing.T, in *harness.Installation, first string) {
	t.Helper()
	var d diff.Result
	lastLine(t, in.Must("images", "diff", first, "tool", "--json"), &d)
	if len(d.Files) != 1 || d.Files[0].Path != "/srv/page" || !slices.Equal(d.Files[0].What, []string{"content"}) || d.Summary.FileBytes != 1 {
		t.Errorf("diff: %+v", d)
	}
	if out := in.Must("images", "diff", first[7:19], "tool").Stdout; !strings.Contains(out, "1 changed, +1 B") {
		t.Errorf("diff for people:\n%s", out)
	}
	if out := in.Must("images", "tree", "tool", "/srv").Stdout; !strings.Contains(out, "0644  7:7    5 B   1      └── page") {
		t.Errorf("tree:\n%s", out)
	}
	tree := in.Must("images", "tree", "tool", "/srv").Stdout
	if !strings.Contains(tree, "layer 1") || strings.Contains(tree, "layer 0") {
		t.Errorf("tree of a path names other layers than those that touch it:\n%s", tree)
	}
	if whole := in.Must("images", "tree", "tool").Stdout; !strings.Contains(whole, "layer 0") || !strings.Contains(whole, "layer 1") {
		t.Errorf("tree of all:\n%s", whole)
	}
	if out := in.Must("images", "inspect", "tool", "--json").Stdout; strings.Contains(out, "null") || !strings.Contains(out, `"labels":{}`) {
		t.Errorf("inspect has nulls: %s", out)
	}
	if out := in.Must("images", "cat", first, "srv/page").Stdout; out != "one\n" {
		t.Errorf("cat: %q", out)
	}
	wants(t, in.Run("images", "cat", "tool", "/srv"), 2, "it is a folder")
	wants(t, in.Run("images", "cat", "tool", "/nothing"), 1, "no /nothing in it")
	wants(t, in.Run("images", "shell", "tool"), 2, "run a shell in image")
	out := in.Run("images", "shell", "tool", "--user", "5", "--", "/bin/tool", "hi")
	if out.Code != 9 || out.Stdout != "hi 5 1" {
		t.Errorf("shell as an ordinary user of the image: %+v", out)
	}
	for range 2 { // what the first wrote the second does not see
		if out := in.Run("images", "shell", "tool", "--", "/bin/tool", "hi"); out.Code != 7 || out.Stdout != "hi 0 1" || out.Stderr != "" {
			t.Errorf("shell: %+v", out)
		}
	}
	if left, _ := os.ReadDir(filepath.Join(in.Dir, "i/cache/shell")); len(left) > 0 {
		t.Errorf("shells left %v", left)
	}
	if out := in.Must("images", "cat", "tool", "/bin/tool").Stdout; !strings.HasPrefix(out, "\x7fELF") {
		t.Error("cat of a program gives something else")
	}
}

func moveImages(t *testing.T, in *harness.Installation) {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true)))
	defer server.Close()
	ref := strings.TrimPrefix(server.URL, "http://") + "/team/tool:v1"
	var pushed images.Pushed
	lastLine(t, in.Must("images", "push", "tool", ref, "--compress", "gzip", "--json"), &pushed)
	if pushed.Moved != pushed.Blobs || pushed.Digest == pushed.Image {
		t.Errorf("push: %+v", pushed)
	}
	lastLine(t, in.Must("images", "push", "tool", ref, "--compress", "gzip", "--json"), &pushed)
	if pushed.Moved != 0 {
		t.Errorf("push again: %+v", pushed)
	}
	other := suite.New(t, quick)
	if said := other.Must("images", "pull", ref).Stderr; !strings.Contains(said, "no name here, so release images gc may remove it") || !strings.Contains(said, "pull "+ref+" --name NAME") {
		t.Errorf("pull without a name says %q", said)
	}
	if said := other.Must("images", "pull", ref, "--name", "mine").Stderr; strings.Contains(said, "name") {
		t.Errorf("pull with a name says %q", said)
	}
	if said := other.Must("images", "pull", ref).Stderr; strings.Contains(said, "name") {
		t.Errorf("pull of an image that has a name says %q", said)
	}
	if out := other.Must("images", "pull", ref, "--name", "mine", "-q").Stdout; strings.TrimSpace(out) != string(pushed.Image) {
		t.Errorf("pulled %q, want %s", out, pushed.Image)
	}
	if out := other.Must("images", "cat", "mine", "/srv/page").Stdout; out != "two!\n" {
		t.Errorf("cat of what was pulled: %q", out)
	}
	wants(t, in.Run("images", "pull", strings.TrimSuffix(ref, "v1")+"v2"), 1, "no such image")
	wants(t, in.Run("images", "push", "tool", "not a reference"), 2, "reference")
}

func collectImages(t *testing.T, in *harness.Installation, first string) {
	t.Helper()
	var c images.Collected
	lastLine(t, in.Must("images", "gc", "--dry-run", "--json"), &c)
	if !c.DryRun || len(c.Decisions) == 0 {
		t.Errorf("dry run: %+v", c)
	}
	for _, d := range c.Decisions {
		if d.Kind == "image" && d.Name == first && (!d.Keep || !strings.Contains(d.Reason, "ago")) {
			t.Errorf("the image baked just now: %+v", d)
		}
	}
	wants(t, in.Run("images", "gc", "--cache-limit", "much"), 2, "--cache-limit")
	if out := in.Must("images", "gc", "--cache-limit", "0B").Stdout; !strings.Contains(out, "caches have 0 B") || !strings.Contains(out, "newest image of tool") {
		t.Errorf("gc:\n%s", out)
	}
	if out := in.Must("images", "cat", "tool", "/srv/page").Stdout; out != "two!\n" {
		t.Errorf("cat after a collection: %q", out)
	}
}

// imagesStory is what an ordinary user types: unpacked files belong to ids that exist only inside the user's namespace.
const imagesStory = `set -e
cd %[1]s/hello
export HOME=%[1]s PATH=%[1]s:$PATH RELEASE_IMAGES_DIR=%[1]s/i
release bake tool.yaml -q
test "$(release images shell tool -- /bin/tool hi || test $? = 7)" = "hi 0 1"
test "$(release images shell tool --user 5 -- /bin/tool hi || test $? = 9)" = "hi 5 1"
ls -d $RELEASE_IMAGES_DIR/rootfs/mapped-*/*/root >/dev/null
release images gc --cache-limit 0B
test -z "$(ls $RELEASE_IMAGES_DIR/rootfs/*/)"
test "$(release images cat tool /srv/page)" = one
`

func TestImagesOfOrdinaryUser(t *testing.T) {
	t.Parallel()
	u := usertest.Need(t)
	in := suite.New(t, quick)
	buildWriter(t, in)
	home := u.TempDir(t)
	u.Take(t, home, in.Project, in.Binary)
	cmd := u.Login("bash -s")
	cmd.Stdin = strings.NewReader(fmt.Sprintf(imagesStory, home))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as %s: %v\n%s", usertest.Name, err, out)
	}
}
