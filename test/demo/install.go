package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/bootandshoot/release/api"
)

// nodes is the size of the demo's fleets.
const nodes = 3

// installation is an agent's world in folders of its own.
type installation struct {
	driver  string
	root    string // of the repository
	binary  string
	dir     string // holds everything
	project string
	listen  string
}

func newInstallation(driver string) (*installation, error) {
	if driver != "sandbox" && driver != "docker" {
		return nil, fmt.Errorf("DRIVER=%s: sandbox or docker", driver)
	}
	_, file, _, _ := runtime.Caller(0)
	root := filepath.Dir(filepath.Dir(filepath.Dir(file)))
	in := &installation{driver: driver, root: root, binary: filepath.Join(root, "bin", "release")}
	if _, err := os.Stat(in.binary); err != nil {
		return nil, fmt.Errorf("%w: make build makes it", err)
	}
	listen, err := freeAddress()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "release-demo-")
	if err != nil {
		return nil, err
	}
	in.dir, in.project, in.listen = dir, filepath.Join(dir, "hello"), listen
	return in, in.writeProject()
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// writeProject copies the example's recipe and writes a release.yaml with the driver and address of the demo.
func (in *installation) writeProject() error {
	recipe, err := os.ReadFile(filepath.Join(in.root, "examples/hello/recipe.yaml"))
	if err != nil {
		return err
	}
	release := fmt.Sprintf(`app: hello
recipe: recipe.yaml
fleet: {driver: %s, size: %d, stop: {grace: 5s}}
health: {http: {path: /healthz, port: 8080}}
route: {listen: "%s"}
cutover: {keep_previous: 10m, drain: {timeout: 5s}}
`, in.driver, nodes, in.listen)
	if err := os.MkdirAll(in.project, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(in.project, "recipe.yaml"), recipe, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(in.project, "release.yaml"), []byte(release), 0o644)
}

// buildHello builds the service in a version.
func (in *installation) buildHello(ctx context.Context, version string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(in.root, "examples/hello/build"), version, filepath.Join(in.project, "bin/hello"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build hello %s: %w\n%s", version, err, out)
	}
	return nil
}

// run runs a verb with --json and decodes its result.
func (in *installation) run(ctx context.Context, result any, args ...string) error {
	cmd := exec.CommandContext(ctx, in.binary, append(args, "--json")...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Dir = in.project
	cmd.Env = append(os.Environ(), "RELEASE_STATE_DIR="+filepath.Join(in.dir, "s"), "RELEASE_IMAGES_DIR="+filepath.Join(in.dir, "i"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("release %s: %w", strings.Join(args, " "), err)
	}
	if err != nil {
		return fmt.Errorf("release %s: exit code %d: %s", strings.Join(args, " "), exit.ExitCode(), strings.TrimSpace(stderr.String()))
	}
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), result); err != nil {
		return fmt.Errorf("release %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// end shoots the nodes, ends agent and router, and removes the folders.
func (in *installation) end() {
	ctx := context.Background()
	var ignored map[string]any
	var a api.AgentResult
	if err := in.run(ctx, &a, "agent", "status"); err == nil && a.Running {
		if err := in.run(ctx, &ignored, "destroy", "-y"); err != nil {
			fmt.Fprintln(os.Stderr, "demo: clean up:", err)
		}
	}
	for _, what := range []string{"agent", "router"} {
		if err := in.run(ctx, &ignored, what, "stop"); err != nil {
			fmt.Fprintln(os.Stderr, "demo: clean up:", err)
		}
	}
	if err := os.RemoveAll(in.dir); err != nil {
		fmt.Fprintln(os.Stderr, "demo: clean up:", err)
	}
}
