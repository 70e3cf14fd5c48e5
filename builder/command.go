package builder

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/strictyaml"
	"github.com/bootandshoot/release/recipes"
)

// program is one that the recipe says the image runs.
type program struct {
	where string // "entrypoint", "services.web.cmd"
	path  string
	pos   recipes.Position
}

// programs are those with an absolute path, which no PATH looks for elsewhere.
func (b *bake) programs() []program {
	var list []program
	if e := b.recipe.Entrypoint; len(e) > 0 {
		list = append(list, program{"entrypoint", e[0], b.recipe.Places["command"]})
	}
	for _, s := range b.recipe.Order() {
		list = append(list, program{"services." + s.Name + ".cmd", s.Cmd[0], s.Pos})
	}
	return slices.DeleteFunc(list, func(p program) bool { return !path.IsAbs(p.path) || madeLater(p.path) })
}

// madeLater reports whether what lies there is no part of an image.
func madeLater(at string) bool {
	at = path.Clean(at) + "/"
	return slices.ContainsFunc([]string{"/dev/", "/proc/", "/run/", "/sys/", "/tmp/"}, func(dir string) bool { return strings.HasPrefix(at, dir) })
}

// checkCommand finds out before a node does that the image has not the user or the programs that the recipe names. It
// remembers for these layers that it has.
func (b *bake) checkCommand(ctx context.Context, st *state) error {
	list := b.programs()
	if len(list) == 0 && b.recipe.User == "" {
		return nil
	}
	inputs := []any{"command", b.recipe.User, st.chain()}
	for _, p := range list {
		inputs = append(inputs, p.path)
	}
	record := b.cache.spread("places", keyOf(inputs...))
	var has bool
	if b.cache.load(record, &has) && has {
		return nil
	}
	t, err := st.look(ctx)
	if err != nil {
		return err
	}
	var errs fault.List
	if _, err := resolveOwner(ctx, b.store, t, b.recipe.User); err != nil {
		errs = append(errs, fault.All(inPart("user", b.recipe.Places["user"], err))...)
	}
	for _, p := range list {
		if err := p.missing(t); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return errs
	}
	return b.cache.save(record, true)
}

// missing says why an image with this tree cannot run the program; nil when it can.
func (p program) missing(t *tree) *fault.Error {
	real, n, err := t.resolve(p.path)
	switch {
	case err != nil:
		return fault.New(fault.Invalid, "%s: %w", p.where, err).At(p.pos.File, p.pos.Line, p.pos.Column)
	case n == nil && madeLater(real), n != nil && n.kind != images.Dir:
		return nil
	case n != nil:
		return fault.New(fault.Invalid, "%s: %s is a folder of the image, not a program", p.where, p.path).At(p.pos.File, p.pos.Line, p.pos.Column)
	}
	what := p.path
	if real != path.Clean(p.path) {
		what = fmt.Sprintf("%s, which is a link to %s", p.path, real)
	}
	e := fault.New(fault.Invalid, "%s: the image has no %s", p.where, what).At(p.pos.File, p.pos.Line, p.pos.Column)
	if near := nearestProgram(t, real); near != "" {
		return e.WithHint("did you mean %s?", near)
	}
	return e.WithHint("name the package that brings it, or copy it: release images tree shows what an image has")
}

// nearestProgram is what was likely meant: a like name in the same folder, or the same name in another of the PATH.
func nearestProgram(t *tree, at string) string {
	dir, name := path.Split(at)
	if _, n, err := t.resolve(dir); err == nil && n != nil && n.kind == images.Dir {
		var names []string
		for _, kid := range slices.Sorted(maps.Keys(n.kids)) {
			if n.kids[kid].kind != images.Dir {
				names = append(names, kid)
			}
		}
		if near := strictyaml.Nearest(name, names); near != "" {
			return path.Join(dir, near)
		}
	}
	for folder := range strings.SplitSeq(defaultPath, ":") {
		other := path.Join(folder, name)
		if _, n, err := t.resolve(other); err == nil && n != nil && n.kind != images.Dir {
			return other
		}
	}
	return ""
}
