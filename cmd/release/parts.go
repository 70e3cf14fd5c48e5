package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/dockerfile"
	"github.com/bootandshoot/release/internal/fault"
)

// part is one image of an app: its recipe, the name that it is listed under, and the roles that run it.
type part struct {
	recipe string // as the file has it; "" for none
	name   string
	roles  []string
}

// partsOf are the images of an app, one for each recipe: the app's own is listed under the app's name, one of a role under
// app-role.
func partsOf(app *config.App) []part {
	if len(app.Roles) == 0 {
		return []part{{recipe: app.Recipe, name: app.App}}
	}
	var parts []part
	roles := app.RoleNames()
	slices.Sort(roles)
	for _, role := range roles {
		recipe, name := app.ForRole(role).Recipe, app.App
		if recipe != app.Recipe {
			name += "-" + role
		}
		if i := slices.IndexFunc(parts, func(p part) bool { return p.recipe == recipe }); i >= 0 {
			parts[i].roles = append(parts[i].roles, role)
			continue
		}
		parts = append(parts, part{recipe: recipe, name: name, roles: []string{role}})
	}
	slices.SortStableFunc(parts, func(a, b part) int { return cmp.Compare(rank(app, a), rank(app, b)) })
	return parts
}

// rank puts the image that stands for the app first: its own recipe's, else that of a role that users reach.
func rank(app *config.App, p part) int {
	reached := func(role string) bool { r := app.Role(role); return r.Routed() && !r.Internal }
	switch {
	case p.name == app.App:
		return 0
	case slices.ContainsFunc(p.roles, reached):
		return 1
	}
	return 2
}

// path is where a part's recipe is; it must be there.
func (p part) path(app *config.App) (string, error) {
	if p.recipe == "" {
		what, hint := app.App, "add recipe: recipe.yaml, or launch an image"
		if len(p.roles) > 0 {
			what += ", role " + strings.Join(p.roles, ", ")
		}
		return "", fault.New(fault.Invalid, "bake %s: %s names no recipe", what, relative(app.Path())).WithHint("%s", hint)
	}
	path := p.recipe
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(app.Path()), path)
	}
	if _, err := os.Stat(path); os.IsNotExist(err) {
		at := app.At("recipe")
		if len(p.roles) > 0 && p.recipe != app.Recipe {
			at = app.At("roles", p.roles[0], "recipe")
		}
		return "", at.Errorf("recipe %s: there is no such file", p.recipe).
			WithHint("name the recipe relative to %s, or write one with: release init", relative(app.Path()))
	}
	return path, nil
}

// imageSet is what a release runs: one image, and others for some roles.
type imageSet struct {
	main  string
	roles map[string]string
	names map[string]string // by digest: what it is listed under
}

func newImageSet() imageSet {
	return imageSet{roles: map[string]string{}, names: map[string]string{}}
}

// add makes a digest that of a part.
func (s *imageSet) add(p part, digest string) {
	if s.main == "" {
		s.main = digest
	}
	s.names[digest] = p.name
	for _, role := range p.roles {
		s.roles[role] = digest
	}
}

// others are the images of roles that do not run the main one.
func (s imageSet) others() map[string]string {
	others := map[string]string{}
	for role, digest := range s.roles {
		if digest != s.main {
			others[role] = digest
		}
	}
	return others
}

// digests are all of them, each once, the main one first.
func (s imageSet) digests() []string {
	list := []string{s.main}
	for _, role := range slices.Sorted(maps.Keys(s.roles)) {
		if digest := s.roles[role]; !slices.Contains(list, digest) {
			list = append(list, digest)
		}
	}
	return list
}

