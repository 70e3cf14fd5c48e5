package crash

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/failpoint"
	"github.com/bootandshoot/release/test/harness"
)

// TestBakeKilled kills a bake at each of its points. The images that were there stay whole, and the next bake makes
// the same one as a bake that nobody disturbed.
func TestBakeKilled(t *testing.T) {
	in := suite.New(t, "sandbox")
	before, after := image(t, "v1"), image(t, "v2")
	in.BuildHello("v3")
	undisturbed := store(t, in, "undisturbed")
	if err := undisturbed.run("", "bake"); err != nil {
		t.Fatal(err)
	}
	want, recorded := undisturbed.newest(), passed(t, undisturbed.points)
	everyPointOf(t, failpoint.Bake, recorded)
	n := 0
	for p, i := range places(failpoint.Bake, recorded) {
		n++
		at := fmt.Sprintf("%s:%d", p, i)
		s := store(t, in, strings.ReplaceAll(at, ":", "-"))
		if err := s.run(at, "bake"); err == nil || !strings.Contains(err.Error(), "signal: killed") {
			t.Errorf("%s: the bake was not killed: %v", at, err)
		}
		for _, args := range [][]string{{"images", "verify", before, "--content"}, {"images", "verify", after, "--content"}, {"bake"}} {
			if err := s.run("", args...); err != nil {
				t.Errorf("%s: %v", at, err)
			}
		}
		got := s.newest()
		if got != want {
			t.Errorf("%s: baked again it is %s, want %s", at, got, want)
		}
		s.age()
		for _, args := range [][]string{{"images", "verify", got, "--content"}, {"images", "gc"}} {
			if err := s.run("", args...); err != nil {
				t.Errorf("%s: %v", at, err)
			}
		}
		s.nothingHalf(at)
	}
	t.Logf("%d bakes were killed", n)
}

// imageStore is a store of its own, with the images of the day.
type imageStore struct {
	t           *testing.T
	in          *harness.Installation
	dir, points string
}

func store(t *testing.T, in *harness.Installation, name string) *imageStore {
	t.Helper()
	s := &imageStore{t: t, in: in, dir: filepath.Join(in.Dir, name), points: filepath.Join(in.Dir, name+"-points")}
	copyImages(t, s.dir)
	if err := os.Mkdir(s.points, 0o700); err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs a command on the store, which dies at a point; "" for nowhere.
func (s *imageStore) run(point string, args ...string) error {
	cmd := exec.Command(s.in.Binary, args...)
	cmd.Dir = s.in.Project
	cmd.Env = append(s.in.Env[:len(s.in.Env):len(s.in.Env)], "RELEASE_IMAGES_DIR="+s.dir, "RELEASE_FAILPOINT="+point, "RELEASE_FAILPOINT_DIR="+s.points)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("release %s: %w\n%s", strings.Join(args, " "), err, out.Bytes())
	}
	return nil
}

// newest is the digest that the app's name stands for.
func (s *imageStore) newest() string {
	s.t.Helper()
	cmd := exec.Command(s.in.Binary, "images", "inspect", "hello", "--json")
	cmd.Dir, cmd.Env = s.in.Project, append(s.in.Env[:len(s.in.Env):len(s.in.Env)], "RELEASE_IMAGES_DIR="+s.dir)
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(out), `"image":"`)
	digest, _, _ := strings.Cut(rest, `"`)
	if digest == "" {
		s.t.Fatalf("no digest in %s", out)
	}
	return digest
}

// age makes what is under way look like it was a day ago: a collection leaves alone what somebody may be at.
func (s *imageStore) age() {
	s.t.Helper()
	before := time.Now().Add(-48 * time.Hour)
	err := filepath.WalkDir(s.dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && half(e.Name()) {
			err = os.Chtimes(path, before, before)
		}
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
}

func half(name string) bool {
	return strings.HasPrefix(name, ".tmp-") || strings.HasSuffix(name, ".tmp")
}

// nothingHalf looks for files that are under way.
func (s *imageStore) nothingHalf(at string) {
	s.t.Helper()
	err := filepath.WalkDir(s.dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && half(e.Name()) {
			s.t.Errorf("%s: left is %s", at, path)
		}
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
}
