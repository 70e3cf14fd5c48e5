// Package harness runs the built binary as its users do: an installation with folders of its own, a hello service to
// deploy, and an end that leaves nothing behind. It is for black-box tests and benchmarks.
package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
)

// Root is the repository's folder.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// builder builds the binary once for each test process. The go command's own cache makes the second one quick.
type builder struct {
	tags string
	once sync.Once
	path string
	err  error
}

func (b *builder) binary() (string, error) {
	b.once.Do(func() {
		dir, err := os.MkdirTemp("", "release-bin-")
		if err != nil {
			b.err = err
			return
		}
		if b.err = os.Chmod(dir, 0o755); b.err != nil {
			return
		}
		b.path = filepath.Join(dir, "release")
		cmd := exec.Command("go", "build", "-trimpath", "-tags", b.tags, "-o", b.path, "./cmd/release")
		cmd.Dir, cmd.Env = Root(), append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			b.err = fmt.Errorf("build release: %w\n%s", err, out)
		}
	})
	return b.path, b.err
}

// Suite is what the tests of one package share: the binary. Main makes it, or NewSuite for tests with a TestMain of their own.
type Suite struct{ builder *builder }

// NewSuite returns a suite that builds the binary at its first use, with these build tags.
func NewSuite(tags ...string) *Suite { return &Suite{builder: &builder{tags: strings.Join(tags, ",")}} }

// Close removes the binary.
func (s *Suite) Close() {
	if s.builder.path != "" {
		_ = os.RemoveAll(filepath.Dir(s.builder.path))
	}
}

// Installation is one agent's world in folders of its own, and a project to deploy with it.
type Installation struct {
	t       testing.TB
	Binary  string
	Dir     string // holds state, images and the project
	Project string // working folder of the commands: hello, copied
	Listen  string // address of the route
	Env     []string
}

// Main runs the tests of a package and keeps their suite. TestMain ends with it.
func Main(m *testing.M, suite **Suite, tags ...string) {
	*suite = NewSuite(tags...)
	code := m.Run()
	(*suite).Close()
	os.Exit(code)
}

// New makes an installation with the hello project. At the end of the test all nodes, the agent and the router are ended,
// and the test fails if they do not go.
func (s *Suite) New(t testing.TB, driver string) *Installation {
	t.Helper()
	bin, err := s.builder.binary()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "rel-") // short: socket paths are bounded
	if err != nil {
		t.Fatal(err)
	}
	in := &Installation{t: t, Binary: bin, Dir: dir, Project: filepath.Join(dir, "hello"), Listen: FreeAddress(t)}
	in.Env = append(os.Environ(), "RELEASE_STATE_DIR="+filepath.Join(dir, "s"), "RELEASE_IMAGES_DIR="+filepath.Join(dir, "i"), "NO_COLOR=1")
	t.Cleanup(in.end)
	in.WriteProject(driver, 3, "")
	return in
}

// FreeAddress is a loopback address that nobody listens on now.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// WriteProject writes release.yaml and recipe.yaml of the hello service. More is added to release.yaml as it is.
func (in *Installation) WriteProject(driver string, size int, more string) {
	in.t.Helper()
	release := fmt.Sprintf(`app: hello
recipe: recipe.yaml
fleet: {driver: %s, size: %d, stop: {grace: 5s}}
health: {http: {path: /healthz, port: 8080}}
route: {listen: "%s"}
%s`, driver, size, in.Listen, more)
	in.Write("release.yaml", release)
	in.Write("recipe.yaml", "name: hello\nbase: scratch\ncopy: [{from: ./bin/hello, to: /hello}]\nports: [8080]\nentrypoint: [/hello]\n")
}

// Write writes a file of the project.
func (in *Installation) Write(name, content string) {
	in.t.Helper()
	path := filepath.Join(in.Project, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		in.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		in.t.Fatal(err)
	}
}

// Read is a file of the project.
func (in *Installation) Read(name string) string {
	in.t.Helper()
	content, err := os.ReadFile(filepath.Join(in.Project, name))
	if err != nil {
		in.t.Fatal(err)
	}
	return string(content)
}

