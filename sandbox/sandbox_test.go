package sandbox

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/sandbox/internal/guest"
)

const testPasswd = "root:x:0:0:root:/root:/bin/sh\nshop:x:1000:1000::/home/shop:/bin/sh\nbad line\n"
const testGroup = "root:x:0:\nshop:x:1000:\nextra:x:2000:shop,other\n"

// newRoot gives a root with this machine's /usr, read-only, and a passwd of its own.
func newRoot(t *testing.T) Spec {
	t.Helper()
	dir := t.TempDir()
	lower := filepath.Join(dir, "lower")
	for _, d := range []string{"lower/etc", "lower/usr", "upper", "work"} {
		check(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	for _, l := range []string{"bin", "sbin", "lib", "lib64"} {
		check(t, os.Symlink("usr/"+l, filepath.Join(lower, l)))
	}
	check(t, os.WriteFile(lower+"/etc/passwd", []byte(testPasswd), 0o644))
	check(t, os.WriteFile(lower+"/etc/group", []byte(testGroup), 0o644))
	check(t, os.WriteFile(lower+"/etc/hosts", []byte("the image's own\n"), 0o644))
	return Spec{
		Root:   Root{Lower: []string{lower}, Upper: dir + "/upper", Work: dir + "/work"},
		Mounts: []Mount{{Source: "/usr", Target: "/usr", ReadOnly: true}},
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// shell runs a script in the sandbox and gives its output.
func shell(t *testing.T, s Spec, script string) (string, Exit) {
	t.Helper()
	var out bytes.Buffer
	s.Command = []string{"/bin/sh", "-c", script}
	s.Stdout, s.Stderr = &out, &out
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	exit, err := Run(ctx, s)
	if err != nil {
		t.Fatalf("run %q: %v\n%s", script, err, out.String())
	}
	return out.String(), exit
}

func TestCommandSeesItsOwnWorld(t *testing.T) {
	for _, c := range []struct{ name, script, want string }{
		{"root", "ls -d /*", "/bin\n/dev\n/etc\n/lib\n/lib64\n/proc\n/sbin\n/sys\n/tmp\n/usr\n"},
		{"identity", "id -u; id -g", "0\n0\n"},
		{"host name", "hostname; cat /etc/hostname", "box\nbox\n"},
		{"hosts", "head -1 /etc/hosts", "127.0.0.1\tlocalhost\n"},
		{"processes", "test $(ls -d /proc/[0-9]* | wc -l) -lt 7 && echo few", "few\n"},
		{"devices", "ls /dev", "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n"},
		{"null", "echo x > /dev/null && echo y", "y\n"},
		{"terminal device", "test -c /dev/ptmx && echo yes", "yes\n"},
		{"tmp", "touch /tmp/a && stat -c %a /tmp", "1777\n"},
		{"network", "cat /proc/net/dev | tail -n +3 | cut -d: -f1 | tr -d ' '", "lo\n"},
		{"umask", "umask", "0022\n"},
		{"environment", "echo $PATH $HOME $X", guest.DefaultPath + " /root y\n"},
		{"descriptors", "ls /proc/$$/fd", "0\n1\n2\n"},
		{"working folder", "pwd", "/srv/app\n"},
		{"stdin", "cat", "typed\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newRoot(t)
			s.Hostname, s.Env, s.Dir, s.Stdin = "box", []string{"X=y"}, "/srv/app", strings.NewReader("typed\n")
			if c.name == "root" {
				s.Dir = ""
			}
			out, exit := shell(t, s, c.script)
			if out != c.want || exit.Code != 0 {
				t.Errorf("got %q (exit %+v), want %q", out, exit, c.want)
			}
		})
	}
}

// What a command does to the machine must be refused, also as root that is root's id outside.
func TestCommandCannotReachTheMachine(t *testing.T) {
	for name, script := range map[string]string{
		"core pattern":    "echo x > /proc/sys/kernel/core_pattern",
		"sysrq":           "echo h > /proc/sysrq-trigger",
		"mount":           "mount -t tmpfs none /tmp",
		"remount":         "mount -o remount,rw /proc/sys",
		"unmount":         "umount /proc/sys",
		"user namespace":  "unshare -U true",
		"net namespace":   "unshare -n true",
		"host name":       "hostname other",
		"kcore":           "test -s /proc/kcore",
		"device node":     "mknod /tmp/sda b 8 0",
		"init's memory":   "cat /proc/1/environ > /tmp/x && test -s /tmp/x",
		"init's files":    "cat /proc/1/fd/* > /tmp/x",
		"init's root":     "ls /proc/1/root/; readlink /proc/1/root /proc/1/cwd /proc/1/fd/0",
		"kill init":       "kill -9 1; sleep 0.1; false",
		"lower":           "echo x > /usr/x",
		"new privileges":  "grep -q 'NoNewPrivs:.0' /proc/self/status",
		"no filter":       "grep -q 'Seccomp:.0' /proc/self/status",
		"sys":             "echo x > /sys/kernel/uevent_seqnum",
		"admin privilege": "test $(( 0x$(grep CapBnd /proc/self/status | cut -f2) & 0x200000 )) != 0",
	} {
		t.Run(name, func(t *testing.T) {
			out, exit := shell(t, newRoot(t), "("+script+") 2>/tmp/why && echo REACHED; exit 0")
			if strings.Contains(out, "REACHED") || exit.Code != 0 {
				t.Errorf("%q was not refused (exit %+v): %s", script, exit, out)
			}
		})
	}
}

func TestExitOfTheCommand(t *testing.T) {
	for _, c := range []struct {
		script, signal string
		code           int
	}{
		{"exit 0", "", 0}, {"exit 7", "", 7}, {"kill -9 $$", "KILL", 137}, {"kill -TERM $$", "TERM", 143},
		{"sleep 1000 & exit 3", "", 3}, // the orphan ends with the sandbox
	} {
		out, exit := shell(t, newRoot(t), c.script)
		if exit.Code != c.code || exit.Signal != c.signal {
			t.Errorf("%q: exit %+v, want code %d signal %q (%s)", c.script, exit, c.code, c.signal, out)
		}
	}
}

func TestCommandThatCannotStart(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Spec)
		code   int
		reason string
	}{
		{"no program", func(s *Spec) { s.Command = []string{"/nowhere"} }, 127, "/nowhere"},
		{"not in path", func(s *Spec) { s.Command = []string{"nowhere"} }, 127, "the program nowhere is not in the image: it is not in PATH"},
		{"no permission", func(s *Spec) { s.Command = []string{"/etc/passwd"} }, 126, "permission denied"},
		{"no user", func(s *Spec) { s.User = "ghost" }, 126, "user ghost is not in the image's /etc/passwd"},
		{"no group", func(s *Spec) { s.User = "shop:ghost" }, 126, "group ghost"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newRoot(t)
			s.Command = []string{"/bin/true"}
			c.change(&s)
			exit, err := Run(t.Context(), s)
			check(t, err)
			if exit.Code != c.code || !strings.Contains(exit.Reason, "could not start") || !strings.Contains(exit.Reason, c.reason) {
				t.Errorf("exit %+v, want code %d and %q in the reason", exit, c.code, c.reason)
			}
		})
	}
}

