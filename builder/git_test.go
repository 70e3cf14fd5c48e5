package builder_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// repo makes a repository with one commit and gives its folder and a function that runs git in it.
func repo(t *testing.T) (string, func(args ...string) string) {
	t.Helper()
	dir := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_COMMITTER_DATE=2023-01-02T03:04:05Z", "GIT_AUTHOR_DATE=2020-01-01T00:00:00Z", "GIT_CONFIG_GLOBAL=/dev/null")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("this test needs git (apt-get install git): git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q")
	for name, content := range map[string]string{"run.sh": "#!/bin/sh\n", "lib/a.txt": "a\r\n", ".gitattributes": "*.txt text eol=lf\nrun.sh export-ignore\n"} {
		path := filepath.Join(dir, name)
		_ = os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_ = os.Chmod(filepath.Join(dir, "run.sh"), 0o755)
	_ = os.Symlink("lib/a.txt", filepath.Join(dir, "link"))
	git("add", "-A")
	git("commit", "-q", "-m", "one")
	git("tag", "v1")
	return dir, git
}

func TestGit(t *testing.T) {
	p := newProject(t)
	dir, git := repo(t)
	recipe := fmt.Sprintf("base: scratch\ngit: [{url: \"file://%s\", ref: main, to: /srv/app}]\n", dir)
	res := p.bake(recipe)
	_, got, _ := strings.Cut(p.steps(res), "\n")
	want(t, "layer", got, `
d 0755 0:0 srv/
d 0755 0:0 srv/app/
f 0644 0:0 srv/app/.gitattributes = *.txt text eol=lf|run.sh export-ignore
d 0755 0:0 srv/app/lib/
f 0644 0:0 srv/app/lib/a.txt = a
l 0777 0:0 srv/app/link -> lib/a.txt
f 0755 0:0 srv/app/run.sh = #!/bin/sh
`)
	const committed = 1672628645 // 2023-01-02T03:04:05Z
	if res.Epoch != committed {
		t.Errorf("epoch is %d", res.Epoch)
	}
	first := git("rev-parse", "HEAD")
	lock, err := recipes.LoadLock(filepath.Join(p.dir, "app.yaml.lock"))
	if err != nil || len(lock.Git) != 1 || lock.Git[0].Commit != first {
		t.Fatalf("lockfile: %+v %v", lock, err)
	}
	// The branch moves on; the pin does not, also in an empty store.
	git("commit", "-q", "--allow-empty", "-m", "two")
	if again := p.bake(recipe); again.Image != res.Image || !again.Cached {
		t.Errorf("second bake: %+v", again)
	}
	p.store = newStore(t, t.TempDir())
	if again := p.bake(recipe, func(o *builder.Options) { o.Locked = true }); again.Image != res.Image {
		t.Errorf("bake in another store: %+v", again)
	}
	if again := p.bake(recipe, func(o *builder.Options) { o.NoCache, o.Offline = true, true }); again.Image != res.Image {
		t.Errorf("bake offline: %+v", again)
	}
}

func TestGitRefs(t *testing.T) {
	dir, git := repo(t)
	commit := git("rev-parse", "HEAD")
	git("tag", "-a", "-m", "annotated", "v2")
	for _, ref := range []string{"v1", "v2", commit, commit[:10], "HEAD"} {
		t.Run(ref, func(t *testing.T) {
			p := newProject(t)
			p.bake(fmt.Sprintf("base: scratch\ngit: [{url: \"file://%s\", ref: \"%s\", to: /x}]\n", dir, ref))
			lock, err := recipes.LoadLock(filepath.Join(p.dir, "app.yaml.lock"))
			if err != nil || lock.Git[0].Commit != commit {
				t.Errorf("lockfile: %+v %v", lock, err)
			}
		})
	}
	p := newProject(t)
	_, err := p.try(fmt.Sprintf("base: scratch\ngit: [{url: \"file://%s\", ref: nothing, to: /x}]\n", dir))
	if !fault.Is(err, fault.NotFound) {
		t.Errorf("unknown ref: %v", err)
	}
	_, err = p.try("base: scratch\ngit: [{url: \"file:///nowhere\", ref: main, to: /x}]\n")
	if !fault.Is(err, fault.Unavailable) {
		t.Errorf("unknown repository: %v", err)
	}
}
