// Package debian measures bakes of whole Debian systems: against mmdebstrap from nothing but cached packages, and against
// `docker build` with everything cached and after one file changed. Rounds are paired, one of each kind after the other
// in changing order, so that both see the same machine.
package debian

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Options of a measurement.
type Options struct {
	Release string // the program
	Docker  string // a client that builds with BuildKit
	Dir     string // empty folder to work in
	Rounds  int    // of the long runs; 0: 5
	Quick   int    // of the short runs; 0: 11
}

// Pair is medians in seconds.
type Pair struct {
	Name          string
	Release, Peer float64
	Ratio         float64 // median of the pairs' ratios
	Most          float64 // what the ratio may be
}

func (p Pair) String() string {
	return fmt.Sprintf("%s: release %.2f s, peer %.2f s, ratio %.2f (at most %.2f)", p.Name, p.Release, p.Peer, p.Ratio, p.Most)
}

// Result of a measurement.
type Result struct {
	Pairs  []Pair
	Memory int64 // most resident bytes of a bake's process
}

// more are forty packages besides the base: a server, two languages, tools.
const more = `apache2 bash-completion bc bind9-dnsutils bsdextrautils bzip2 ca-certificates cron curl file git gnupg htop iproute2 iputils-ping jq less libcap2-bin locales logrotate lsof man-db nano net-tools nginx-light openssh-client openssl php-cli procps psmisc python3 python3-flask rsync sqlite3 strace sudo tmux unzip vim-tiny xz-utils`

const suite = "bookworm"

// bench is a measurement under way.
type bench struct {
	Options
	memory int64
}

// Measure runs all of it.
func Measure(ctx context.Context, o Options) (Result, error) {
	if o.Rounds == 0 {
		o.Rounds = 3
	}
	if o.Quick == 0 {
		o.Quick = 11
	}
	b := &bench{Options: o}
	defer b.removeImages()
	var r Result
	for _, m := range []func(context.Context) ([]Pair, error){b.againstBootstrap, b.againstDocker} {
		pairs, err := m(ctx)
		r.Pairs = append(r.Pairs, pairs...)
		if err != nil {
			return r, err
		}
	}
	r.Memory = b.memory
	return r, nil
}

func (b *bench) path(elem ...string) string {
	return filepath.Join(append([]string{b.Dir}, elem...)...)
}

func (b *bench) write(name, text string) error {
	return errors.Join(os.MkdirAll(filepath.Dir(b.path(name)), 0o755), os.WriteFile(b.path(name), []byte(text), 0o644))
}

// againstBootstrap bakes with packages and lockfile at hand and nothing else, as mmdebstrap makes a tar of the same system.
func (b *bench) againstBootstrap(ctx context.Context) ([]Pair, error) {
	var pairs []Pair
	for _, c := range []struct {
		name, packages string
		most           float64
	}{{"minbase", "", 0.3}, {"minbase and 40 packages", more, 0.4}} {
		recipe := fmt.Sprintf("base: {debian: %s}\npackages: [%s]\n", suite, strings.ReplaceAll(c.packages, " ", ", "))
		if err := b.write("system/recipe.yaml", recipe); err != nil {
			return pairs, err
		}
		if err := b.prime(ctx); err != nil {
			return pairs, err
		}
		args := []string{"mmdebstrap", "--quiet", "--variant=minbase", suite, b.path("system", "peer.tar")}
		if c.packages != "" {
			args = append(args, "--include="+strings.ReplaceAll(c.packages, " ", ","))
		}
		p, err := b.pairs(ctx, b.Rounds,
			func() (float64, error) { return b.fresh(ctx) },
			func() (float64, error) { return b.run(ctx, args...) })
		if err != nil {
			return pairs, err
		}
		p.Name, p.Most = c.name, c.most
		pairs = append(pairs, p)
	}
	return pairs, nil
}

// prime makes the lockfile and a folder with nothing but the downloads.
func (b *bench) prime(ctx context.Context) error {
	err := errors.Join(os.RemoveAll(b.path("primed")), os.RemoveAll(b.path("images")), os.RemoveAll(b.path("system", "recipe.yaml.lock")))
	if err != nil {
		return err
	}
	if _, err := b.run(ctx, b.Release, "bake", "-q", "system/recipe.yaml"); err != nil {
		return err
	}
	if err := os.MkdirAll(b.path("primed", "cache"), 0o755); err != nil {
		return err
	}
	_, err = b.run(ctx, "cp", "-a", "images/cache/downloads", "primed/cache/")
	return err
}

