package install

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bootandshoot/release/debian/archive/archivetest"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/usertest"
	"github.com/bootandshoot/release/sandbox"
)

// onTop are packages with what makes installing hard: users, services, diversions, alternatives, triggers, capabilities,
// keys of a machine, caches.
var onTop = []string{"iputils-ping", "openssh-server", "man-db", "ssl-cert", "systemd-sysv", "dbus", "nginx-light", "python3-minimal",
	"fontconfig", "vim-tiny", "shared-mime-info", "cron"}

// inside is what must be clean in a system, by the tools of the system itself.
const inside = `set -e
test -z "$(dpkg --audit)"
apt-get check -qq
test -z "$(dpkg -l | grep '^[a-z]' | grep -v '^ii')"
dpkg -V
`

func TestInstalledSystem(t *testing.T) {
	s := base(t)
	if out := s.shell(t, s.layers, inside); out != "" {
		t.Errorf("the base: %s", out)
	}
	items := realPackages(t, s.items, onTop...)
	layers, err := s.on(t, items)
	if err != nil {
		t.Fatal(err)
	}
	all := slices.Concat(s.layers, layers)
	if out := s.shell(t, all, inside); out != "" {
		t.Errorf("with packages: %s", out)
	}
	for _, test := range []struct{ what, command, want string }{
		{"file capability", "getcap /usr/bin/ping", "/usr/bin/ping cap_net_raw=ep\n"},
		{"service user", "getent passwd sshd | cut -d: -f1", "sshd\n"},
		{"no key of a machine", "ls /etc/ssh/ssh_host_* /etc/ssl/private/ssl-cert-snakeoil.key 2>/dev/null; true", ""},
		{"machine id", "stat -c %s /etc/machine-id", "0\n"},
		{"no fakes", "ls /usr/sbin/policy-rc.d /run/release-install 2>/dev/null; test -s /usr/sbin/start-stop-daemon && cmp -s /usr/bin/ischroot /usr/sbin/start-stop-daemon || echo fine", "fine\n"},
		{"alternatives", "readlink -f /usr/bin/vi", "/usr/bin/vim.tiny\n"},
		{"logs", "find /var/log -type f -size +0", ""},
		{"setuid", "stat -c %a:%U:%G /usr/bin/su", "4755:root:root\n"},
		{"python", "python3 -c 'print(1)'", "1\n"},
	} {
		if out, _ := s.try(t, all, test.command); out != test.want {
			t.Errorf("%s: %q, want %q", test.what, out, test.want)
		}
	}
}

const installVar = "INSTALL_TEST"

// installMain is the test binary as another user's program: it installs what DIR/plan says and prints digests.
func installMain(dir string) int {
	if entered, code, err := sandbox.EnterUserNamespace(nil); err != nil || entered {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}
	if err := installPlan(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func installPlan(dir string) error {
	var plan struct{ Base, Top []Item }
	data, err := os.ReadFile(filepath.Join(dir, "plan"))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &plan); err != nil {
		return err
	}
	s, err := images.Open(filepath.Join(dir, "store"))
	if err != nil {
		return err
	}
	work := filepath.Join(dir, "store", "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		return err
	}
	o := Options{Store: s, Work: work, Arch: archivetest.Arch(), Epoch: testEpoch, Batches: [][]Item{plan.Base}}
	if o.Under, err = Install(context.Background(), o); err != nil {
		return err
	}
	layers := o.Under
	if len(plan.Top) > 0 {
		o.Batches = [][]Item{plan.Top}
		more, err := Install(context.Background(), o)
		if err != nil {
			return err
		}
		layers = slices.Concat(layers, more)
	}
	for _, l := range layers {
		fmt.Println(l.Digest)
	}
	return nil
}

// TestSameLayersForEverybody installs once more as an ordinary user, in another folder, with another umask, locale and
// timezone.
func TestSameLayersForEverybody(t *testing.T) {
	s := base(t)
	items := realPackages(t, s.items, onTop...)
	layers, err := s.on(t, items)
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, l := range slices.Concat(s.layers, layers) {
		fmt.Fprintln(&want, l.Digest)
	}
	cmd, dir := asOrdinaryUser(t, s.items, items)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("install as %s: %v\n%s", usertest.Name, err, out)
	}
	if string(out) == want.String() {
		return
	}
	t.Errorf("root made\n%s%s made\n%s", &want, usertest.Name, out)
	showDifferences(t, s.store, filepath.Join(dir, "store"), strings.Fields(want.String()), strings.Fields(string(out)))
}

