// Package debian bakes Debian systems with the built binary as people do: sets of popular packages, and the ready
// recipes. Each is baked twice, by root and by an ordinary user whose folder, umask, locale and time zone are others, and
// must be the same bit for bit.
package debian

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/sandbox"
	"github.com/bootandshoot/release/test/harness"
)

// suite is set by TestMain, before any test runs.
var suite *harness.Suite

func TestMain(m *testing.M) {
	sandbox.Main()
	harness.Main(m, &suite)
}

// sets are what people install together, from Debian's popular packages.
var sets = []string{
	"nginx-light", "nginx openssl", "apache2", "apache2 libapache2-mod-php8.2 php-mysql", "php-fpm php-cli php-xml php-mbstring",
	"postgresql-15", "mariadb-server", "redis-server", "memcached", "sqlite3 jq bc",
	"python3 python3-venv", "python3-flask gunicorn", "python3-django", "nodejs", "openjdk-17-jre-headless",
	"ruby", "build-essential", "git curl wget ca-certificates", "openssh-server sudo", "rsyslog cron logrotate",
	"haproxy", "varnish", "postfix", "bind9", "squid",
	"systemd systemd-sysv dbus", "vim tmux htop less", "locales tzdata", "fontconfig fonts-dejavu-core", "imagemagick",
}

// checkSystem must print nothing in an image: every package is installed whole and its dependencies are there.
const checkSystem = `dpkg --audit; dpkg-query -f '${db:Status-Abbrev} ${Package}\n' -W | grep -v '^ii ' || true; apt-get check -qq 2>&1`

func TestPopularSets(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test bakes as two users: run it as root")
	}
	root, user := newBaker(t, ""), newBaker(t, ordinaryUser)
	for i, set := range sets {
		t.Run(set, func(t *testing.T) {
			t.Parallel()
			file := fmt.Sprintf("set-%d.yaml", i)
			recipe := fmt.Sprintf("base: {debian: bookworm}\npackages: [%s]\n", strings.ReplaceAll(set, " ", ", "))
			root.write(t, file, recipe)
			first := root.bake(t, file)
			if out := root.run(t, "images", "shell", first, "--", "/bin/sh", "-c", checkSystem); strings.TrimSpace(out) != "" {
				t.Errorf("the system is not whole:\n%s", out)
			}
			lock, err := os.ReadFile(root.path(file + ".lock"))
			if err != nil {
				t.Fatal(err)
			}
			user.write(t, file, recipe)
			user.write(t, file+".lock", string(lock))
			if second := user.bake(t, file); second != first {
				t.Errorf("root made %s, %s made %s\n%s", first, ordinaryUser, second, difference(t, root, user, first, second))
			}
		})
	}
}

// ordinaryUser is made by .ci/prepare.
const ordinaryUser = "releasetest"

// baker bakes as one user in one folder.
type baker struct {
	user string // "" is root
	dir  string
}

func newBaker(t *testing.T, user string) *baker {
	t.Helper()
	dir, err := os.MkdirTemp("", "rel-debian-"+user)
	if err != nil {
		t.Fatal(err)
	}
	b := &baker{user: user, dir: dir}
	in := suite.New(t, "sandbox")
	b.must(t, "cp", in.Binary, dir+"/release")
	if user != "" {
		b.must(t, "chown", user+":", dir)
	}
	t.Cleanup(func() {
		// What belongs to the ids of the user's range is removed by root here.
		if err := exec.Command("rm", "-rf", dir).Run(); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return b
}

func (b *baker) must(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

func (b *baker) path(name string) string { return filepath.Join(b.dir, name) }

func (b *baker) write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(b.path(name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if b.user != "" {
		b.must(t, "chown", b.user+":", b.path(name))
	}
}

// command is a command of the program, as the baker's user with habits of their own.
func (b *baker) command(args ...string) *exec.Cmd {
	program := append([]string{b.path("release")}, args...)
	cmd := exec.Command(program[0], program[1:]...)
	cmd.Env = append(os.Environ(), "RELEASE_IMAGES_DIR="+b.path("images"))
	if b.user != "" {
		script := `umask 077; cd "$0" && exec "$@"`
		cmd = exec.Command("setpriv", append([]string{"--reuid", b.user, "--regid", b.user, "--init-groups", "/bin/sh", "-c", script, b.dir}, program...)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir, "USER=" + b.user, "RELEASE_IMAGES_DIR=" + b.path("images"),
			"TZ=Pacific/Kiritimati", "LC_ALL=tr_TR.UTF-8", "LANG=tr_TR.UTF-8", "RELEASE_DEBIAN_MIRROR=" + os.Getenv("RELEASE_DEBIAN_MIRROR")}
	}
	cmd.Dir = b.dir
	return cmd
}

func (b *baker) run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := b.command(args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("release %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

// bake gives the image's digest.
func (b *baker) bake(t *testing.T, args ...string) string {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(b.run(t, append([]string{"bake", "--json"}, args...)...)), "\n")
	var r api.BakeResult
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s in %.1f s", r.Name, r.Seconds)
	return r.Image
}

// difference names the files that two images differ in: the user's is a base of the other's store for that.
func difference(t *testing.T, root, user *baker, first, second string) string {
	t.Helper()
	layout := "other-" + strings.TrimPrefix(second, "sha256:")[:12]
	user.run(t, "images", "export", second, "-o", user.path(layout))
	root.write(t, layout+".yaml", fmt.Sprintf("base: {image: %s}\n", user.path(layout)))
	return root.run(t, "images", "diff", first, root.bake(t, layout+".yaml"), "--files")
}