// BuildHello builds the service's binary in that version into the project.
func (in *Installation) BuildHello(version string) {
	in.t.Helper()
	cmd := exec.Command(filepath.Join(Root(), "examples/hello/build"), version, filepath.Join(in.Project, "bin/hello"))
	if out, err := cmd.CombinedOutput(); err != nil {
		in.t.Fatalf("build hello: %v\n%s", err, out)
	}
}

// Output is what a command left.
type Output struct {
	Stdout, Stderr string
	Code           int
	Took           time.Duration
}

// Run runs a command in the project's folder. Only a command that cannot be started fails the test.
func (in *Installation) Run(args ...string) Output {
	in.t.Helper()
	cmd := exec.Command(in.Binary, args...)
	cmd.Dir, cmd.Env = in.Project, in.Env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		in.t.Errorf("run release %s: %v", strings.Join(args, " "), err)
	}
	return Output{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode(), Took: time.Since(began)}
}

// Must runs a command that has to succeed.
func (in *Installation) Must(args ...string) Output {
	in.t.Helper()
	out := in.Run(args...)
	if out.Code != 0 {
		in.t.Fatalf("release %s: exit code %d\n%s\n%s", strings.Join(args, " "), out.Code, out.Stdout, out.Stderr)
	}
	return out
}

// JSON runs a command with --json and decodes the result, the last line. The exit code is returned.
func (in *Installation) JSON(result any, args ...string) int {
	in.t.Helper()
	out := in.Run(append(args, "--json")...)
	lines := strings.Split(strings.TrimSpace(out.Stdout), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), result); err != nil {
		in.t.Fatalf("release %s: %v in:\n%s\n%s", strings.Join(args, " "), err, out.Stdout, out.Stderr)
	}
	return out.Code
}

// Bake bakes a version of hello and returns the image's digest.
func (in *Installation) Bake(version string) string {
	in.t.Helper()
	in.BuildHello(version)
	var res api.BakeResult
	if code := in.JSON(&res, "bake"); code != 0 {
		in.t.Fatalf("bake %s: exit code %d: %+v", version, code, res.Error)
	}
	return res.Image
}

// Operate runs a verb that is an operation and must succeed.
func (in *Installation) Operate(args ...string) api.OperationResult {
	in.t.Helper()
	var res api.OperationResult
	if code := in.JSON(&res, args...); code != 0 {
		in.t.Fatalf("release %s: exit code %d: %+v", strings.Join(args, " "), code, res.Error)
	}
	return res
}

// Status is release status.
func (in *Installation) Status() api.StatusResult {
	in.t.Helper()
	var res api.StatusResult
	if code := in.JSON(&res, "status"); code != 0 {
		in.t.Fatalf("status: exit code %d: %+v", code, res.Error)
	}
	return res
}

// Serving are the healthy nodes of fleets that take traffic.
func Serving(s api.StatusResult) (nodes []api.Node) {
	for _, fl := range s.Fleets {
		if fl.State != "serving" {
			continue
		}
		for _, n := range fl.Nodes {
			if n.State == "healthy" {
				nodes = append(nodes, n)
			}
		}
	}
	return nodes
}

// Agent is release agent status.
func (in *Installation) Agent() api.AgentResult {
	in.t.Helper()
	var res api.AgentResult
	in.JSON(&res, "agent", "status")
	return res
}

// Until polls a condition until it holds or the time is over.
func (in *Installation) Until(what string, within time.Duration, ok func() bool) {
	in.t.Helper()
	for deadline := time.Now().Add(within); !ok(); {
		if time.Now().After(deadline) {
			in.t.Fatalf("waited %s for %s\n%s", within, what, in.Run("status").Stdout)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// end ends everything that the installation started.
func (in *Installation) end() {
	if in.t.Failed() {
		if log, err := os.ReadFile(filepath.Join(in.Dir, "s/agent.log")); err == nil {
			lines := strings.Split(string(log), "\n")
			in.t.Logf("the agent's log ends with:\n%s", strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
	}
	if a := in.Agent(); a.Running && a.Role != api.RoleStandby {
		if out := in.Run("destroy", "-y", "--timeout", "3m"); out.Code != 0 {
			in.t.Errorf("destroy: exit code %d\n%s", out.Code, out.Stderr)
		}
	}
	in.Run("agent", "stop")
	in.Run("router", "stop")
	if err := os.RemoveAll(in.Dir); err != nil {
		in.t.Errorf("clean up: %v", err)
	}
}
