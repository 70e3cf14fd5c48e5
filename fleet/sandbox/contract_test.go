package sandbox

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/sandbox"
)

func contract(t *testing.T, opts Options, firstSlot int) {
	w := newWorld(t, opts)
	fleettest.Run(t, fleettest.Harness{
		New:          func(t *testing.T) fleet.Driver { return w.driver(t, "") },
		Other:        func(t *testing.T) fleet.Driver { return w.driver(t, "another") },
		Installation: w.driver(t, "").opts.Installation,
		Image:        w.digest,
		FirstSlot:    firstSlot,
		KillPID:      true,
		MemoryLimits: sandbox.Probe(t.Context()).CgroupMemory,
	})
}

// On the machine's network: what ordinary users have, and root may choose.
func TestContractOnSharedNetwork(t *testing.T) {
	contract(t, Options{SharedNetwork: true, PortBase: 23_000, PortCount: 500}, 0)
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

// The whole contract again as the ordinary user releasetest with a range of ids.
func TestContractAsOrdinaryUser(t *testing.T) {
	requireRoot(t)
	u, err := user.Lookup("releasetest")
	if err != nil {
		t.Fatal("this test needs an ordinary user with a range of ids: apt-get install uidmap && useradd -m releasetest")
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	dir, err := os.MkdirTemp(u.HomeDir, "driver-*")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	check(t, os.Chown(dir, uid, gid))
	for from, to := range map[string]string{"/proc/self/exe": "test", os.Getenv(nodeVar): "testnode"} {
		data, err := os.ReadFile(from)
		check(t, err)
		check(t, os.WriteFile(filepath.Join(dir, to), data, 0o755))
	}
	cmd := exec.Command(filepath.Join(dir, "test"), "-test.run", "SharedNetwork|Port", "-test.timeout", "150s")
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + dir, "TMPDIR=" + dir, "PATH=" + os.Getenv("PATH"), enterVar + "=1", nodeVar + "=" + filepath.Join(dir, "testnode")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