func TestUsers(t *testing.T) {
	requireRange(t)
	for user, want := range map[string]string{
		"":          "0 0 0\n",
		"shop":      "1000 1000 1000 2000\n",
		"1000":      "1000 1000 1000 2000\n",
		"shop:root": "1000 0 0\n",
		"33:44":     "33 44 44\n",
		"0:extra":   "0 2000 2000\n",
	} {
		s := newRoot(t)
		s.User = user
		out, exit := shell(t, s, "echo $(id -u) $(id -g) $(id -G)")
		if out != want || exit.Code != 0 {
			t.Errorf("user %q: %q, want %q (%+v)", user, out, want, exit)
		}
	}
}

func requireRange(t *testing.T) {
	t.Helper()
	if guest.AvailableIDs("/proc/self/uid_map") < guest.FullRange {
		t.Skip("this process has one id only")
	}
}

// The folder that a bake makes a layer of holds what the command wrote and no trace of the sandbox.
func TestUpperHoldsOnlyWhatTheCommandWrote(t *testing.T) {
	s := newRoot(t)
	s.Fixed = true
	s.Mounts = append(s.Mounts, Mount{Target: "/var/cache/x", Tmpfs: true})
	shell(t, s, "echo 1 > /made; mkdir /tmp/gone; rm /etc/group; touch /var/cache/x/gone")
	var found []string
	check(t, filepath.WalkDir(s.Root.Upper, func(path string, d os.DirEntry, err error) error {
		found = append(found, strings.TrimPrefix(path, s.Root.Upper))
		return err
	}))
	if got := strings.Join(found, " "); got != " /etc /etc/group /made" {
		t.Errorf("upper holds %q", got)
	}
	// The same folders serve the next step.
	if out, _ := shell(t, s, "cat /made; ls /etc"); out != "1\nhostname\nhosts\npasswd\nresolv.conf\n" {
		t.Errorf("second run sees %q", out)
	}
}

