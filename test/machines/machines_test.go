// Package machines tests what `release bake --target machine` makes: that it is the same twice, and that it boots.
package machines

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/usertest"
	"github.com/bootandshoot/release/test/harness"
)

// suite is set by TestMain, before any test runs.
var suite *harness.Suite

func TestMain(m *testing.M) { harness.Main(m, &suite) }

// patience bounds every wait for a machine: emulated ones on a busy machine are slow.
const patience = 6 * time.Minute

// details is what images inspect says of a machine.
type details struct {
	Targets []string
	Machine *struct {
		RootHash string `json:"root_hash"`
		Disk     struct {
			Digest, Format string
			Size, Capacity int64
		}
	}
}

// TestHelloAsAMachine bakes the example as root and as anybody, boots it directly and by UEFI, and gets its answer; then one that
// does not pass its boot test.
func TestHelloAsAMachine(t *testing.T) {
	in := suite.New(t, "sandbox")
	in.BuildHello("v1")
	first := bake(in, t, "--target", "container,machine")
	var d details
	if code := in.JSON(&d, "images", "inspect", first); code != 0 || d.Machine == nil || d.Machine.Disk.Format != "raw" || strings.Join(d.Targets, " ") != "container machine" {
		t.Fatalf("inspect: %d %+v", code, d)
	}
	if again := asAnybody(t, in, in.Project); again != first {
		t.Errorf("anybody's bake gives %s, root's %s", again, first)
	}
	checked := in.Run("bake", "--check", "--target", "machine")
	if made := strings.Count(checked.Stderr, "  machine  "); checked.Code != 0 || made != 2 || !strings.Contains(checked.Stdout, "the same image and the same disk") {
		t.Errorf("a check ends with %d after %d disks:\n%s%s", checked.Code, made, checked.Stdout, checked.Stderr)
	}
	t.Run("directly", func(t *testing.T) { boots(t, in, first) })
	t.Run("by UEFI", func(t *testing.T) { boots(t, in, first, "--firmware") })
	t.Run("one that fails", func(t *testing.T) { fails(t, in) })
}

// TestDebianAsAMachine bakes a whole Debian system as root and as anybody: the same disk.
func TestDebianAsAMachine(t *testing.T) {
	in := suite.New(t, "sandbox")
	dir := filepath.Join(in.Project, "site")
	in.Must("init", "--from", "static-site", dir)
	first := bake(in, t, "-c", filepath.Join(dir, "release.yaml"), "--target", "machine")
	if again := asAnybody(t, in, dir); again != first {
		t.Errorf("anybody's bake gives %s, root's %s", again, first)
	}
}

func bake(in *harness.Installation, t *testing.T, flags ...string) string {
	t.Helper()
	var r api.BakeResult
	if code := in.JSON(&r, append([]string{"bake"}, flags...)...); code != 0 || !r.Reproducible {
		t.Fatalf("bake %v: %d %+v", flags, code, r)
	}
	return r.Image
}

// asAnybody bakes a project into a store of an ordinary user's, with nothing of the first bake but its lockfile.
func asAnybody(t *testing.T, in *harness.Installation, project string) string {
	t.Helper()
	u := usertest.Need(t)
	home := u.TempDir(t)
	u.Take(t, home, project, in.Binary)
	cmd := u.Login("bash -s")
	cmd.Stdin = strings.NewReader(fmt.Sprintf("set -e\ncd %[1]s/%[2]s\nexport HOME=%[1]s RELEASE_IMAGES_DIR=%[1]s/images\numask 077\n%[1]s/release bake --target machine --locked -q\n", home,
		filepath.Base(project)))
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("bake as %s: %v\n%s%s", usertest.Name, err, out, said.String())
	}
	return strings.TrimSpace(string(out))
}

// boots boots an image, gets its answer, and presses the power button.
func boots(t *testing.T, in *harness.Installation, image string, flags ...string) {
	cmd := exec.Command(in.Binary, append([]string{"images", "boot", image, "--json", "--env", "VERSION=v7"}, flags...)...)
	cmd.Dir, cmd.Env = in.Project, in.Env
	console, err := os.Create(filepath.Join(t.TempDir(), "console"))
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close()
	cmd.Stderr = console
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			text, _ := os.ReadFile(console.Name())
			t.Logf("console:\n%s", text)
		}
	}()
	lines := json.NewDecoder(bufio.NewReader(out))
	var up struct {
		Type  string
		Ports []struct {
			Address string
			Port    int
		}
	}
	if err := lines.Decode(&up); err != nil || up.Type != "machine" || len(up.Ports) != 1 || up.Ports[0].Port != 8080 {
		_ = cmd.Process.Kill()
		t.Fatalf("%v: %+v", err, up)
	}
	began := time.Now()
	if body := answer(t, "http://"+up.Ports[0].Address+"/"); !strings.HasPrefix(body, "hello v7 from hello") {
		t.Errorf("it answers %q", body)
	}
	t.Logf("an answer %s after the start", time.Since(began).Round(10*time.Millisecond))
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	var ended struct{ Type, Image, Ended string }
	if err := lines.Decode(&ended); err != nil || ended.Type != "result" || ended.Image != image || ended.Ended != "off" {
		t.Errorf("%v: %+v", err, ended)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// answer asks until somebody answers.
func answer(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		resp, err := client.Get(url)
		if err == nil {
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err == nil && resp.StatusCode == http.StatusOK {
				return string(body)
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("no answer within %s: %v", patience, err)
		}
	}
}

// fails bakes a machine whose service ends at once: it is not listed, and its console is shown.
func fails(t *testing.T, in *harness.Installation) {
	in.Write("bad.yaml", "name: bad\nbase: scratch\ncopy: [{from: ./bin/hello, to: /hello}]\nports: [8080]\nentrypoint: [/hello]\nenv: {FAIL_EVERY: never}\n")
	out := in.Run("bake", "bad.yaml", "--target", "machine", "--format", "qcow2", "--compress")
	for _, want := range []string{"does not pass its boot test", "the services ended with", "has the whole console"} {
		if !strings.Contains(out.Stderr, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if out.Code != 1 || t.Failed() {
		t.Errorf("exit code %d:\n%s", out.Code, out.Stderr)
	}
	if list := in.Must("images", "ls", "--json").Stdout; strings.Contains(list, `"bad"`) {
		t.Errorf("it is listed: %s", list)
	}
}
