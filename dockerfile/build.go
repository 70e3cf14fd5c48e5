package dockerfile

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// AnnotationImage is the engine's id of the image that one in the store was made from.
const AnnotationImage = "release.docker.image"

// Options say what to build. Path, Store and Name are required.
type Options struct {
	Path        string // of the Dockerfile
	Store       *images.Store
	Name        string            // of the image in the store
	Annotations map[string]string // that the image gets besides its own
	NoCache     bool
	Platform    string            // "os/arch[/variant]"; "" is the engine's own
	Output      func(line string) // called for each line that docker writes, by one goroutine; nil is fine
	// Check looks at the image before it is listed, also at one that is there already; its error is Build's, and nothing is
	// listed then. nil is fine.
	Check func(ctx context.Context, d images.Digest) error
}

// Result is what a build made.
type Result struct {
	Image  images.Digest
	Cached bool // the newest image of the name came of the same
}

// Is reports whether a recipe's path is that of a Dockerfile: Dockerfile, NAME.Dockerfile or Dockerfile.NAME.
func Is(path string) bool {
	base := filepath.Base(path)
	return base == "Dockerfile" || strings.HasSuffix(base, ".Dockerfile") || strings.HasPrefix(base, "Dockerfile.")
}

// Build builds and lists the image. Errors: fault.NotFound (no such file), fault.Unavailable (no docker, no engine),
// fault.Failed with the last lines of what docker wrote.
func Build(ctx context.Context, o Options) (Result, error) {
	res, err := build(ctx, o)
	if err != nil {
		return Result{}, fmt.Errorf("build %s: %w", o.Path, err)
	}
	return res, nil
}

func build(ctx context.Context, o Options) (Result, error) {
	if info, err := os.Stat(o.Path); err != nil || info.IsDir() {
		return Result{}, fault.New(fault.NotFound, "there is no such file")
	}
	c, err := find(ctx)
	if err != nil {
		return Result{}, err
	}
	id, err := c.build(ctx, o)
	if err != nil {
		return Result{}, err
	}
	release, err := o.Store.Hold(ctx)
	if err != nil {
		return Result{}, err
	}
	defer release()
	d, cached := o.newest(id)
	if !cached {
		if d, err = c.bring(ctx, o, id); err != nil {
			return Result{}, err
		}
	}
	if o.Check != nil {
		if err := o.Check(ctx, d); err != nil {
			return Result{}, err
		}
	}
	return Result{Image: d, Cached: cached}, o.Store.Tag(ctx, d, o.Name)
}

// newest is the newest image of the name, if it came of the same image of the engine in the same way.
func (o Options) newest(id string) (images.Digest, bool) {
	d, err := o.Store.Resolve(o.Name)
	if err != nil {
		return "", false
	}
	img, err := o.Store.Get(d)
	if err != nil || img.Annotations[AnnotationImage] != id {
		return "", false
	}
	for name, value := range o.Annotations {
		if img.Annotations[name] != value {
			return "", false
		}
	}
	return d, true
}

// tailLines is how much of docker's output an error repeats.
const tailLines = 25

// patience is how long an interrupted docker may take to tell the engine.
const patience = 5 * time.Second

// build gives the engine's id of the image.
func (c client) build(ctx context.Context, o Options) (string, error) {
	dir, err := os.MkdirTemp("", "release-build")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	idFile := filepath.Join(dir, "id")
	args := append(c.verb(), "--iidfile", idFile, "--file", o.Path)
	if o.NoCache {
		args = append(args, "--no-cache")
	}
	if o.Platform != "" {
		args = append(args, "--platform", o.Platform)
	}
	out := &tail{keep: tailLines, line: o.Output}
	cmd := c.command(ctx, append(args, filepath.Dir(o.Path))...)
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	out.flush()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errors.As(err, &exit):
		return "", fault.New(fault.Failed, "docker build ended with exit code %d, its last output was:\n  %s", exit.ExitCode(), strings.Join(out.last, "\n  ")).
			WithHint("the same by hand: docker build --file %s %s", o.Path, filepath.Dir(o.Path))
	case err != nil:
		return "", fmt.Errorf("run %s: %w", c.path, err)
	}
	id, err := os.ReadFile(idFile)
	if err != nil {
		return "", fmt.Errorf("read what docker built: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// bring copies the engine's image into the store, which does not list it yet. The archive on the way has no name, so that nothing of it is left
// whatever happens.
func (c client) bring(ctx context.Context, o Options, id string) (images.Digest, error) {
	archive, err := os.CreateTemp(o.Store.Dir(), ".docker-")
	if err != nil {
		return "", fmt.Errorf("make temporary file: %w", err)
	}
	defer archive.Close()
	if err := os.Remove(archive.Name()); err != nil {
		return "", fmt.Errorf("make temporary file: %w", err)
	}
	var problem bytes.Buffer
	cmd := c.command(ctx, "image", "save", id)
	cmd.Stdout, cmd.Stderr = archive, &problem
	if err := cmd.Run(); err != nil {
		return "", fault.New(fault.Failed, "take the image from the engine: %w: %s", err, strings.TrimSpace(problem.String()))
	}
	annotations := maps.Clone(o.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[AnnotationImage] = id
	platform := o.Platform
	if platform == "" {
		if platform, err = c.platform(ctx, id); err != nil {
			return "", err
		}
	}
	return o.Store.Import(ctx, images.Source{Path: fmt.Sprintf("/proc/self/fd/%d", archive.Fd()), Platform: platform, Unlisted: true, Annotations: annotations})
}

// platform is that of an image of the engine, which may stand on a machine of another make.
func (c client) platform(ctx context.Context, id string) (string, error) {
	out, err := c.command(ctx, "image", "inspect", "--format", "{{.Os}}/{{.Architecture}}{{with .Variant}}/{{.}}{{end}}", id).Output()
	if err != nil {
		return "", fault.New(fault.Failed, "ask the engine for the image's platform: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func (c client) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.path, args...)
	cmd.Env = append(os.Environ(), c.env()...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = patience
	return cmd
}

// tail hands lines on and keeps the last.
type tail struct {
	keep int
	line func(string)
	last []string
	rest []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.rest = append(t.rest, p...)
	for {
		line, rest, ok := bytes.Cut(t.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		t.emit(line)
		t.rest = append([]byte(nil), rest...)
	}
}

func (t *tail) flush() {
	if len(t.rest) > 0 {
		t.emit(t.rest)
	}
	t.rest = nil
}

func (t *tail) emit(line []byte) {
	text := strings.ToValidUTF8(strings.TrimRight(string(line), "\r"), "\uFFFD")
	if t.line != nil {
		t.line(text)
	}
	if strings.TrimSpace(text) == "" {
		return
	}
	t.last = append(t.last, text)
	t.last = t.last[max(0, len(t.last)-cmp.Or(t.keep, tailLines)):]
}