func TestFixedViewIsTheSameEverywhere(t *testing.T) {
	s := newRoot(t)
	s.Fixed, s.Hostname = true, "ignored"
	out, _ := shell(t, s, "hostname; nproc; grep -c processor /proc/cpuinfo; head -1 /proc/meminfo; cat /proc/uptime; ls /sys; getconf _NPROCESSORS_ONLN")
	want := "release\n1\n1\nMemTotal:        4194304 kB\n60.00 60.00\n1\n"
	if out != want {
		t.Errorf("fixed view:\n%s\nwant\n%s", out, want)
	}
}

func TestEndOfContextEndsAllProcesses(t *testing.T) {
	s := newRoot(t)
	s.Command = []string{"/bin/sh", "-c", "sleep 1000 & echo up; wait"}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &notifyWriter{text: make(chan struct{}, 10)}
	s.Stdout = out
	p, err := Start(ctx, s)
	check(t, err)
	<-out.text
	cancel()
	if exit, err := p.Wait(); exit.Code != 137 || !errors.Is(err, errNoExit) {
		t.Errorf("wait gave %+v, %v", exit, err)
	}
	if _, err := Run(ctx, s); !errors.Is(err, context.Canceled) {
		t.Errorf("run after the end gave %v", err)
	}
}

type notifyWriter struct{ text chan struct{} }

func (w *notifyWriter) Write(p []byte) (int, error) {
	w.text <- struct{}{}
	return len(p), nil
}

func TestMounts(t *testing.T) {
	s := newRoot(t)
	src := t.TempDir()
	check(t, os.WriteFile(src+"/f", []byte("from outside\n"), 0o644))
	s.Mounts = append(s.Mounts,
		Mount{Source: src, Target: "/ro/deep/er", ReadOnly: true}, Mount{Source: src, Target: "/rw"},
		Mount{Source: src + "/f", Target: "/etc/one/file", ReadOnly: true}, Mount{Target: "/fresh", Tmpfs: true, Size: 1 << 20})
	out, _ := shell(t, s, "cat /ro/deep/er/f /etc/one/file; echo x 2>&- > /ro/deep/er/g; echo new > /rw/g; "+
		"head -c 2000000 /dev/zero > /fresh/x; stat -c %s /fresh/x")
	if !strings.HasPrefix(out, "from outside\nfrom outside\n") || !strings.HasSuffix(out, "1048576\n") {
		t.Errorf("mounts show %q", out)
	}
	if data, err := os.ReadFile(src + "/g"); err != nil || string(data) != "new\n" {
		t.Errorf("writable mount got %q, %v", data, err)
	}
}

// A link in the image must not lead a mount out of the root, nor break the sandbox.
func TestHostileLinksInTheImage(t *testing.T) {
	s := newRoot(t)
	lower := s.Root.Lower[0]
	victim := t.TempDir()
	check(t, os.Remove(lower+"/etc/hosts"))
	check(t, os.Symlink("/nowhere/at/all", lower+"/etc/hosts"))
	check(t, os.Symlink(victim, lower+"/data"))
	s.Mounts = append(s.Mounts, Mount{Target: "/data/in", Tmpfs: true})
	s.Command = []string{"/bin/true"}
	if _, err := Run(t.Context(), s); err == nil {
		t.Error("a mount through a link to nowhere was made")
	}
	s.Mounts = s.Mounts[:1]
	if out, exit := shell(t, s, "echo ok"); out != "ok\n" {
		t.Errorf("%q, %+v", out, exit)
	}
}

func TestSetupErrorsNameTheStep(t *testing.T) {
	s := newRoot(t)
	s.Command = []string{"/bin/true"}
	s.Root.Lower = append(s.Root.Lower, "/nowhere")
	if _, err := Run(t.Context(), s); err == nil || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("missing lower folder: %v", err)
	}
	s = newRoot(t)
	s.Command = []string{"/bin/true"}
	s.Prepare = func(*Process) error { return errors.New("no network today") }
	if _, err := Run(t.Context(), s); err == nil || !strings.Contains(err.Error(), "no network today") {
		t.Errorf("failing prepare: %v", err)
	}
	if _, err := Run(t.Context(), Spec{Command: []string{"x"}}); err == nil {
		t.Error("a spec without a root was taken")
	}
}
