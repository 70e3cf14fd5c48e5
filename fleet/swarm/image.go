package swarm

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// supported refuses what nodes of a Swarm cannot have.
func supported(spec fleet.Spec) error {
	switch {
	case len(spec.Volumes) > 0:
		return fault.New(fault.Unsupported, "boot %s on a Swarm: volumes are those of single hosts, and nodes are not", spec.Fleet).
			WithHint("keep data outside of the nodes, or use the driver docker")
	case spec.Cluster.Reach == fleet.ReachNetwork && len(spec.Cluster.Networks) == 0:
		return fault.New(fault.Invalid, "boot %s on a Swarm: its nodes are reached by a network, and none is given", spec.Fleet)
	}
	return nil
}

// remembers refuses a job on a Swarm that keeps no task that has ended: nobody could say then whether its command ran, or how it ended.
func (d *Driver) remembers(ctx context.Context, spec fleet.Spec) error {
	if spec.Kind != fleet.Once {
		return nil
	}
	info, err := d.info(ctx)
	if err == nil && forgetful(info) {
		err = fault.New(fault.Unsupported, "run %s on a Swarm: it keeps no task that has ended, so nobody could tell whether a command ran", spec.Fleet).WithHint(HintHistory)
	}
	return err
}

// HintHistory is what to do when a Swarm keeps no task that has ended.
const HintHistory = "docker swarm update --task-history-limit 5"

// forgetful says whether a Swarm removes tasks as soon as they end.
func forgetful(info system.Info) bool {
	limit := info.Swarm.Cluster.Spec.Orchestration.TaskHistoryRetentionLimit
	return limit != nil && *limit == 0
}

// Prepare brings the image to where the Swarm's hosts pull from, and has a manager look that it is there.
func (d *Driver) Prepare(ctx context.Context, spec fleet.Spec) error {
	return d.PrepareReporting(ctx, spec, nil)
}

// PrepareReporting implements fleet.ProgressPreparer: progress is that of the push.
func (d *Driver) PrepareReporting(ctx context.Context, spec fleet.Spec, report func(fleet.Progress)) error {
	if err := supported(spec); err != nil {
		return err
	}
	if err := d.remembers(ctx, spec); err != nil {
		return err
	}
	if _, _, err := d.image(ctx, spec.Image, true, report); err != nil {
		return fmt.Errorf("prepare image: %w", err)
	}
	return nil
}

// image is an image as hosts pull it, and the credentials that they need, once it is there to be pulled. Unless look is set, one that
// was there before counts as there: registries remove images too.
func (d *Driver) image(ctx context.Context, digest string, look bool, report func(fleet.Progress)) (ref, auth string, err error) {
	repository, err := d.repository(ctx)
	if err != nil {
		return "", "", err
	}
	if auth, err = d.credentials(ctx); err != nil {
		return "", "", err
	}
	ref = repository + "@" + digest
	d.mu.Lock()
	known := d.pushed[ref]
	d.mu.Unlock()
	if known && !look {
		return ref, auth, nil
	}
	if err := d.push(ctx, repository, images.Digest(digest), report); err != nil {
		return "", "", err
	}
	err = d.ask(ctx, func(ctx context.Context, c *client.Client) error {
		_, err := c.DistributionInspect(ctx, ref, auth)
		return err
	}, "find image %s in the registry, from the Swarm's manager", ref)
	if err != nil {
		return "", "", err
	}
	d.mu.Lock()
	d.pushed[ref] = true
	d.mu.Unlock()
	return ref, auth, nil
}

// repository is where images are pulled from. Without one in a registry it is the agent's endpoint, which only this machine reaches.
func (d *Driver) repository(ctx context.Context) (string, error) {
	if d.opts.Repository != "" {
		return d.opts.Repository, nil
	}
	info, err := d.info(ctx)
	if err != nil {
		return "", err
	}
	if near := strings.HasPrefix(d.managers[d.current.Load()].client.DaemonHost(), "unix://"); info.Swarm.Nodes > 1 || !near {
		return "", fault.New(fault.Invalid, "no registry is named, and the Swarm of %d hosts cannot pull from the agent's own endpoint on loopback", info.Swarm.Nodes).
			WithHint("name a repository that all hosts can pull from in agent.yaml: swarm: {repository: registry.example/releases}")
	}
	return d.opts.Endpoint.Address + "/release/" + d.opts.Installation, nil
}

