package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/dockerfile"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/strictyaml"
	"github.com/bootandshoot/release/recipes"
)

// validateResult is the result of validate.
type validateResult struct {
	api.Head
	Files []string `json:"files"`
}

func (c *cli) validateVerb() *cobra.Command {
	return &cobra.Command{
		Use: "validate [RECIPE...]", Short: "Check release.yaml and its recipe, or recipes, and change nothing",
		Long:    "Checks the app's file with the certificates and SQL files that it names, and its recipe, or the recipes named. All problems are shown at once, each with its place.",
		Example: "  release validate\n  release validate recipes/*.yaml",
		RunE: func(_ *cobra.Command, args []string) error {
			files, err := c.validate(args)
			if err != nil {
				return err
			}
			return c.out.result(validateResult{Head: api.NewHead(nil), Files: files}, func(w io.Writer) {
				for _, f := range files {
					fmt.Fprintf(w, "%s: %s\n", f, c.out.green("ok"))
				}
			})
		},
	}
}

func (c *cli) validate(paths []string) ([]string, error) {
	var files []string
	var problems fault.List
	var app *config.App
	var boots []part // what is booted from the paths, where they are the app's
	if len(paths) == 0 {
		var err error
		if app, err = c.app(); err != nil {
			return nil, err
		}
		files = append(files, relative(app.Path()))
		if problems, err = tlsProblems(app); err != nil {
			return nil, err
		}
		sql, errs := checkSQL(app)
		files, problems = append(files, sql...), append(problems, errs...)
		for _, p := range partsOf(app) {
			if p.recipe == "" {
				continue
			}
			path, err := p.path(app)
			if err != nil {
				return nil, err
			}
			paths, boots = append(paths, path), append(boots, p)
		}
	}
	for i, path := range paths {
		files = append(files, relative(path))
		if dockerfile.Is(path) { // what is in it the engine reads
			if _, err := os.Stat(path); err != nil {
				problems = append(problems, fault.New(fault.NotFound, "read %s: %w", path, err))
			}
			continue
		}
		r, err := recipes.Load(path)
		if err != nil {
			problems = append(problems, fault.All(err)...)
			continue
		}
		if i < len(boots) {
			problems = append(problems, boots[i].runsNothing(app, r)...)
		}
	}
	return files, problems.Err()
}

// runsNothing is what is wrong where a fleet is booted from a recipe that says nothing to run. A base that is an image may bring its
// command.
func (p part) runsNothing(app *config.App, r *recipes.Recipe) fault.List {
	if len(r.Command()) > 0 || !r.Base.Scratch && r.Base.Debian == nil {
		return nil
	}
	roles := p.roles
	if len(roles) == 0 {
		roles = app.RoleNames()
	}
	for _, role := range roles {
		if len(app.Role(role).Command) > 0 {
			continue
		}
		what := app.App
		if len(app.Roles) > 0 {
			what += ", role " + role
		}
		return fault.List{fault.New(fault.Invalid, "the recipe says nothing to run, and the fleet of %s is booted from it", what).
			At(r.Base.Pos.File, r.Base.Pos.Line, r.Base.Pos.Column).WithHint("give the recipe entrypoint: or services:")}
	}
	return nil
}

// tlsProblems looks at the certificates of all environments.
func tlsProblems(app *config.App) (fault.List, error) {
	envs, err := config.Environments(app.Path())
	if err != nil {
		return nil, err
	}
	var problems fault.List
	for _, env := range envs {
		of, err := config.Load(app.Path(), env)
		if err != nil {
			return nil, err
		}
		problems = append(problems, of.CheckFiles()...)
	}
	return strictyaml.Sort(problems), nil
}

// configResult is the result of config.
type configResult struct {
	api.Head
	Config json.RawMessage `json:"config"`
}

func (c *cli) configVerb() *cobra.Command {
	return &cobra.Command{
		Use: "config", Short: "Print the configuration with overlay and defaults, secrets left out",
		Example: "  release config -e staging", Args: noArgs(),
		RunE: func(*cobra.Command, []string) error {
			app, err := c.app()
			if err != nil {
				return err
			}
			safe := config.Redacted(app)
			text, err := safe.YAML()
			if err != nil {
				return err
			}
			data, err := json.Marshal(safe)
			if err != nil {
				return fmt.Errorf("print configuration: %w", err)
			}
			return c.out.result(configResult{Head: api.NewHead(nil), Config: data}, func(w io.Writer) { _, _ = w.Write(text) })
		},
	}
}
