package sandbox

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/usertest"
)

const lifeVar = "DRIVER_TEST_LIFE"

// The agent is killed and another one takes its nodes over. For an ordinary user that other one sits in another user
// namespace, from which it has no power over the nodes but what their inits give it.
func TestNodesOutliveTheAgent(t *testing.T) {
	switch os.Getenv(lifeVar) {
	case "first":
		firstLife(t)
	case "second":
		secondLife(t)
	case "":
		t.Run("root", func(t *testing.T) { lives(t, t.TempDir(), nil) })
		t.Run("ordinary user", func(t *testing.T) {
			requireRoot(t)
			u := usertest.Need(t)
			lives(t, u.Dir(t), u.Credential())
		})
	}
}

func lives(t *testing.T, dir string, as *syscall.Credential) {
	self, node := usertest.Self(t, dir), takeNode(t, dir)
	for _, life := range []string{"first", "second"} {
		cmd := exec.Command(self, "-test.run", "^TestNodesOutliveTheAgent$")
		cmd.Dir = dir
		cmd.Env = []string{"HOME=" + dir, "TMPDIR=" + dir, "PATH=" + os.Getenv("PATH"), enterVar + "=1",
			nodeVar + "=" + node, lifeVar + "=" + life}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
		out, err := cmd.CombinedOutput()
		killed := err != nil && (strings.Contains(err.Error(), "killed") || strings.Contains(err.Error(), "137"))
		if life == "first" && !killed || life == "second" && err != nil {
			t.Fatalf("%s: %v\n%s", life, err, out)
		}
	}
}

// lifeWorld is the same in both lives.
func lifeWorld(t *testing.T) (*world, *Driver, fleet.Spec) {
	w := &world{t: t, dir: "state", opts: sharedPorts(24_700)}
	check(t, os.MkdirAll(w.dir, 0o700))
	dir, err := filepath.Abs(w.dir)
	check(t, err)
	w.dir = dir
	w.openStore()
	w.digest = w.bake()
	d := w.driver(t, "")
	return w, d, w.spec(t, d, 1, 0)
}

func firstLife(t *testing.T) {
	_, d, spec := lifeWorld(t)
	nodes, err := d.Ensure(t.Context(), spec)
	check(t, err)
	eventually(t, "it answers", func() bool { return asked(nodes[0]) })
	check(t, os.WriteFile("pid", []byte(strconv.Itoa(nodes[0].PID)), 0o600))
	check(t, unix.Kill(os.Getpid(), unix.SIGKILL))
}

func secondLife(t *testing.T) {
	_, d, spec := lifeWorld(t)
	nodes, err := d.Ensure(t.Context(), spec)
	check(t, err)
	pid, err := os.ReadFile("pid")
	check(t, err)
	if len(nodes) != 1 || nodes[0].Presence != fleet.Present || strconv.Itoa(nodes[0].PID) != string(pid) || !asked(nodes[0]) {
		t.Fatalf("found %+v, want the node with PID %s", nodes, pid)
	}
	var out bytes.Buffer
	code, err := d.Exec(t.Context(), nodes[0].ID, fleet.ExecSpec{Command: []string{"/testnode", "echo", "alive"}, Stdout: &out})
	if err != nil || code != 0 || out.String() != "alive\n" {
		t.Errorf("exec: %d, %v, %q", code, err, out.String())
	}
	hints, err := d.Watch(t.Context())
	check(t, err)
	start := time.Now()
	check(t, d.Remove(t.Context(), nodes[0].ID, 20*time.Second))
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("remove took %s: the node did not hear the signal", took)
	}
	<-hints
	if asked(nodes[0]) {
		t.Error("it still answers")
	}
}
