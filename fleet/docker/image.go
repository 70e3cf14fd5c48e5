package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// repository is the name under which the installation's images are at the engine. It always has a host part: the
// engine takes a name without one for a name in the public registry.
func (d *Driver) repository() string {
	host := d.opts.Registry.Address
	if host == "" {
		host = "release.invalid"
	}
	return host + "/release/" + d.opts.Installation
}

// pulledName and sentName are the names of an image that came by pull and by archive.
func (d *Driver) pulledName(digest string) string { return d.repository() + "@" + digest }
func (d *Driver) sentName(digest string) string {
	return d.repository() + ":" + strings.TrimPrefix(digest, "sha256:")
}

// Prepare brings the image to the engine: it pulls from the agent's registry endpoint, or is sent an archive where it
// cannot reach that. An image that is there already is left as it is.
func (d *Driver) Prepare(ctx context.Context, spec fleet.Spec) error {
	return d.PrepareReporting(ctx, spec, nil)
}

// PrepareReporting implements fleet.ProgressPreparer. Without an image store nothing is known of the layers, and nothing said.
func (d *Driver) PrepareReporting(ctx context.Context, spec fleet.Spec, report func(fleet.Progress)) error {
	want, err := d.manifest(spec.Image)
	if fault.Is(err, fault.NotFound) { // another agent of the installation may have brought it
		id, foundErr := d.broughtByAnother(ctx, spec.Image)
		if foundErr != nil {
			err = foundErr
		} else if id != "" {
			d.rememberImage(spec.Image, id)
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("prepare image %s: %w", short(spec.Image), err)
	}
	id, err := d.present(ctx, spec.Image, want)
	if err == nil && id == "" {
		way := carrying(want, report)
		if err = d.bring(ctx, spec.Image, want, way); err == nil {
			way.arrived()
			id, err = d.present(ctx, spec.Image, want)
		} else if damage := d.damage(ctx, want); damage != nil {
			err = damage // the engine can only say that it did not get what it asked for
		}
	}
	if err != nil {
		return fmt.Errorf("prepare image %s: %w", short(spec.Image), err)
	}
	if id == "" {
		return fault.New(fault.Failed, "prepare image %s: the engine took it but does not have it", short(spec.Image))
	}
	d.rememberImage(spec.Image, id)
	return nil
}

// damage says what is wrong with the image in our own store; nil: nothing, or it is not known.
func (d *Driver) damage(ctx context.Context, m *ocispec.Manifest) error {
	if m == nil {
		return nil
	}
	for _, b := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		err := d.opts.Images.CheckBlob(ctx, images.Descriptor{Digest: images.Digest(b.Digest), Size: b.Size})
		if errors.Is(err, images.ErrDamaged) || fault.Is(err, fault.NotFound) {
			return err
		}
	}
	return nil
}

// digestOf reads the image's manifest digest from one of our names, pulled or sent, whatever the registry's address
// was at that time. It is not ok for another's name.
func (d *Driver) digestOf(ref string) (digest string, ok bool) {
	path := "/release/" + d.opts.Installation
	if _, digest, ok = strings.Cut(ref, path+"@"); ok {
		return digest, true
	}
	if _, digest, ok = strings.Cut(ref, path+":"); ok {
		return "sha256:" + digest, true
	}
	return "", false
}

// bring pulls the image, or sends it when the engine cannot pull.
func (d *Driver) bring(ctx context.Context, digest string, want *ocispec.Manifest, way *carriage) error {
	r, err := d.reach(ctx)
	if err != nil {
		return err
	}
	if r.near && d.opts.Registry.Address != "" {
		err := d.pull(ctx, digest, way)
		if err == nil || d.opts.Images == nil || ctx.Err() != nil || !errors.Is(err, errRegistry) {
			return err
		}
		d.log.InfoContext(ctx, "engine cannot pull from us, sending the image", "image", digest, "error", err)
	}
	if want == nil {
		return fault.New(fault.Unsupported, "the engine at %s cannot reach the registry at %s", d.daemon, d.opts.Registry.Address)
	}
	return d.send(ctx, digest, *want, r, way)
}

// errRegistry: the engine could not get the image from our endpoint, for reasons that sending it may not have.
var errRegistry = errors.New("pull from the agent's registry")

func (d *Driver) pull(ctx context.Context, digest string, way *carriage) error {
	auth := registry.AuthConfig{ServerAddress: d.opts.Registry.Address}
	if d.opts.Registry.Token != nil {
		auth.Username, auth.Password = "release", d.opts.Registry.Token()
	}
	encoded, err := registry.EncodeAuthConfig(auth)
	if err != nil {
		return fmt.Errorf("encode registry token: %w", err)
	}
	way.begin("pulling")
	body, err := d.engine.ImagePull(ctx, d.pulledName(digest), image.PullOptions{RegistryAuth: encoded})
	if err == nil {
		defer body.Close()
		err = messages(body, way)
	}
	return d.pullError(err, digest)
}

