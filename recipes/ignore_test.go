package recipes_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

func TestInputs(t *testing.T) {
	root := project(t, map[string]string{
		"release.yaml": "", "r.yaml": "base: scratch\ncopy: [{from: src, to: /a}, {from: src/b.txt, to: /b}, {from: here, to: /c}]\n",
		".releaseignore": "*.log\nsrc/deep/node_modules/\n", "src/.releaseignore": "!keep.log\n/a.tmp\n", "src/b.txt": "12345", "src/a.tmp": "", "src/deep/a.tmp": "",
		"src/x.log": "", "src/keep.log": "", "src/deep/node_modules/x/y": "", "src/deep/link": "-> /etc/passwd", "src/deep/keep.log": "", "src/.git/HEAD": "", "src/deep/.git": "gitdir: x",
		"src/b/c": "", "src/b.d": "", "src/!odd": "", "src/empty/": "", "here": "-> src/b",
	})
	r := load(t, "r.yaml")
	var got []string
	for _, c := range r.Copy {
		list, err := r.Inputs(c)
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range list {
			if in.Abs != filepath.Join(c.Source, in.Path) {
				t.Errorf("%s is at %s", in.Path, in.Abs)
			}
			got = append(got, fmt.Sprintf("%s %s %d %s", in.Path, in.Mode.Type(), in.Size, in.Link))
		}
	}
	want := []string{
		". d--------- 0 ", "!odd ---------- 0 ", ".releaseignore ---------- 17 ", "b d--------- 0 ", "b.d ---------- 0 ", "b.txt ---------- 5 ", "b/c ---------- 0 ",
		"deep d--------- 0 ", "deep/a.tmp ---------- 0 ", "deep/keep.log ---------- 0 ", "deep/link L--------- 0 /etc/passwd", "empty d--------- 0 ", "keep.log ---------- 0 ",
		". ---------- 5 ", ". d--------- 0 ", "c ---------- 0 ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !r.Ignore.Match("src/x.log", false) || r.Ignore.Match("src/keep.log", false) || !r.Ignore.Match("any/where/x.log", false) || !r.Ignore.Match("src/deep/node_modules/x", true) {
		t.Error("Match and Inputs differ")
	}
	if filepath.Join(root, "src/b") != r.Copy[2].Source {
		t.Errorf("the link led to %s", r.Copy[2].Source)
	}
}

func TestInputsRefusePipes(t *testing.T) {
	project(t, map[string]string{"r.yaml": "base: scratch\ncopy: [{from: src, to: /a}]\n", "src/a": ""})
	if err := exec.Command("mkfifo", "src/pipe").Run(); err != nil {
		t.Fatal(err)
	}
	r := load(t, "r.yaml")
	_, err := r.Inputs(r.Copy[0])
	all := fault.All(err)
	if len(all) != 1 || all[0].Code != fault.Invalid || all[0].Line != 2 || !strings.Contains(all[0].Message, "src/pipe is a device, socket or pipe") {
		t.Errorf("got %v", err)
	}
}

func TestBadIgnore(t *testing.T) {
	project(t, map[string]string{"r.yaml": "base: scratch\ncopy: [{from: src, to: /a}]\n", "src/a": "", ".releaseignore": "ok\n[z-a]\n\n[x\nx\\\n"})
	_, err := recipes.Load("r.yaml")
	want := ".releaseignore:2:1: pattern \"[z-a]\" cannot be read\n.releaseignore:4:1: pattern \"[x\": has a [ without ]\n.releaseignore:5:1: pattern \"x\\\\\": ends in a backslash"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// The answers are git's own, for patterns and paths made of the pieces that matter.
func TestIgnoreAsGit(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal("git is needed: apt-get install git")
	}
	root := project(t, map[string]string{"release.yaml": "", "a/b/c/d": "", "r.yaml": "base: scratch\ncopy: [{from: a/b, to: /x}]\n"})
	if out, err := exec.Command(git, "init", "-q").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	piece := rapid.SampledFrom([]string{"a", "b", "c", "d", "*", "?", "**", "/", "/", "!", "[ab]", "[!a]", "\\a", " ", "#", "a*"})
	// Git's manual says that a ** beside other letters is a *, but git does not always do so (b**/a matches b/c/a).
	loose := regexp.MustCompile(`[^/!*]\*\*|.!\*\*|\*\*[^/*]`)
	pattern := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(piece, 1, 6).Draw(t, "pieces"), "")
	}).Filter(func(p string) bool { return !loose.MatchString(p) })
	lines := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(pattern, 0, 4).Draw(t, "lines"), "\n") + "\n"
	})
	paths := []string{"a", "b", "a/b", "a/b/c", "a/b/c/d", "a/b/a", "a/b/c/a", "a/b/d", "a/b/ab", "a/b/#", "a/b/!a", "a/b/ a"}
	rapid.Check(t, func(t *rapid.T) {
		for _, dir := range []string{"", "a", "a/b"} {
			text := lines.Draw(t, "file "+dir)
			for _, name := range []string{".gitignore", ".releaseignore"} {
				if err := os.WriteFile(filepath.Join(root, dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		want := gitIgnored(t, git, root, paths)
		// The source itself may be left out: load another way to its folder for the rules, by a file that is not.
		ignore := loadedIgnore(t, root)
		for _, p := range paths {
			info, err := os.Stat(filepath.Join(root, p))
			isDir := err == nil && info.IsDir()
			if got := ignore.Match(p, isDir); got != want[p] {
				t.Fatalf("%s (folder %v): got %v, git says %v", p, isDir, got, want[p])
			}
		}
	})
}

func gitIgnored(t *rapid.T, git, root string, paths []string) map[string]bool {
	cmd := exec.Command(git, "check-ignore", "--no-index", "--stdin", "-z")
	cmd.Dir = root
	cmd.Stdin = strings.NewReader(strings.Join(paths, "\x00") + "\x00")
	out, err := cmd.Output()
	if e, failed := err.(*exec.ExitError); failed && e.ExitCode() > 1 {
		t.Fatalf("git check-ignore: %v: %s", err, e.Stderr)
	}
	ignored := map[string]bool{}
	for _, p := range bytes.Split(out, []byte{0}) {
		ignored[string(p)] = true
	}
	return ignored
}

func loadedIgnore(t *rapid.T, root string) *recipes.Ignore {
	ignore, errs := recipes.ReadIgnore(root, filepath.Join(root, "a/b"))
	if len(errs) > 0 {
		t.Skip("a pattern that only git takes")
	}
	return ignore
}

func FuzzIgnore(f *testing.F) {
	f.Add("*.log\n!keep\n/a/**/b\n[a-z]\n", "a/b/c")
	f.Add("[[:alpha:]]\\ \n**/\n", "x")
	f.Fuzz(func(t *testing.T, rules, path string) {
		recipes.ParseIgnore(rules).Match(path, false)
	})
}

// A single file that is named is meant, whatever is left out of copies.
func TestIgnoreIsForCopies(t *testing.T) {
	project(t, map[string]string{".releaseignore": "deploy/\n*.zip\n", "deploy/nginx.conf": "x", "deploy/base.yaml": "base: scratch\n", "a.zip": "z",
		"r.yaml": "include: [deploy/base.yaml]\nfiles: [{from: deploy/nginx.conf, to: /etc/nginx.conf}]\nextensions: [{name: a, version: \"1\", source: ./a.zip, path: /a}]\n"})
	r, err := recipes.Load("r.yaml")
	if err != nil || len(r.FileEntries) != 1 || len(r.Extensions) != 1 {
		t.Errorf("%+v %v", r, err)
	}
}
