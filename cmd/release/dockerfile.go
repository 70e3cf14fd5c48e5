package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/dockerfile"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/provenance"
	"github.com/bootandshoot/release/images/sbom"
	"github.com/bootandshoot/release/images/signature"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/scaffold"
	"github.com/bootandshoot/release/recipes"
)

// dockerfileOf is the Dockerfile that stands in a recipe's place, and the image's name. Whatever else is wrong with the
// arguments or the app is found by who bakes recipes.
func (c *cli) dockerfileOf(args []string) (path, name string, ok bool) {
	path, name, err := c.recipeAndName(args)
	if err != nil || !dockerfile.Is(path) {
		return "", "", false
	}
	return path, cmp.Or(name, dockerfileName(path)), true
}

// dockerfileName is shop for shop.Dockerfile and Dockerfile.shop, else that of the folder.
func dockerfileName(path string) string {
	base := filepath.Base(path)
	if name := scaffold.Name(strings.TrimPrefix(strings.TrimSuffix(base, ".Dockerfile"), "Dockerfile.")); name != "" && base != "Dockerfile" {
		return name
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "app"
	}
	return cmp.Or(scaffold.Name(filepath.Base(filepath.Dir(abs))), "app")
}

// bakeDockerfile is bake of a Dockerfile.
func (c *cli) bakeDockerfile(ctx context.Context, b bakeFlags, check bool, path, name string) error {
	if check {
		return noDockerfile(path, "baked twice to compare: what its build gets from the network is not pinned")
	}
	res, err := c.buildDockerfile(ctx, b, path, name)
	if err != nil {
		return err
	}
	return c.out.result(bakeResult(res), func(w io.Writer) { fmt.Fprintln(w, res.Image) })
}

// noDockerfile refuses what only recipes can.
func noDockerfile(path, what string) error {
	return fault.New(fault.Invalid, "bake %s: a Dockerfile cannot be %s", relative(path), what).
		WithHint("write a recipe for that: release init translates the Dockerfile")
}

// buildDockerfile has the engine build and shows it as the bake of one step.
func (c *cli) buildDockerfile(ctx context.Context, b bakeFlags, path, name string) (builder.Result, error) {
	switch err := b.check(); {
	case err != nil:
		return builder.Result{}, err
	case b.locked:
		return builder.Result{}, noDockerfile(path, "locked: it has no lockfile")
	case b.offline:
		return builder.Result{}, noDockerfile(path, "built offline: only the engine knows what its build needs")
	case len(b.given.secrets)+len(b.given.vars) > 0:
		return builder.Result{}, noDockerfile(path, "given --secret or --var: they are for steps and templates of recipes")
	}
	store, err := c.store()
	if err != nil {
		return builder.Result{}, err
	}
	allow, err := allowances(b.allow)
	if err != nil {
		return builder.Result{}, err
	}
	key, err := c.signingKey(b.sign)
	if err != nil {
		return builder.Result{}, err
	}
	const step = "docker build"
	v := c.out.newBakeView()
	event := func(e builder.Event) {
		e.Step, e.Index, e.Total = step, 1, 1
		v.event(e)
	}
	started := time.Now()
	event(builder.Event{Kind: builder.Started})
	built, err := dockerfile.Build(ctx, dockerfile.Options{
		Path: path, Store: store, Name: name, NoCache: b.noCache, Platform: b.platform,
		Annotations: map[string]string{builder.AnnotationReproducible: "false"},
		Output:      func(line string) { event(builder.Event{Kind: builder.Output, Line: line}) },
		Check: func(ctx context.Context, d images.Digest) error {
			unused, err := builder.CheckSecrets(ctx, store, d, allow)
			for _, a := range unused {
				event(builder.Event{Kind: builder.Note, Line: fmt.Sprintf("--allow %s matches nothing that was found: remove it", a.Path)})
			}
			if err != nil {
				return err
			}
			return c.attestDockerfile(ctx, store, d, path, name, key)
		},
	})
	took := time.Since(started).Seconds()
	if err == nil {
		event(builder.Event{Kind: builder.Done, Cached: built.Cached, Seconds: took})
	}
	v.close()
	if err != nil {
		return builder.Result{}, ended(ctx, err)
	}
	res := builder.Result{Image: built.Image, Name: name, Cached: built.Cached, Seconds: took,
		Steps: []builder.StepResult{{Name: step, Cached: built.Cached, Seconds: took}}}
	c.tellBaked(res)
	c.limitCache(ctx, store)
	return res, nil
}

// allowances reads --allow.
func allowances(texts []string) ([]recipes.Allow, error) {
	var list []recipes.Allow
	for _, text := range texts {
		a, err := builder.ParseAllow(text)
		if err != nil {
			return nil, fmt.Errorf("read --allow: %w", err)
		}
		list = append(list, a)
	}
	return list, nil
}

// attestDockerfile says what the engine built, as far as it can be told: what the build got from the network is not known.
func (c *cli) attestDockerfile(ctx context.Context, store *images.Store, d images.Digest, path, name string, key *signature.PrivateKey) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read Dockerfile once more for its digest: %w", err)
	}
	img, err := store.Get(d)
	if err != nil {
		return err
	}
	build := provenance.Build{
		Name: name, Target: "container", Platform: img.Config.OS + "/" + img.Config.Architecture,
		Recipe:  provenance.Resource{URI: filepath.Base(path), Digest: map[string]string{"sha256": images.DigestOf(text).Hex()}},
		Builder: c.getenv(builderVariable), Version: programVersion(),
	}
	return builder.Attest(ctx, store, d, sbom.Inputs{Name: name}, build, key)
}
