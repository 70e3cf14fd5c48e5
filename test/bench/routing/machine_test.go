package routing

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/test/harness"
)

const (
	machineRecipe = `name: bench
base: scratch
copy: [{from: ./bin/hello, to: /hello}, {from: ./bin/bench, to: /bench}]
ports: [8080]
entrypoint: [/hello]
`
	machineProject = `app: bench
recipe: recipe.yaml
fleet: {driver: qemu, size: 1, resources: {cpus: 2, memory: 4GiB}, env: {RELEASE_BENCH: "1"}}
health: {http: {path: /healthz, port: 8080}}
route: {listen: "LISTEN"}
`
)

// TestMemoryInAMachine runs TestMemory as root of a machine of its own, in QEMU, where as many files may be open as are asked for. It is
// a measurement like TestRouting.
func TestMemoryInAMachine(t *testing.T) {
	if os.Getenv("RELEASE_BENCH") == "" {
		t.Skip("a measurement: set RELEASE_BENCH=1")
	}
	suite := harness.NewSuite()
	t.Cleanup(suite.Close) // after the installation has ended
	in := suite.New(t, "qemu")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-trimpath", "-o", filepath.Join(in.Project, "bin/bench"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the test: %v\n%s", err, out)
	}
	in.Write("recipe.yaml", machineRecipe)
	in.Write("release.yaml", strings.Replace(machineProject, "LISTEN", in.Listen, 1))
	in.Bake("v1")
	in.Operate("up")
	node := harness.Serving(in.Status())[0].ID
	out := in.Run("exec", node, "--", "/bench", "-test.v", "-test.run", "^TestMemory$")
	t.Log(out.Stdout)
	if out.Code != 0 {
		t.Errorf("exit code %d: %s", out.Code, out.Stderr)
	}
	in.Must("destroy", "-y")
}
