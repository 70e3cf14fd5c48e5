package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes/library"
)

// initFrom writes a ready project into a folder.
func (c *cli) initFrom(ctx context.Context, name, dir string) error {
	files, err := library.Files(name)
	if err != nil {
		return fault.New(fault.Invalid, "init: %s", fault.All(err)[0].Message).WithHint("%s", fault.All(err)[0].Hint)
	}
	r := initResult{Head: api.NewHead(nil), Kind: name, App: name, Notes: []string{}}
	for _, f := range files {
		r.Files = append(r.Files, f.Path)
	}
	if err := c.mayOverwrite(dir, r.Files); err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("init: %w", err)
		}
		if err := atomicfile.Write(path, f.Content, f.Mode); err != nil {
			return fmt.Errorf("init: %w", err)
		}
	}
	if slices.Contains(r.Files, "build") {
		if note := c.build(ctx, dir, []string{"./build"}); note != "" {
			r.Notes = append(r.Notes, note)
		}
	}
	next := "release bake recipe.yaml"
	if slices.Contains(r.Files, "release.yaml") {
		next = "release up"
	}
	if dir != "." {
		next = "cd " + dir + " && " + next
	}
	return c.out.result(r, func(w io.Writer) {
		fmt.Fprintf(w, "%s: wrote %s\n", name, strings.Join(r.Files, ", "))
		for _, n := range r.Notes {
			fmt.Fprintln(w, c.out.yellow("look at:"), n)
		}
		fmt.Fprintln(w, "next:", afterNotes(r.Notes, next))
	})
}

// indented is text for a block in a command's help.
func indented(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ")
}
