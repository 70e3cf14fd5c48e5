package main

import (
	"context"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/scaffold"
	"github.com/bootandshoot/release/recipes/library"
)

// initResult is the result of init.
type initResult struct {
	api.Head
	Kind  string   `json:"kind"`
	App   string   `json:"app"`
	Files []string `json:"files"`
	Notes []string `json:"notes"`
}

func (c *cli) initVerb() *cobra.Command {
	var from, docker string
	cmd := &cobra.Command{
		Use: "init [FOLDER]", Short: "Write release.yaml and a recipe for a folder",
		Long: `Looks at the folder (Go module, Dockerfile, package.json, static site) and writes release.yaml and recipe.yaml
that fit. A Go program is built once, so that release up works at once. Files that are there stay unless -y is given.
A recipe.yaml without a release.yaml is kept, and gets one.

A Dockerfile is translated to a recipe, or stays the recipe, for the Docker engine to build: --dockerfile says which, else you are
asked on a terminal, else it is translated.

--from takes one of these ready projects instead; the folder is made when it is missing:

` + indented(library.Table()),
		Example: "  release init\n  release init ./shop -y\n  release init --from static-site ./site", Args: between(0, 1, ""),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			if from != "" {
				return c.initFrom(cmd.Context(), from, dir)
			}
			return c.init(cmd.Context(), dir, docker)
		},
	}
	cmd.Flags().StringVar(&docker, "dockerfile", "", "`what` becomes of a Dockerfile: convert it to a recipe, or keep it for the Docker engine to build")
	_ = cmd.RegisterFlagCompletionFunc("dockerfile", cobra.FixedCompletions([]string{convertDockerfile, keepDockerfile}, noFiles))
	cmd.Flags().StringVar(&from, "from", "", "ready `project` to begin with")
	_ = cmd.RegisterFlagCompletionFunc("from", cobra.FixedCompletions(library.Names(), noFiles))
	return cmd
}

func (c *cli) init(ctx context.Context, dir, docker string) error {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fault.New(fault.Invalid, "init: %s is not a folder", dir)
	}
	p, err := c.propose(dir, docker)
	if err != nil {
		return err
	}
	var paths []string
	for _, f := range p.Files {
		paths = append(paths, f.Path)
	}
	if err := c.mayOverwrite(dir, paths); err != nil {
		return err
	}
	r := initResult{Head: api.NewHead(nil), Kind: p.Kind, App: p.Name, Notes: append([]string{}, p.Notes...)}
	for _, f := range p.Files {
		if err := atomicfile.Write(filepath.Join(dir, f.Path), []byte(f.Content), 0o644); err != nil {
			return fmt.Errorf("init: %w", err)
		}
		r.Files = append(r.Files, f.Path)
	}
	if p.Server {
		if err := copySelf(filepath.Join(dir, scaffold.ServerPath)); err != nil {
			return fmt.Errorf("init: %w", err)
		}
		r.Files = append(r.Files, scaffold.ServerPath)
	}
	if note := c.build(ctx, dir, p.Build); note != "" {
		r.Notes = append(r.Notes, note)
	}
	return c.out.result(r, func(w io.Writer) {
		fmt.Fprintf(w, "found %s: wrote %s\n", p.Kind, strings.Join(r.Files, ", "))
		for _, n := range r.Notes {
			fmt.Fprintln(w, c.out.yellow("look at:"), n)
		}
		if len(p.Build) > 0 {
			fmt.Fprintln(w, "after each change build again, before release up:", strings.Join(p.Build, " "))
		}
		fmt.Fprintln(w, "next:", afterNotes(r.Notes, "release up"))
	})
}

// afterNotes is the next step where there may be something to look at first.
func afterNotes(notes []string, next string) string {
	if len(notes) == 0 {
		return next
	}
	return "what is to look at above, then " + next
}

// mayOverwrite asks, or refuses where nobody can be asked, when a file to write is there.
func (c *cli) mayOverwrite(dir string, paths []string) error {
	var there []string
	for _, path := range paths {
		if _, err := os.Lstat(filepath.Join(dir, path)); err == nil {
			there = append(there, path)
		}
	}
	if len(there) == 0 || c.flags.yes {
		return nil
	}
	if !c.interactive() {
		return fault.New(fault.Exists, "init %s: %s is there already, nothing written", dir, strings.Join(there, ", ")).WithHint("-y overwrites")
	}
	return c.confirm(fmt.Sprintf("Overwrite %s?", strings.Join(there, ", ")))
}

// build makes what the recipe copies, and says what a person must do where that does not work.
func (c *cli) build(ctx context.Context, dir string, command []string) (note string) {
	if command == nil {
		return ""
	}
	c.out.note("building: %s", strings.Join(command, " "))
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Sprintf("%s failed: %v\n%s", strings.Join(command, " "), err, strings.TrimSpace(string(out)))
	}
	return ""
}

// staticSelf says whether this program runs in an image that holds nothing else.
func staticSelf() bool {
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		return false
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return false
		}
	}
	return true
}

func copySelf(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := atomicfile.Create(path, 0o755)
	if err != nil {
		return err
	}
	defer to.Abort()
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	return to.Commit()
}
