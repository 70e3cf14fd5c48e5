package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// givenFlags are the values that a bake gets besides its recipe.
type givenFlags struct {
	secrets, vars []string
}

func (g *givenFlags) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&g.secrets, "secret", nil, "build secret for run steps, `NAME=file:PATH` or NAME=env:VARIABLE; may be repeated")
	f.StringArrayVar(&g.vars, "var", nil, "value of a variable of the recipe, `NAME=VALUE`; may be repeated")
}

// values reads the variables.
func (g *givenFlags) values() (map[string]string, error) {
	vars := map[string]string{}
	for _, text := range g.vars {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, fault.New(fault.Invalid, "read --var %q: it is not NAME=VALUE", text)
		}
		vars[name] = value
	}
	return vars, nil
}

// secretValues reads the build secrets. What was typed is not repeated in an error: it may be the secret itself.
func (g *givenFlags) secretValues(r *recipes.Recipe, getenv func(string) (string, bool), note func(format string, args ...any)) (map[string][]byte, error) {
	values := map[string][]byte{}
	for _, text := range g.secrets {
		name, from, ok := strings.Cut(text, "=")
		kind, where, typed := strings.Cut(from, ":")
		if !ok || !typed || name == "" || where == "" || kind != "file" && kind != "env" {
			return nil, fault.New(fault.Invalid, "read --secret: it is neither NAME=file:PATH nor NAME=env:VARIABLE").
				WithHint("a secret on the command line could be read by every user of this machine: put it in a file or a variable")
		}
		value, err := secretValue(kind, where, getenv)
		if err != nil {
			return nil, fmt.Errorf("read --secret %s: %w", name, err)
		}
		values[name] = value
		if !slices.ContainsFunc(r.Run, func(s recipes.Run) bool { return slices.Contains(s.Secrets, name) }) {
			note("no run step of the recipe names the secret %s", name)
		}
	}
	return values, nil
}

// maxSecret bounds a build secret, in bytes.
const maxSecret = 1 << 20

func secretValue(kind, where string, getenv func(string) (string, bool)) ([]byte, error) {
	if kind == "env" {
		value, ok := getenv(where)
		if !ok {
			return nil, fault.New(fault.NotFound, "the variable %s is not set", where)
		}
		return []byte(value), nil
	}
	f, err := os.Open(where)
	if err != nil {
		return nil, fault.New(fault.NotFound, "%w", err)
	}
	defer f.Close()
	value, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, fault.New(fault.Failed, "%w", err)
	}
	if len(value) > maxSecret {
		return nil, fault.New(fault.Invalid, "%s is larger than %d bytes", where, maxSecret)
	}
	return value, nil
}