// bakeParts bakes every recipe of an app, once each. done says that the work was done in a user namespace.
func (c *cli) bakeParts(ctx context.Context, b bakeFlags, app *config.App) (set imageSet, results []builder.Result, done bool, err error) {
	set = newImageSet()
	parts := partsOf(app)
	options := make([]builder.Options, len(parts))
	for i, p := range parts {
		path, err := p.path(app)
		if err != nil {
			return set, nil, false, err
		}
		if dockerfile.Is(path) {
			continue
		}
		if options[i], done, err = c.bakeOptionsOf(b.forPart(app, p), path, p.name); done || err != nil {
			return set, nil, done, err
		}
		options[i].Health = healthOf(app, p)
	}
	for i, p := range parts {
		var res builder.Result
		if options[i].Recipe != nil {
			res, err = c.bake(ctx, options[i])
		} else {
			var path string
			if path, err = p.path(app); err == nil {
				res, err = c.buildDockerfile(ctx, b, path, p.name)
			}
		}
		if err != nil {
			return set, nil, false, err
		}
		set.add(p, string(res.Image))
		results = append(results, res)
	}
	return set, results, false, nil
}

// bakeApp is bake without a recipe, of an app with several.
func (c *cli) bakeApp(ctx context.Context, b bakeFlags, app *config.App) error {
	set, results, done, err := c.bakeParts(ctx, b, app)
	if done || err != nil {
		return err
	}
	r := bakeResult(results[0])
	r.Images = set.roles
	return c.out.result(r, func(w io.Writer) {
		for _, res := range results {
			fmt.Fprintf(w, "%s  %s\n", res.Image, res.Name)
		}
	})
}

// imagesFor are the images to launch: those named, else the newest of each recipe.
func (c *cli) imagesFor(ctx context.Context, app *config.App, args, byRole []string) (imageSet, error) {
	set := newImageSet()
	if len(args) > 0 && releaseID.MatchString(args[0]) && len(app.Roles) > 0 {
		return c.imagesOfRelease(ctx, app, args[0])
	}
	named, err := c.namedImages(ctx, app, byRole)
	if err != nil {
		return set, err
	}
	for i, p := range partsOf(app) {
		given := slices.DeleteFunc(slices.Clone(p.roles), func(role string) bool { return named[role] == "" })
		if len(given) > 0 && len(given) == len(p.roles) && (i > 0 || len(args) == 0) {
			p.roles = nil
			set.add(p, named[given[0]])
			continue
		}
		var ref []string
		if i == 0 {
			ref = args
		}
		digest, err := c.imageFor(ctx, app, p.name, ref)
		if err != nil {
			return set, err
		}
		set.add(p, digest)
	}
	for role, digest := range named {
		set.roles[role] = digest
	}
	return set, nil
}

// namedImages reads --image ROLE=IMAGE.
func (c *cli) namedImages(ctx context.Context, app *config.App, byRole []string) (map[string]string, error) {
	named := map[string]string{}
	for _, text := range byRole {
		role, ref, ok := strings.Cut(text, "=")
		if !ok || ref == "" {
			return nil, fault.New(fault.Invalid, "read --image %s: want ROLE=IMAGE", text)
		}
		if _, known := app.Roles[role]; !known {
			return nil, fault.New(fault.Invalid, "read --image %s: %s has no role %q", text, app.App, role)
		}
		digest, err := c.resolve(ctx, app, ref)
		if err != nil {
			return nil, err
		}
		named[role] = digest
	}
	return named, nil
}

// imagesOfRelease are those of an earlier release, by the roles that there are now.
func (c *cli) imagesOfRelease(ctx context.Context, app *config.App, id string) (imageSet, error) {
	client, err := c.connect(ctx)
	if err != nil {
		return imageSet{}, err
	}
	releases, err := client.Releases(ctx, appOf(app))
	if err != nil {
		return imageSet{}, err
	}
	for _, r := range releases {
		if r.ID == id {
			return setOf(r, app), nil
		}
	}
	return imageSet{}, fault.New(fault.NotFound, "%s/%s has no release %s", app.App, app.Env, id).WithHint("release history lists them")
}

// setOf is the images of a release.
func setOf(r api.Release, app *config.App) imageSet {
	set := newImageSet()
	set.main = r.Image
	set.names[r.Image] = app.App
	for role, digest := range r.Images {
		if _, known := app.Roles[role]; known {
			set.roles[role] = digest
			set.names[digest] = app.App
		}
	}
	return set
}
