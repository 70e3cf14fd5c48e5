package sandbox

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/bootandshoot/release/internal/usertest"
	"github.com/bootandshoot/release/sandbox/internal/guest"
)

const enterVar = "SANDBOX_TEST_ENTER"

func TestMain(m *testing.M) {
	Main()
	if port := os.Getenv(serveVar); port != "" {
		os.Exit(serve(port))
	}
	if os.Getenv(enterVar) != "" {
		entered, code, err := EnterUserNamespace(nil)
		if err != nil {
			println(err.Error())
			os.Exit(99)
		}
		if entered {
			os.Exit(code)
		}
	}
	os.Exit(m.Run())
}

// asOrdinaryUser runs tests of this binary again as an ordinary user, in the user namespace that
// EnterUserNamespace makes.
func asOrdinaryUser(t *testing.T, run string, env ...string) (string, error) {
	t.Helper()
	if os.Geteuid() != 0 || HostUID() != 0 {
		t.Skip("only root can become another user; the tests themselves run as an ordinary user here")
	}
	u := usertest.Need(t)
	dir := u.Dir(t)
	cmd := exec.Command(usertest.Self(t, dir), "-test.run", run, "-test.timeout", "100s")
	cmd.Dir = dir
	cmd.Env = append([]string{"HOME=" + dir, "TMPDIR=" + dir, "PATH=" + os.Getenv("PATH"), enterVar + "=1"}, env...)
	u.Become(cmd)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestAllAgainAsOrdinaryUser(t *testing.T) {
	out, err := asOrdinaryUser(t, "Command|Users|Dial|Upper|Fixed|Detached|Exec|Signal|Mounts|Probe|InsideUserNamespace")
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestInsideUserNamespace is what the others rely on; as root it says nothing.
func TestInsideUserNamespace(t *testing.T) {
	if os.Getenv(enterVar) == "" {
		t.Skip("is run by TestAllAgainAsOrdinaryUser")
	}
	if os.Geteuid() != 0 || HostUID() == 0 || guest.AvailableIDs("/proc/self/uid_map") < guest.FullRange {
		t.Errorf("uid %d, outside %d, ids %d", os.Geteuid(), HostUID(), guest.AvailableIDs("/proc/self/uid_map"))
	}
	if _, ok := os.LookupEnv(aliveVar); ok {
		t.Errorf("%s is still set", aliveVar)
	}
	check(t, os.WriteFile("chowned", nil, 0o600))
	check(t, os.Chown("chowned", 33, 33))
	if s := Probe(t.Context()); !s.Rootless || !s.FullRange || s.NetNamespaces {
		t.Errorf("probe: %+v", s)
	}
}

func TestExitCodeComesThroughTheUserNamespace(t *testing.T) {
	if os.Getenv(enterVar) == "fail" {
		os.Exit(42)
	}
	out, err := asOrdinaryUser(t, "^"+t.Name()+"$", enterVar+"=fail")
	if err == nil || !strings.Contains(err.Error(), "42") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestMapping(t *testing.T) {
	for _, c := range []struct {
		text string
		want []guest.Range
	}{
		{"joe:100000:65536\n", []guest.Range{{Start: 100000, Count: 65535, Inside: 1}}},
		{"ann:5:5\n1001:100000:70000\n", []guest.Range{{Start: 100000, Count: 65535, Inside: 1}}},
		{"joe:100000:1000\njoe:200000:65536\n", []guest.Range{{Start: 100000, Count: 1000, Inside: 1}, {Start: 200000, Count: 64535, Inside: 1001}}},
		{"joe:100000:1000\n", nil},
		{"ann:100000:65536\n", nil},
		{"joe:x:65536\njoe:1\n\n", nil},
		{"", nil},
	} {
		got := mapping(parseRanges(c.text, "joe", 1001))
		if len(got) != len(c.want) {
			t.Errorf("%q: %v, want %v", c.text, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%q: %v, want %v", c.text, got, c.want)
			}
		}
	}
}

// TestFreeRange proposes no id that another account has.
func TestFreeRange(t *testing.T) {
	for _, c := range []struct {
		uids, gids string
		want       int
	}{
		{"", "", 100000},
		{"ann:100000:65536\n", "ann:100000:65536\n", 165536},
		{"ann:100000:65536\n1002:165536:65536\n", "", 231072},
		{"late:165536:65536\nann:100000:65536\n", "bob:231072:65536\n", 296608},
		{"ann:100000:65536\nfar:231072:65536\n", "", 165536},
		{"ann:100000:65536\nnear:231071:1\n", "", 231072},
		{"low:1000:10\nrubbish\nx:y:z\nbig:50000:60000\n", "", 110000},
	} {
		if got := freeRange(c.uids, c.gids); got != c.want {
			t.Errorf("%q, %q: %d, want %d", c.uids, c.gids, got, c.want)
		}
	}
}

func TestParseHierarchies(t *testing.T) {
	v2 := parseHierarchies("30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n", "0::/user.slice/a.service\n")
	if len(v2) != 1 || !v2[0].v2 || v2[0].own != "/user.slice/a.service" {
		t.Errorf("version 2: %+v", v2)
	}
	if got := strings.Join(v2[0].candidates(), " "); got != "/sys/fs/cgroup/release /sys/fs/cgroup/user.slice/release /sys/fs/cgroup/user.slice/a.service/release" {
		t.Errorf("candidates: %s", got)
	}
	v1 := parseHierarchies("1 1 0:3 / /cg/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n1 1 0:4 / /cg/systemd rw - cgroup cgroup rw,name=systemd\n"+
		"1 1 0:5 /docker/x /cg/memory rw - cgroup cgroup rw,memory\nrubbish\n", "3:cpu,cpuacct:/x\n1:name=systemd:/y\n")
	if len(v1) != 2 || v1[0].own != "/x" || v1[1].own != "/y" || !v1[1].tracks() || v1[0].tracks() {
		t.Errorf("version 1: %+v", v1)
	}
	if got := v1[0].settings(Limits{CPUs: 0.25, Memory: 1}); len(got) != 2 || got[1].value != "25000" {
		t.Errorf("settings: %+v", got)
	}
}
