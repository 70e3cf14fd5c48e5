// Package library holds ready recipes: whole small projects to begin with. Each folder is one, as it lies in a project:
// recipe.yaml, release.yaml and what they name. A file whose name ends in .txt after go.mod is go.mod itself, which
// Go does not embed.
package library

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

//go:embed all:debian-minimal all:go-service all:php-apache all:python-web all:static-site
var projects embed.FS

// File is a file of a project.
type File struct {
	Path    string // relative to the project's folder, with slashes
	Content []byte
	Mode    fs.FileMode // permissions
}

// Names lists the projects, sorted.
func Names() []string {
	entries, err := projects.ReadDir(".")
	if err != nil {
		return nil // it is part of the program
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Files lists the files of a project, sorted by path. A name that is none is fault.NotFound.
func Files(name string) ([]File, error) {
	var list []File
	err := fs.WalkDir(projects, path.Clean("./"+name), func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := projects.ReadFile(p)
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(p, name+"/")
		list = append(list, File{Path: strings.ReplaceAll(rel, "go.mod.txt", "go.mod"), Content: data, Mode: mode(data)})
		return nil
	})
	if err != nil || len(list) == 0 {
		return nil, fault.New(fault.NotFound, "no ready recipe is named %q", name).
			WithHint("there are: %s", strings.Join(Names(), ", "))
	}
	return list, nil
}

// mode is 0755 for scripts; an embedded file has no mode of its own.
func mode(data []byte) fs.FileMode {
	if strings.HasPrefix(string(data[:min(2, len(data))]), "#!") {
		return 0o755
	}
	return 0o644
}

// Describe is what the project is for: the comment at the top of its recipe.
func Describe(name string) string {
	data, err := projects.ReadFile(name + "/recipe.yaml")
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(strings.TrimPrefix(first, "#"))
}

// Table lists the projects with what they are for, a line each.
func Table() string {
	var b strings.Builder
	for _, name := range Names() {
		fmt.Fprintf(&b, "%-16s %s\n", name, Describe(name))
	}
	return b.String()
}
