package main

import (
	"bufio"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/scaffold"
	"github.com/bootandshoot/release/recipes"
)

// What becomes of a Dockerfile.
const (
	convertDockerfile = "convert"
	keepDockerfile    = "keep"
)

// propose looks at the folder; docker is what becomes of its Dockerfile, "" when that was not said.
func (c *cli) propose(dir, docker string) (scaffold.Project, error) {
	switch docker {
	case "", convertDockerfile:
	case keepDockerfile:
		p, ok, err := scaffold.KeepDockerfile(dir)
		if err == nil && !ok {
			err = fault.New(fault.Invalid, "init: %s has no Dockerfile to keep", dir)
		}
		return p, err
	default:
		return scaffold.Project{}, fault.New(fault.Invalid, "read --dockerfile: %q is none of convert, keep", docker)
	}
	p, err := scaffold.Detect(dir, staticSelf())
	if p.Kind == scaffold.RecipeKind {
		p.Notes = lacksOf(filepath.Join(dir, "recipe.yaml"))
	}
	if err != nil || docker != "" || p.Kind != scaffold.DockerfileKind {
		return p, err
	}
	if c.flags.yes || !c.interactive() {
		p.Notes = append(p.Notes, "the Dockerfile was translated; to have the Docker engine build it as it is: release init --dockerfile keep")
		return p, nil
	}
	keep, err := c.askToKeep()
	if err != nil || !keep {
		return p, err
	}
	p, _, err = scaffold.KeepDockerfile(dir)
	return p, err
}

// lacksOf says what a recipe that is there lacks for an app with a route. A base that is an image may bring it.
func lacksOf(path string) []string {
	r, err := recipes.Load(path)
	if err != nil {
		return []string{"recipe.yaml has mistakes: release validate names them"}
	}
	var lacks []string
	if len(r.Ports) == 0 {
		lacks = append(lacks, "ports:")
	}
	if len(r.Command()) == 0 {
		lacks = append(lacks, "what listens there, services: or entrypoint:")
	}
	if len(lacks) == 0 {
		return nil
	}
	note := "recipe.yaml does not say " + strings.Join(lacks, " and ")
	if r.Base.Path+r.Base.Reference != "" {
		note += "; the base image may"
	}
	return []string{note}
}

func (c *cli) askToKeep() (bool, error) {
	fmt.Fprint(c.out.stderr, "Convert the Dockerfile to a recipe (reproducible, needs no engine), or keep it for the Docker engine to build? [convert/keep] ")
	line, err := bufio.NewReader(c.stdin).ReadString('\n')
	if err != nil {
		return false, fault.New(fault.Interrupted, "no answer: %w", err)
	}
	switch answer := strings.ToLower(strings.TrimSpace(line)); {
	case answer == "" || strings.HasPrefix(convertDockerfile, answer):
		return false, nil
	case strings.HasPrefix(keepDockerfile, answer):
		return true, nil
	}
	return false, fault.New(fault.Invalid, "init: the answer is none of convert, keep; nothing written")
}
