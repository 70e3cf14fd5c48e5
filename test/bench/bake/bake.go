// Package bake measures whole runs of `release bake` against `docker build` with BuildKit: the same files in six steps,
// with nothing changed and after a 6 MB program changed. Rounds are paired, one of each kind after the other in changing
// order, so that both see the same machine.
package bake

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Options of a measurement.
type Options struct {
	Release string // the program
	Docker  string // a client that builds with BuildKit; "" looks for one
	Dir     string // empty folder to work in
	Rounds  int    // 0: 11
	Program int    // bytes of the program that changes; 0: 6,000,000
}

// Pair is medians in seconds.
type Pair struct {
	Release, Docker float64
	Ratio           float64 // median of the pairs' ratios
}

func (p Pair) String() string {
	return fmt.Sprintf("release %.0f ms, docker %.0f ms, ratio %.2f", p.Release*1000, p.Docker*1000, p.Ratio)
}

// Result of a measurement.
type Result struct {
	Unchanged, Changed Pair
	Client             string // the Docker client used
	Rounds             int
}

const recipe = `base: scratch
copy:
  - {from: etc, to: /etc/app}
  - {from: static, to: /srv/www}
  - {from: app, to: /app}
env: {PORT: "8080"}
labels: {bench: bake}
ports: [8080]
entrypoint: [/app]
`

const dockerfile = `FROM scratch
COPY etc /etc/app
COPY static /srv/www
COPY app /app
ENV PORT=8080
LABEL bench=bake
EXPOSE 8080
ENTRYPOINT ["/app"]
`

const tag = "release-bench-bake"

// bench is a measurement under way.
type bench struct {
	Options
	env []string
}

// Measure removes the images that it makes; BuildKit's own cache collects its layers in its time.
func Measure(ctx context.Context, o Options) (Result, error) {
	if o.Rounds == 0 {
		o.Rounds = 11
	}
	if o.Program == 0 {
		o.Program = 6_000_000
	}
	b := &bench{Options: o}
	b.env = append(os.Environ(), "DOCKER_BUILDKIT=1", "RELEASE_IMAGES_DIR="+filepath.Join(o.Dir, "images"))
	if err := b.prepare(); err != nil {
		return Result{}, err
	}
	if b.Docker == "" {
		if err := b.findClient(ctx); err != nil {
			return Result{}, err
		}
	}
	defer b.remove()
	r := Result{Client: b.Docker, Rounds: o.Rounds}
	var err error
	if r.Unchanged, err = b.pairs(ctx, func() error { return nil }); err != nil {
		return r, err
	}
	r.Changed, err = b.pairs(ctx, b.change)
	return r, err
}

// remove deletes the images of all rounds, which carry the label of the Dockerfile.
func (b *bench) remove() {
	out, err := exec.Command(b.Docker, "images", "-q", "--no-trunc", "--filter", "label=bench=bake").Output()
	if ids := strings.Fields(string(out)); err == nil && len(ids) > 0 {
		_ = exec.Command(b.Docker, append([]string{"rmi", "-f"}, ids...)...).Run()
	}
}

// prepare writes the files that both build from.
func (b *bench) prepare() error {
	write := func(name string, data []byte, mode os.FileMode) error {
		path := filepath.Join(b.Dir, "project", name)
		return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, mode))
	}
	err := errors.Join(write("app.yaml", []byte(recipe), 0o644), write("Dockerfile", []byte(dockerfile), 0o644),
		write("etc/app.conf", []byte("listen 8080\n"), 0o644))
	for i := range 50 {
		err = errors.Join(err, write(fmt.Sprintf("static/%02d.html", i), bytes.Repeat([]byte("page\n"), 200), 0o644))
	}
	return errors.Join(err, b.change())
}

// change writes another program.
func (b *bench) change() error {
	data := make([]byte, b.Program)
	if _, err := rand.Read(data); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.Dir, "project", "app"), data, 0o755)
}

// findClient takes the first Docker client of PATH that builds with BuildKit: those since 23 need a plugin for it.
func (b *bench) findClient(ctx context.Context) error {
	var tried []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		client := filepath.Join(dir, "docker")
		if _, err := os.Stat(client); err != nil {
			continue
		}
		cmd := exec.CommandContext(ctx, client, "build", "--progress=plain", "-t", tag, ".")
		cmd.Dir, cmd.Env = filepath.Join(b.Dir, "project"), b.env
		out, err := cmd.CombinedOutput()
		if err == nil && bytes.Contains(out, []byte("#1 [internal]")) {
			b.Docker = client
			return nil
		}
		tried = append(tried, fmt.Sprintf("%s: %s", client, lastLine(out)))
	}
	return fmt.Errorf("no Docker client here builds with BuildKit (Debian: apt-get install docker.io): %s", strings.Join(tried, "; "))
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// pairs times both, after one of each that does not count. Before every run the same kind of change is made.
func (b *bench) pairs(ctx context.Context, before func() error) (Pair, error) {
	var release, docker, ratios []float64
	for i := range b.Rounds + 1 {
		both := []func() (float64, error){
			func() (float64, error) { return b.run(ctx, before, b.Release, "bake", "-q", "app.yaml") },
			func() (float64, error) { return b.run(ctx, before, b.Docker, "build", "-q", "-t", tag, ".") },
		}
		order := []int{0, 1}
		if i%2 == 1 {
			slices.Reverse(order)
		}
		var took [2]float64
		for _, k := range order {
			var err error
			if took[k], err = both[k](); err != nil {
				return Pair{}, err
			}
		}
		if i > 0 {
			release, docker, ratios = append(release, took[0]), append(docker, took[1]), append(ratios, took[0]/took[1])
		}
	}
	return Pair{Release: median(release), Docker: median(docker), Ratio: median(ratios)}, nil
}

// run times one whole process.
func (b *bench) run(ctx context.Context, before func() error, args ...string) (float64, error) {
	if err := before(); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = filepath.Join(b.Dir, "project"), b.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	started := time.Now()
	err := cmd.Run()
	took := time.Since(started).Seconds()
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out.String())
	}
	return took, nil
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}