// TestSameLayersOnAnotherDay installs once more with a clock that is more than a year ahead.
func TestSameLayersOnAnotherDay(t *testing.T) {
	s := base(t)
	items := realPackages(t, s.items, onTop...)
	want, err := s.on(t, items)
	if err != nil {
		t.Fatal(err)
	}
	lib := realPackages(t, nil, "libfaketime")
	dir := t.TempDir()
	for _, item := range lib {
		if item.Package.Name == "libfaketime" {
			archivetest.Run(t, "", "dpkg-deb", "-x", item.File, dir)
		}
	}
	found, err := filepath.Glob(filepath.Join(dir, "usr/lib/*/faketime/libfaketime.so.1"))
	if err != nil || len(found) != 1 {
		t.Fatalf("no libfaketime: %v, %v", found, err)
	}
	store, work := newStore(t, dir)
	o := Options{Store: store, Work: work, Arch: archivetest.Arch(), Epoch: testEpoch, Batches: [][]Item{s.items}, alter: func(spec *sandbox.Spec) {
		spec.Mounts = append(spec.Mounts, sandbox.Mount{Source: found[0], Target: "/run/faketime.so", ReadOnly: true})
		spec.Env = append(spec.Env, "LD_PRELOAD=/run/faketime.so", "FAKETIME=+401d", "FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1")
	}}
	if o.Under, err = Install(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	o.Batches = [][]Item{items}
	layers, err := Install(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	digests := func(lists ...[]images.Layer) (all []string) {
		for _, l := range slices.Concat(lists...) {
			all = append(all, string(l.Digest))
		}
		return all
	}
	a, b := digests(s.layers, want), digests(o.Under, layers)
	if !slices.Equal(a, b) {
		t.Errorf("today:\n%s\nin a year:\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
		showDifferences(t, s.store, store.Dir(), a, b)
	}
}

// showDifferences lists the entries that differ.
func showDifferences(t *testing.T, s *images.Store, other string, a, b []string) {
	t.Helper()
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			continue
		}
		list := func(dir, digest string) string {
			return archivetest.Run(t, "", "tar", "--full-time", "-tvf", filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:")))
		}
		one, two := strings.Split(list(s.Dir(), a[i]), "\n"), strings.Split(list(other, b[i]), "\n")
		for _, line := range one {
			if !slices.Contains(two, line) {
				t.Logf("layer %d: - %s", i, line)
			}
		}
		for _, line := range two {
			if !slices.Contains(one, line) {
				t.Logf("layer %d: + %s", i, line)
			}
		}
	}
}

// asOrdinaryUser prepares this test binary to install as an ordinary user.
func asOrdinaryUser(t *testing.T, base, top []Item) (*exec.Cmd, string) {
	t.Helper()
	u := usertest.Need(t)
	dir := u.Dir(t)
	var plan struct{ Base, Top []Item }
	for _, list := range []struct {
		from []Item
		to   *[]Item
	}{{base, &plan.Base}, {top, &plan.Top}} {
		for _, item := range list.from {
			file := filepath.Join(dir, filepath.Base(item.File))
			archivetest.Run(t, "", "cp", item.File, file)
			item.File = file
			*list.to = append(*list.to, item)
		}
	}
	data, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "plan"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	archivetest.Run(t, "", "cp", self, filepath.Join(dir, "installer"))
	u.Own(t, dir)
	cmd := exec.Command("sh", "-c", "umask 077; exec "+dir+"/installer")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + u.Home, "USER=" + usertest.Name, "LC_ALL=de_DE.UTF-8", "TZ=Asia/Tokyo", installVar + "=" + dir}
	u.Become(cmd)
	return cmd, dir
}
