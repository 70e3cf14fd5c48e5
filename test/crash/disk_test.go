package crash

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/test/harness"
)

// disk is a small one that state, images and router share.
type disk struct {
	*story
	path   string
	filled string // the file that takes the space
	gates  string // a folder elsewhere: hooks wait there
}

// gated has hooks that say that they were reached, and wait to be let go on.
const gated = `app: hello
recipe: recipe.yaml
fleet: {driver: sandbox, size: 2, stop: {grace: 5s}}
health: {http: {path: /healthz, port: 8080}, timeout: 5s, unhealthy_after: 3}
route: {listen: %q}
cutover: {steps: [{percent: 50}, {percent: 100}], verdict: off, keep_previous: 1m, drain: {timeout: 10s}}
hooks: {%s: [{cmd: "touch %s/reached; while ! test -e %[3]s/go; do sleep 0.05; done", timeout: 5m}]}
`

// TestFullDisk fills the disk below everything at several moments. Users notice nothing, what cannot go on says why, nothing is
// torn, the way back is open, and with space again things go on.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts a small disk: run it as root")
	}
	d := newDisk(t)
	v1, v2 := image(t, "v1"), image(t, "v2")
	d.asks(0, "up", v1)
	d.judge(d.underLoad(func() {
		t.Run("bake", func(t *testing.T) { d.bake(t, v1) })
		t.Run("before a launch", func(t *testing.T) { d.beforeLaunch(t, v2) })
		t.Run("launch", func(t *testing.T) { d.launch(t, v2) })
		t.Run("cutover goes on", func(t *testing.T) { d.cutover(t, v2) })
		t.Run("cutover is aborted", func(t *testing.T) { d.aborted(t, v1) })
	}))
	d.asks(0, "destroy", "-y")
	(&imageStore{t: t, dir: d.path}).nothingHalf("at the end")
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	in := suite.New(t, "sandbox")
	d := &disk{story: &story{Installation: in, t: t, dir: t.TempDir()}, path: filepath.Join(in.Dir, "d"), gates: filepath.Join(in.Dir, "gates")}
	for _, dir := range []string{d.path, d.gates} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("tmpfs", d.path, "tmpfs", 0, "size=192m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // before the folders are removed, and after all was ended: cleanups run last first
		if err := unix.Unmount(d.path, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	in.Env = append(in.Env, "RELEASE_STATE_DIR="+filepath.Join(d.path, "s"), "RELEASE_IMAGES_DIR="+filepath.Join(d.path, "i"))
	t.Cleanup(func() { in.Run("destroy", "-y"); in.Run("agent", "stop"); in.Run("router", "stop") })
	copyImages(t, filepath.Join(d.path, "i"))
	d.app("", "1m")
	return d
}

// bake is one that finds no room, and the same one when there is some.
func (d *disk) bake(t *testing.T, before string) {
	d.BuildHello("v3")
	d.fill(t)
	says(t, d.Run("bake"), 1, "no space left", "df -h")
	d.empty(t)
	if out := d.Run("images", "verify", before, "--content"); out.Code != 0 {
		t.Errorf("an image from before is not whole any more:\n%s", out.Stderr)
	}
	for _, command := range [][]string{{"bake"}, {"images", "verify", "hello", "--content"}} {
		if out := d.Run(command...); out.Code != 0 {
			t.Errorf("release %s: exit code %d\n%s", strings.Join(command, " "), out.Code, out.Stderr)
		}
	}
}

// beforeLaunch is an up that is asked for on a full disk.
func (d *disk) beforeLaunch(t *testing.T, image string) {
	d.fill(t)
	out := d.Run("up", image, "--timeout", "30s")
	d.empty(t)
	if out.Code != 1 && out.Code != 3 || !strings.Contains(out.Stderr, "no space left") {
		t.Errorf("up on a full disk: exit code %d\n%s", out.Code, out.Stderr)
	}
	d.settled(t)
	d.serves("r1")
}

// launch runs out of space while it is under way: it is over, or it waits, and users are where they were.
func (d *disk) launch(t *testing.T, image string) {
	done := d.begin(t, "before_launch", image)
	d.fill(t)
	d.let(t)
	out, over := d.soon(done)
	d.empty(t)
	if !over {
		out = <-done
	}
	switch {
	case out.Code == 3 && strings.Contains(out.Stderr, "no space left"): // no room for nodes
		d.settled(t)
		d.serves("r1")
	case out.Code == 0 && !over: // it waited to write
		d.asks(0, "rollback", "--to", "r1")
	default:
		t.Errorf("a launch that ran out of space: exit code %d, over %t\n%s", out.Code, over, out.Stderr)
	}
}

// cutover runs out of space at 50 %. What can be written is, and with space again it goes on to its end.
func (d *disk) cutover(t *testing.T, image string) {
	done := d.begin(t, "after_step", image)
	d.fill(t)
	d.let(t)
	out, over := d.soon(done)
	d.empty(t)
	if !over {
		out = <-done
	}
	says(t, out, 0)
	d.settled(t)
	if st := d.status(); st.Fleets[len(st.Fleets)-1].Percent != 100 {
		t.Errorf("the new release has not all the traffic: %+v", st.Routes)
	}
}

// aborted is the way back from 50 % on a disk that stays full.
func (d *disk) aborted(t *testing.T, image string) {
	d.Run("agent", "stop") // the next one has a reserve again
	before := d.status().Routes[0].Weights
	done := d.begin(t, "after_step", image)
	d.fill(t)
	says(t, d.Run("abort", "--timeout", "60s"), 0)
	if out := <-done; out.Code != 3 {
		t.Errorf("the up that was aborted: exit code %d\n%s", out.Code, out.Stderr)
	}
	for _, w := range d.status().Routes[0].Weights {
		if w.Percent > 0 && w.Release != before[0].Release {
			t.Errorf("%s has %d %%, before it was %+v", w.Release, w.Percent, before)
		}
	}
	d.empty(t)
}

// begin starts an up that is held by a hook at a point, and returns when it is there.
func (d *disk) begin(t *testing.T, point, image string) (done <-chan harness.Output) {
	t.Helper()
	for _, name := range []string{"reached", "go"} {
		_ = os.Remove(filepath.Join(d.gates, name))
	}
	d.Write("release.yaml", fmt.Sprintf(gated, d.Listen, point, d.gates))
	ended := make(chan harness.Output, 1)
	go func() {
		cmd := exec.Command(d.Binary, "up", image, "--timeout", "2m")
		cmd.Dir, cmd.Env = d.Project, d.Env
		out, _ := cmd.CombinedOutput()
		ended <- harness.Output{Stderr: string(out), Code: cmd.ProcessState.ExitCode()}
	}()
	d.Until("the hook to be reached", time.Minute, func() bool {
		_, err := os.Stat(filepath.Join(d.gates, "reached"))
		return err == nil
	})
	return ended
}

// let lets the hook go on.
func (d *disk) let(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.gates, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// soon gives the end of a command that does not wait for space.
func (d *disk) soon(done <-chan harness.Output) (out harness.Output, over bool) {
	select {
	case out = <-done:
		return out, true
	case <-time.After(3 * time.Second):
		return out, false
	}
}

// settled waits until nothing is under way.
func (d *disk) settled(t *testing.T) {
	t.Helper()
	d.Until("nothing to be under way", time.Minute, func() bool { return d.status().Operation == nil })
}

// fill takes all that is free of the disk.
func (d *disk) fill(t *testing.T) {
	t.Helper()
	d.filled = harness.FillDisk(t, d.path)
}

// empty gives the space back.
func (d *disk) empty(t *testing.T) {
	t.Helper()
	if err := os.Remove(d.filled); err != nil {
		t.Fatal(err)
	}
}

func says(t *testing.T, out harness.Output, code int, words ...string) {
	t.Helper()
	if out.Code != code {
		t.Errorf("exit code %d, want %d\n%s%s", out.Code, code, out.Stdout, out.Stderr)
	}
	for _, w := range words {
		if !strings.Contains(out.Stderr, w) {
			t.Errorf("says nothing of %q:\n%s", w, out.Stderr)
		}
	}
}
