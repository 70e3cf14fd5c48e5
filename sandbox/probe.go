package sandbox

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/removal"
	"github.com/bootandshoot/release/sandbox/internal/guest"
)

// Problem is something that keeps sandboxes from working, or from working fully.
type Problem struct {
	What string // what does not work
	Why  string
	Hint string // what to type or to read
}

// Support is what this machine lets this process do.
type Support struct {
	Rootless       bool // an ordinary user's process
	FullRange      bool // 65,536 ids are at hand, or will be in EnterUserNamespace
	UserNamespaces bool // a sandbox can be made at all
	Overlay        bool // … and have its root
	NetNamespaces  bool // nodes can have a network of their own with a way out
	CgroupMemory   bool
	CgroupCPU      bool
	CgroupPids     bool
	Problems       []Problem
}

// Probe tries out what this machine lets this process do, by running a sandbox.
func Probe(ctx context.Context) Support {
	s := Support{Rootless: HostUID() != 0}
	s.probeRange()
	s.probeSandbox(ctx)
	s.NetNamespaces = CanConfigureNetwork()
	s.probeCgroups()
	return s
}

func (s *Support) problem(what, why, hint string) {
	s.Problems = append(s.Problems, Problem{what, why, hint})
}

// probeRange finds out whether all ids are at hand or can be.
func (s *Support) probeRange() {
	if os.Geteuid() == 0 {
		s.FullRange = guest.AvailableIDs("/proc/self/uid_map") >= guest.FullRange
		if !s.FullRange {
			s.problem("owners other than your own", "this user namespace has one id only", IDsHint())
		}
		return
	}
	name, uid := accountName(), os.Getuid()
	tools := true
	for _, tool := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(tool); err != nil {
			tools = false
		}
	}
	ranged := mapping(subordinate("/etc/subuid", name, uid)) != nil && mapping(subordinate("/etc/subgid", name, uid)) != nil
	switch {
	case !tools:
		s.problem("owners other than your own", "newuidmap and newgidmap are missing", "apt-get install uidmap")
	case !ranged:
		s.problem("owners other than your own", "no range of 65,536 ids for "+name+" in /etc/subuid and /etc/subgid", "as root: "+giveRange(name))
	}
	s.FullRange = tools && ranged
}

// probeSandbox runs this program's init on an empty root; that its command is not found is the proof that all before
// works.
func (s *Support) probeSandbox(ctx context.Context) {
	dir, err := os.MkdirTemp("", "release-probe-*")
	if err != nil {
		s.problem("sandboxes", err.Error(), "set TMPDIR to a folder that can be written")
		return
	}
	defer func() { _ = removal.Tree(dir) }() // it lies in the folder of temporary files
	for _, d := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			s.problem("sandboxes", err.Error(), "")
			return
		}
	}
	root := Root{Lower: []string{dir + "/lower"}, Upper: dir + "/upper", Work: dir + "/work"}
	_, err = Run(ctx, Spec{Root: root, Command: []string{"/probe"}})
	if err == nil {
		s.UserNamespaces, s.Overlay = true, true
		return
	}
	e := fault.All(err)[0]
	s.UserNamespaces = !strings.Contains(e.Message, "clone into")
	hint := e.Hint
	if !s.UserNamespaces {
		hint = namespaceHint()
	}
	s.problem("sandboxes", e.Message, hint)
}

// namespaceSettings are the switches by which distributions keep user namespaces from ordinary users.
var namespaceSettings = [...]struct{ file, bad, hint string }{
	{"/proc/sys/kernel/unprivileged_userns_clone", "0", "as root: sysctl -w kernel.unprivileged_userns_clone=1"},
	{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1",
		"as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give the release program an AppArmor profile with `userns,`"},
	{"/proc/sys/user/max_user_namespaces", "0", "as root: sysctl -w user.max_user_namespaces=15000"},
}

func namespaceHint() string {
	for _, n := range namespaceSettings {
		if data, err := os.ReadFile(n.file); err == nil && strings.TrimSpace(string(data)) == n.bad {
			return n.hint
		}
	}
	return "inside a container, start it with --privileged, or run release outside of it"
}

// CanConfigureNetwork says whether this process may make bridges and links in the network that it is in: root of the
// machine, not of a user namespace.
func CanConfigureNetwork() bool {
	if HostUID() != 0 || os.Geteuid() != 0 {
		return false
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0 && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// probeCgroups looks where limits can be set.
func (s *Support) probeCgroups() {
	can := map[string]bool{}
	for _, h := range hierarchies() {
		for _, name := range h.available() {
			for _, place := range h.candidates() {
				can[name] = can[name] || writableGroup(filepath.Dir(place))
			}
		}
	}
	s.CgroupMemory, s.CgroupCPU, s.CgroupPids = can["memory"], can["cpu"], can["pids"]
	var missing []string
	for _, name := range []string{"memory", "cpu", "pids"} {
		if !can[name] {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	if len(missing) == 0 {
		return
	}
	hint := "mount the cgroup tree writable: mount -t cgroup2 none /sys/fs/cgroup"
	if s.Rootless {
		hint = "let systemd delegate them: `systemctl edit user@.service` with [Service] Delegate=cpu memory pids, then log in again"
	}
	s.problem("limits of "+strings.Join(missing, ", "), "the cgroup tree cannot be written: resources of nodes are not limited", hint)
}

// String is a line for logs.
func (s Support) String() string {
	return fmt.Sprintf("rootless=%t ids=%t namespaces=%t overlay=%t network=%t memory=%t cpu=%t pids=%t",
		s.Rootless, s.FullRange, s.UserNamespaces, s.Overlay, s.NetNamespaces, s.CgroupMemory, s.CgroupCPU, s.CgroupPids)
}
