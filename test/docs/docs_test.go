package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if os.Getenv(loopbackVar) != "" {
		fmt.Fprintln(os.Stderr, becomeBash())
		os.Exit(1)
	}
	// What documents leave behind becomes our child, so that it can be seen.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestDocuments does what the documents say, each from its top to its end.
func TestDocuments(t *testing.T) {
	release := program(t)
	t.Run("run", func(t *testing.T) {
		for _, d := range documents(t) {
			t.Run(strings.TrimSuffix(filepath.Base(d.name), ".md"), func(t *testing.T) {
				t.Parallel()
				perform(t, release, d)
			})
		}
	})
	for _, p := range leftovers() {
		t.Errorf("a document left a process: %s", p.command)
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
	}
}

// perform runs one document.
func perform(t *testing.T, release string, d document) {
	dir, err := os.MkdirTemp("", "rd") // short: sockets lie below it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeTree(t, dir) })
	work := filepath.Join(dir, "w")
	furnish(t, d, work)
	s := newShell(t, self(t), dir, work, environment(t, release, dir))
	defer s.end(t)
	here := work
	for _, b := range d.blocks {
		switch {
		case b.is("sh", "norun"):
			leaveOut(t, b)
		case b.is("sh"):
			if here, err = s.run(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		case b.is("yaml", "part"):
			checkPart(t, here, b)
		case b.is("yaml"):
			writeFile(t, here, b)
		}
	}
}

// notRun are the lines of blocks marked norun, and why they are not run. Each must be in use.
var notRun = map[string]string{
	"git clone https://github.com/bootandshoot/release": "needs the network and is what the test runs in",
	"cd release":              "goes with git clone",
	"make build":              "the test builds the binary by itself",
	"make demo":               "a stage of its own in .ci/run, with both drivers",
	"make demo DRIVER=docker": "a stage of its own in .ci/run, with both drivers",
	"make test":               "would run this test again",
	"make bench":              "measures for minutes, alone on the machine",
	"sudo systemctl":          "needs systemd as the machine's service manager",
	"systemctl":               "needs systemd as the machine's service manager",
	"journalctl":              "needs systemd as the machine's service manager",
	"sudo":                    "changes the machine",
	"release images push":     "needs a registry; images/push_test.go does the same",
	"release images pull":     "needs a registry; images/push_test.go does the same",
	"release run --contract":  "needs a database; test/story does the same",
	"cosign":                  "needs a registry and cosign; test/supplychain does the same",
	"aws":                     "needs an account of AWS",
	"docker load":             "needs a Docker engine; images/engine_test.go does the same",
}

// leaveOut says which lines are not run, and why.
func leaveOut(t *testing.T, b block) {
	t.Helper()
	for _, l := range b.lines() {
		command := strings.TrimSpace(strings.SplitN(l.text, " #", 2)[0])
		if command == "" || strings.HasPrefix(command, "#") {
			continue
		}
		why := reason(command)
		if why == "" {
			t.Errorf("%s:%d: %q is not run, and the test does not know why", b.source, l.number, command)
			continue
		}
		t.Logf("%s:%d: not run: %s (%s)", b.source, l.number, command, why)
	}
}

// reason finds the longest entry of notRun that a command begins with.
func reason(command string) string {
	best, why := "", ""
	for prefix, text := range notRun {
		if len(prefix) > len(best) && (command == prefix || strings.HasPrefix(command, prefix+" ")) {
			best, why = prefix, text
		}
	}
	return why
}

// program builds the binary, once for all tests of this package.
var program = func() func(t *testing.T) string {
	var once sync.Once
	var path string
	var failed error
	return func(t *testing.T) string {
		t.Helper()
		once.Do(func() { path, failed = build(checkout(t)) })
		if failed != nil {
			t.Fatal(failed)
		}
		return path
	}
}()

func build(root string) (string, error) {
	path := filepath.Join(root, ".cache", "docs-test", "release")
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, "./cmd/release")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build release: %w\n%s", err, out)
	}
	return path, nil
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// environment is what a document sees: folders of its own, no engine, no settings of this machine's user.
func environment(t *testing.T, release, dir string) []string {
	t.Helper()
	env := []string{
		"PATH=" + filepath.Dir(release) + string(os.PathListSeparator) + os.Getenv("PATH"),
		"HOME=" + dir, "USER=" + os.Getenv("USER"), "TMPDIR=" + os.TempDir(), "LC_ALL=C.UTF-8", "TERM=dumb", "NO_COLOR=1",
		"RELEASE_STATE_DIR=" + filepath.Join(dir, "s"), "RELEASE_IMAGES_DIR=" + filepath.Join(dir, "i"),
		"DOCKER_HOST=unix://" + filepath.Join(dir, "no-engine.sock"),
		"CGO_ENABLED=0", "GOTOOLCHAIN=local", "GOPROXY=off",
	}
	out, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE").Output()
	if err != nil {
		t.Fatalf("ask go for its folders: %v", err)
	}
	folders := strings.Fields(string(out))
	return append(env, "GOCACHE="+folders[0], "GOMODCACHE="+folders[1])
}

var inFolder = regexp.MustCompile(`(?m)^<!-- docs: in ([a-z/]+) -->$`)

// furnish makes the document's folder.
func furnish(t *testing.T, d document, work string) {
	t.Helper()
	m := inFolder.FindStringSubmatch(d.text)
	if m == nil {
		if err := os.Mkdir(work, 0o755); err != nil {
			t.Fatal(err)
		}
		return
	}
	root := checkout(t)
	if err := os.CopyFS(filepath.Join(work, m[1]), os.DirFS(filepath.Join(root, m[1]))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(work, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(work, m[1], "bin")); err != nil {
		t.Fatal(err)
	}
}

// removeTree removes a folder in which unpacked images may have folders without write permission.
func removeTree(t *testing.T, dir string) {
	t.Helper()
	_ = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	if err := os.RemoveAll(dir); err != nil {
		t.Errorf("remove %s: %v", dir, err)
	}
}

type process struct {
	pid     int
	command string
}

// leftovers are the children of this process, once those that have ended are reaped. Some may just be ending.
func leftovers() []process {
	deadline := time.Now().Add(5 * time.Second)
	for {
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
		list := children()
		if len(list) == 0 || time.Now().After(deadline) {
			return list
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func children() []process {
	var list []process
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		f := strings.Fields(rest)
		if len(f) < 2 || f[1] != strconv.Itoa(os.Getpid()) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		command, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		list = append(list, process{pid, strings.ReplaceAll(string(command), "\x00", " ")})
	}
	return list
}