func (d *Driver) pullError(err error, digest string) error {
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "media type") || strings.Contains(err.Error(), "mediatype"):
		return fmt.Errorf("%w: %w", fleet.ErrImageLacksTarget, err)
	case silent(err) || errors.Is(err, context.Canceled) || fault.Is(engineError(err, ""), fault.NoSpace):
		return engineError(err, "pull %s", d.pulledName(digest))
	}
	return unavailable(fault.Unavailable, "pull "+d.pulledName(digest), fmt.Errorf("%w: %w", errRegistry, err)).
		WithHint("the engine pulls from the agent on this machine; see: release agent status")
}

// manifest reads the image's manifest from our store; nil when the driver was given none. An image without a
// container form is fleet.ErrImageLacksTarget.
func (d *Driver) manifest(digest string) (*ocispec.Manifest, error) {
	if !images.Digest(digest).Valid() {
		return nil, fault.New(fault.Invalid, "read image %q: not a digest", digest)
	}
	if d.opts.Images == nil {
		return nil, nil
	}
	f, err := d.opts.Images.OpenBlob(images.Digest(digest))
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	defer f.Close()
	var m ocispec.Manifest
	if err := json.NewDecoder(io.LimitReader(f, 4<<20)).Decode(&m); err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if m.Config.MediaType != ocispec.MediaTypeImageConfig && m.Config.MediaType != "application/vnd.docker.container.image.v1+json" {
		return nil, fmt.Errorf("%w: its config is %q", fleet.ErrImageLacksTarget, m.Config.MediaType)
	}
	return &m, nil
}

// present is the engine's id of the image, "" when the engine does not have it. With a manifest at hand the id is
// checked: it must be the digest of the config, or of the manifest where the engine counts so. A name that somebody
// moved to another image is an error if it names a digest, and counts as absent if it is only a tag.
func (d *Driver) present(ctx context.Context, digest string, want *ocispec.Manifest) (string, error) {
	right := func(id string) bool {
		return id == digest || want == nil || id == want.Config.Digest.String()
	}
	if err := d.greet(ctx); err != nil {
		return "", err
	}
	in, err := d.engine.ImageInspect(ctx, d.pulledName(digest))
	switch {
	case err == nil && right(in.ID):
		return in.ID, nil
	case err == nil:
		return "", fault.New(fault.Failed, "check image: the engine has config %s, we baked %s", short(in.ID), short(want.Config.Digest.String())).
			WithHint("remove it from the engine: docker rmi %s", d.pulledName(digest))
	case !errdefs.IsNotFound(err):
		return "", engineError(err, "inspect image")
	}
	if want == nil {
		return "", nil
	}
	in, err = d.engine.ImageInspect(ctx, d.sentName(digest))
	switch {
	case err == nil && right(in.ID):
		return in.ID, nil
	case err == nil || errdefs.IsNotFound(err):
		return "", nil
	}
	return "", engineError(err, "inspect image")
}

// broughtByAnother is the engine's id of an image that it pulled by the digest from the endpoint of another agent of this
// installation, "" when there is none. The engine checked the digest when it pulled.
func (d *Driver) broughtByAnother(ctx context.Context, digest string) (string, error) {
	if err := d.greet(ctx); err != nil {
		return "", err
	}
	all, err := d.engine.ImageList(ctx, image.ListOptions{})
	if err != nil {
		return "", engineError(err, "list images")
	}
	for _, have := range all {
		for _, ref := range have.RepoDigests {
			if found, ok := d.digestOf(ref); ok && found == digest {
				return have.ID, nil
			}
		}
	}
	return "", nil
}

// imageID is the engine's id of the spec's image, which is brought there if it is missing.
func (d *Driver) imageID(ctx context.Context, spec fleet.Spec) (string, error) {
	if id := d.knownImage(spec.Image); id != "" {
		return id, nil
	}
	if err := d.Prepare(ctx, spec); err != nil {
		return "", err
	}
	return d.knownImage(spec.Image), nil
}

func (d *Driver) knownImage(digest string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.images[digest]
}

// rememberImage notes the image as one that an Ensure is awaited for.
func (d *Driver) rememberImage(digest, id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.images[digest] = id
	d.awaited[digest] = true
}

func (d *Driver) forgetImage(digest string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.images, digest)
}

// ensured notes that containers hold the image now, or never will.
func (d *Driver) ensured(digest string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.awaited, digest)
}

func (d *Driver) awaitedImages() map[string]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.awaited)
}

// short is a digest for people.
func short(digest string) string {
	h := strings.TrimPrefix(digest, "sha256:")
	return h[:min(12, len(h))]
}
