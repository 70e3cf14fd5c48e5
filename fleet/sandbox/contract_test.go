package sandbox

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/fleet/local"
	"github.com/bootandshoot/release/internal/usertest"
	"github.com/bootandshoot/release/sandbox"
)

func contract(t *testing.T, opts Options, firstSlot int) {
	w := newWorld(t, opts)
	fleettest.Run(t, fleettest.Harness{
		New:          func(t *testing.T) fleet.Driver { return w.driver(t, "") },
		Other:        func(t *testing.T) fleet.Driver { return w.driver(t, "another") },
		Keeping:      w.keeping,
		Installation: w.driver(t, "").opts.Installation,
		Image:        w.digest,
		FirstSlot:    firstSlot,
		KillPID:      true,
		MemoryLimits: sandbox.Probe(t.Context()).CgroupMemory,
	})
}

// On the machine's network: what ordinary users have, and root may choose.
func TestContractOnSharedNetwork(t *testing.T) {
	contract(t, Options{SharedNetwork: true, Ports: local.Ports{First: 23_000, Count: 500}}, 0)
}

func TestContractOnOwnNetwork(t *testing.T) {
	requireRoot(t)
	contract(t, Options{}, 0)
}

func requireRoot(t *testing.T) {
	t.Helper()
	if sandbox.CanConfigureNetwork() {
		return
	}
	if os.Getenv("CI") != "" && os.Getenv(enterVar) == "" {
		t.Fatal("this test needs root of the machine: run the tests as root")
	}
	t.Skip("only the machine's root can give nodes a network of their own")
}

// The whole contract again as an ordinary user with a range of ids.
func TestContractAsOrdinaryUser(t *testing.T) {
	requireRoot(t)
	u := usertest.Need(t)
	dir := u.Dir(t)
	cmd := exec.Command(usertest.Self(t, dir), "-test.run", "SharedNetwork|Port", "-test.timeout", "150s")
	node := takeNode(t, dir)
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + dir, "TMPDIR=" + dir, "PATH=" + os.Getenv("PATH"), enterVar + "=1", nodeVar + "=" + node}
	u.Become(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// takeNode copies the program of nodes into a folder.
func takeNode(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile(os.Getenv(nodeVar))
	check(t, err)
	path := filepath.Join(dir, "testnode")
	check(t, os.WriteFile(path, data, 0o755))
	return path
}
