package main

import (
	"context"
	"fmt"
	"regexp"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// store opens the user's image store.
func (c *cli) store() (*images.Store, error) {
	settings, err := c.settings("")
	if err != nil {
		return nil, err
	}
	dir, err := c.imagesDir(settings)
	if err != nil {
		return nil, err
	}
	return images.Open(dir)
}

// imageFor is the digest of an image to launch: the one named, else the newest that is listed under a name.
func (c *cli) imageFor(ctx context.Context, app *config.App, name string, args []string) (string, error) {
	if len(args) > 0 {
		return c.resolve(ctx, app, args[0])
	}
	store, err := c.store()
	if err != nil {
		return "", err
	}
	d, err := store.Resolve(name)
	if fault.Is(err, fault.NotFound) {
		return "", fault.New(fault.NotFound, "launch %s: there is no image of it yet", name).WithHint("release bake, or release up")
	}
	return string(d), err
}

var releaseID = regexp.MustCompile(`^r[1-9][0-9]*$`)

// resolve finds the digest that a reference means: a release of the app, a digest, a unique prefix, or a name. app may
// be nil: then a release is looked up in the app of the folder.
func (c *cli) resolve(ctx context.Context, app *config.App, ref string) (string, error) {
	if releaseID.MatchString(ref) {
		return c.imageOfRelease(ctx, app, ref)
	}
	store, err := c.store()
	if err != nil {
		return "", err
	}
	d, err := store.Resolve(ref)
	return string(d), err
}

func (c *cli) imageOfRelease(ctx context.Context, app *config.App, id string) (string, error) {
	if app == nil {
		var err error
		if app, err = c.app(); err != nil {
			return "", fmt.Errorf("find the image of release %s: %w", id, err)
		}
	}
	client, err := c.connect(ctx)
	if err != nil {
		return "", err
	}
	releases, err := client.Releases(ctx, appOf(app))
	if err != nil {
		return "", err
	}
	for _, r := range releases {
		if r.ID == id {
			return r.Image, nil
		}
	}
	return "", fault.New(fault.NotFound, "%s/%s has no release %s", app.App, app.Env, id).WithHint("release history lists them")
}

// upload gives the agent the blobs of an image that its store lacks. An agent with the same store lacks none.
func (c *cli) upload(ctx context.Context, app *config.App, digest, name string) error {
	client, err := c.connect(ctx)
	if err != nil {
		return err
	}
	store, err := c.store()
	if err != nil {
		return err
	}
	blobs, err := store.Blobs(images.Digest(digest))
	if fault.Is(err, fault.NotFound) {
		return nil // the agent may have what we do not: a release's image that was baked elsewhere
	}
	if err != nil {
		return err
	}
	u := upload{client: client, store: store, image: images.Digest(digest), name: name, blobs: blobs}
	return u.run(ctx, len(app.Require.SignedBy) > 0)
}