// credentials are those for the registry, as the engine's API takes them.
func (d *Driver) credentials(ctx context.Context) (string, error) {
	var auth registry.AuthConfig
	if d.opts.Repository != "" {
		login, err := images.LoginFor(ctx, d.opts.Repository)
		if err != nil {
			return "", err
		}
		auth = registry.AuthConfig{ServerAddress: login.Registry, Username: login.Username, Password: login.Password, IdentityToken: login.IdentityToken, RegistryToken: login.RegistryToken}
	} else {
		auth = registry.AuthConfig{ServerAddress: d.opts.Endpoint.Address, Username: "release"}
		if d.opts.Endpoint.Token != nil {
			auth.Password = d.opts.Endpoint.Token()
		}
	}
	encoded, err := registry.EncodeAuthConfig(auth)
	if err != nil {
		return "", fmt.Errorf("encode the registry's credentials: %w", err)
	}
	return encoded, nil
}

// push brings an image to the user's registry. One that our store does not have may be there all the same: another agent of the
// installation brought it.
func (d *Driver) push(ctx context.Context, repository string, digest images.Digest, report func(fleet.Progress)) error {
	m, err := d.manifest(digest)
	switch {
	case fault.Is(err, fault.NotFound) && d.opts.Repository != "":
		return nil // the registry has the last word
	case err != nil || d.opts.Repository == "":
		return err
	}
	way := &way{report: report, sizes: map[images.Digest]int64{}, moved: map[images.Digest]int64{}}
	for _, b := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		way.sizes[images.Digest(b.Digest)] = b.Size
	}
	options := images.PushOptions{Remote: images.Remote{Reference: repository + ":" + digest.Hex(), PlainHTTP: d.opts.PlainHTTP, Progress: way.hear}}
	if _, err := d.opts.Images.Push(ctx, digest, options); err != nil {
		return fmt.Errorf("push image %s to %s: %w", digest.Short(), repository, err)
	}
	return nil
}

// manifest reads an image's manifest from our store. One without a container's form is fleet.ErrImageLacksTarget.
func (d *Driver) manifest(digest images.Digest) (m ocispec.Manifest, err error) {
	if !digest.Valid() {
		return m, fault.New(fault.Invalid, "read image %q: not a digest", string(digest))
	}
	f, err := d.opts.Images.OpenBlob(digest)
	if err != nil {
		return m, fmt.Errorf("read manifest: %w", err)
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, 4<<20)).Decode(&m); err != nil {
		return m, fmt.Errorf("read manifest: %w", err)
	}
	if m.Config.MediaType != ocispec.MediaTypeImageConfig && m.Config.MediaType != "application/vnd.docker.container.image.v1+json" {
		return m, fmt.Errorf("%w: its config is %q", fleet.ErrImageLacksTarget, m.Config.MediaType)
	}
	return m, nil
}

// way counts how far a push is. A blob that is sent again counts from where it was.
type way struct {
	report func(fleet.Progress) // nil: nobody asks
	sizes  map[images.Digest]int64
	moved  map[images.Digest]int64
}

// hear takes a step of a push; steps come one at a time.
func (w *way) hear(t images.Transfer) {
	if _, ours := w.sizes[t.Blob]; !ours || w.report == nil {
		return
	}
	w.moved[t.Blob] = max(w.moved[t.Blob], t.Moved)
	p := fleet.Progress{Doing: "pushing"}
	for b, size := range w.sizes {
		p.Done, p.Total = p.Done+w.moved[b], p.Total+size
	}
	w.report(p)
}