// fresh bakes into a store that has only the downloads.
func (b *bench) fresh(ctx context.Context) (float64, error) {
	for _, args := range [][]string{{"rm", "-rf", "images"}, {"cp", "-a", "primed", "images"}, {"sync"}} {
		if _, err := b.run(ctx, args...); err != nil {
			return 0, err
		}
	}
	return b.run(ctx, b.Release, "bake", "-q", "--locked", "--offline", "system/recipe.yaml")
}

const dockerfile = `FROM release-bench-debian-base
ENV PORT=8080
COPY etc /etc/app
COPY static /srv/www
COPY page.html /srv/www/page.html
EXPOSE 8080
CMD ["/bin/cat"]
`

const app = `base: {debian: ` + suite + `}
env: {PORT: "8080"}
copy:
  - {from: etc, to: /etc/app}
  - {from: static, to: /srv/www}
  - {from: page.html, to: /srv/www/page.html}
ports: [8080]
entrypoint: [/bin/cat]
`

// againstDocker bakes the image again and again as docker build does from the same base.
func (b *bench) againstDocker(ctx context.Context) ([]Pair, error) {
	recipe := app[:strings.Index(app, "env:")] + "packages: [" + strings.ReplaceAll(more, " ", ", ") + "]\n" + app[strings.Index(app, "env:"):]
	err := errors.Join(b.write("app/recipe.yaml", recipe), b.write("app/Dockerfile", dockerfile), b.write("app/etc/app.conf", "listen 8080\n"),
		b.write("app/page.html", "1\n"))
	for i := range 50 {
		err = errors.Join(err, b.write(fmt.Sprintf("app/static/%02d.html", i), strings.Repeat("page\n", 200)))
	}
	if err != nil {
		return nil, err
	}
	if _, err := b.run(ctx, b.Docker, "import", "system/peer.tar", "release-bench-debian-base"); err != nil {
		return nil, err
	}
	bake := func() (float64, error) { return b.run(ctx, b.Release, "bake", "-q", "app/recipe.yaml") }
	build := func() (float64, error) {
		return b.run(ctx, b.Docker, "build", "-q", "-t", "release-bench-debian", "app")
	}
	same, err := b.pairs(ctx, b.Quick, bake, build)
	if err != nil {
		return nil, err
	}
	same.Name, same.Most = "nothing changed", 0.4
	n := 0
	change := func(run func() (float64, error)) func() (float64, error) {
		return func() (float64, error) {
			n++
			if err := b.write("app/page.html", fmt.Sprintf("change %d\n", n)); err != nil {
				return 0, err
			}
			return run()
		}
	}
	changed, err := b.pairs(ctx, b.Quick, change(bake), change(build))
	changed.Name, changed.Most = "one file changed", 0.5
	return []Pair{same, changed}, err
}

// removeImages deletes what the rounds left with the engine.
func (b *bench) removeImages() {
	_ = exec.Command(b.Docker, "rmi", "-f", "release-bench-debian", "release-bench-debian-base").Run()
}

// pairs times both, after one of each that does not count.
func (b *bench) pairs(ctx context.Context, rounds int, ours, peer func() (float64, error)) (Pair, error) {
	var release, other, ratios []float64
	for i := range rounds + 1 {
		both, order := []func() (float64, error){ours, peer}, []int{0, 1}
		if i%2 == 1 {
			slices.Reverse(order)
		}
		var took [2]float64
		for _, k := range order {
			var err error
			if took[k], err = both[k](); err != nil {
				return Pair{}, errors.Join(err, ctx.Err())
			}
		}
		if i > 0 {
			release, other, ratios = append(release, took[0]), append(other, took[1]), append(ratios, took[0]/took[1])
		}
	}
	return Pair{Release: median(release), Peer: median(other), Ratio: median(ratios)}, nil
}

// run times one whole process.
func (b *bench) run(ctx context.Context, args ...string) (float64, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = b.Dir
	cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=1", "RELEASE_IMAGES_DIR="+b.path("images"), "SOURCE_DATE_EPOCH=0")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	started := time.Now()
	err := cmd.Run()
	took := time.Since(started).Seconds()
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out.String())
	}
	if args[0] == b.Release {
		b.memory = max(b.memory, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss<<10)
	}
	return took, nil
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}
