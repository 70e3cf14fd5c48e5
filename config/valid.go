package config

import (
	"fmt"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/strictyaml"
)

// Valid says what is wrong with an app that came as JSON, by the rules of the file; nil for nothing. The files that it names are on
// another machine, and not looked at. The error is a fault.List, whose places are those of the app's own YAML.
func Valid(a *App) error {
	if !validName(a.App) || !validName(a.Env) {
		return fault.New(fault.Invalid, "%q in %q is not an app in an environment: each is 1 to %d of a-z, 0-9 and -, beginning with a letter", a.App, a.Env, maxName)
	}
	text, err := strictyaml.Encode(a)
	if err != nil {
		return fault.New(fault.Invalid, "the configuration of %s: %w", a.App, err)
	}
	root, err := strictyaml.Parse(fmt.Sprintf("configuration of %s/%s", a.App, a.Env), text)
	if err != nil {
		return err
	}
	again := &App{Env: a.Env}
	strictyaml.Defaults(again)
	c := &checker{root: root, elsewhere: true}
	c.errs = append(c.errs, strictyaml.Decode(root, again)...)
	c.app(again)
	c.jobs(again.Jobs)
	c.hooks(again, "")
	c.require(&again.Require, "")
	return strictyaml.Sort(c.errs).Err()
}
