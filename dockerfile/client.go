package dockerfile

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

// kind is how a client can build, the best last.
type kind int

const (
	classic  kind = iota // by the engine's own builder
	builtIn              // by the engine's BuildKit, which the client speaks to itself
	extended             // by its plug-in buildx
)

// client is a program docker.
type client struct {
	path string
	kind kind
}

// find takes the best docker in PATH. fault.Unavailable when there is none, or no engine answers.
func find(ctx context.Context) (client, error) {
	var best *client
	var problem error
	for _, path := range programs(os.Getenv("PATH")) {
		c, err := examine(ctx, path)
		switch {
		case ctx.Err() != nil:
			return client{}, ctx.Err()
		case err != nil:
			problem = errors.Join(problem, err)
		case best == nil || c.kind > best.kind:
			best = &c
		}
	}
	switch {
	case best != nil:
		return *best, nil
	case problem != nil:
		return client{}, fault.New(fault.Unavailable, "a Dockerfile is built by a Docker engine, and none answers: %w", problem).
			WithHint("start one (systemctl start docker) or set DOCKER_HOST; without an engine, write a recipe: release init translates the Dockerfile")
	}
	return client{}, fault.New(fault.Unavailable, "a Dockerfile is built by a Docker engine, and there is no program docker in PATH").
		WithHint("install one (apt-get install docker.io); without an engine, write a recipe: release init translates the Dockerfile")
}

// programs lists what is called docker in the folders of PATH, in their order.
func programs(path string) []string {
	var list []string
	for _, dir := range filepath.SplitList(path) {
		full := filepath.Join(dir, "docker")
		if info, err := os.Stat(full); filepath.IsAbs(full) && err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			list = append(list, full)
		}
	}
	return list
}

// examine finds out what a client can; an error says that no engine answers it.
func examine(ctx context.Context, path string) (client, error) {
	c := client{path: path}
	var problem bytes.Buffer
	cmd := c.command(ctx, "version", "--format", "{{.Client.Version}} {{.Server.Version}}")
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		return client{}, errors.New(firstLine(problem.String(), err))
	}
	switch own, engine, _ := strings.Cut(strings.TrimSpace(string(out)), " "); {
	case c.command(ctx, "buildx", "version").Run() == nil:
		c.kind = extended
	case major(own) < 23 && major(engine) >= 19: // a client since 23.0 leaves BuildKit to its plug-in
		c.kind = builtIn
	}
	return c, nil
}

func firstLine(text string, err error) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if line == "" {
		return err.Error()
	}
	return line
}

// major is the first number of a version; a large one when there is none.
func major(version string) int {
	first, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(first)
	if err != nil {
		return 1 << 20
	}
	return n
}

// verb is the command that builds.
func (c client) verb() []string {
	switch c.kind {
	case extended:
		return []string{"buildx", "build", "--load", "--progress=plain"}
	case builtIn:
		return []string{"build", "--progress=plain"}
	}
	return []string{"build"}
}

// env chooses the builder. Statements about a build would make each of them another image.
func (c client) env() []string {
	if c.kind == classic {
		return []string{"DOCKER_BUILDKIT=0"}
	}
	return []string{"DOCKER_BUILDKIT=1", "BUILDX_NO_DEFAULT_ATTESTATIONS=1"}
}
