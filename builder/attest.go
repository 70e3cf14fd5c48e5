package builder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/provenance"
	"github.com/bootandshoot/release/images/sbom"
	"github.com/bootandshoot/release/images/signature"
	"github.com/bootandshoot/release/internal/fault"
)

// annotationInputs of an artifact is the digest of all that the bake knew when it wrote it.
const annotationInputs = "release.inputs"

// attest describes the image that was baked.
func (b *bake) attest(ctx context.Context, d images.Digest) error {
	inputs, build, err := b.knowledge()
	if err != nil {
		return err
	}
	return Attest(ctx, b.store, d, inputs, build, b.o.Sign)
}

// Attest keeps beside an image of the store what it is made of and where that came from, and signs it unless key is nil.
// What is there already from the same inputs stays as it is, so that a bake of nothing new costs two small reads. A bake that
// signs describes it in any case: what lies beside an image may have come with it from a registry, and is nothing to sign
// unseen.
func Attest(ctx context.Context, s *images.Store, d images.Digest, inputs sbom.Inputs, build provenance.Build, key *signature.PrivateKey) (err error) {
	for range 10 { // another bake may be at the same image
		if err = attestOnce(ctx, s, d, inputs, build, key); !fault.Is(err, fault.Busy) {
			break
		}
	}
	return err
}

func attestOnce(ctx context.Context, s *images.Store, d images.Digest, inputs sbom.Inputs, build provenance.Build, key *signature.PrivateKey) error {
	text, err := json.Marshal([]any{inputs, build})
	if err != nil {
		return fmt.Errorf("describe image %s: %w", d.Short(), err)
	}
	have, err := described(s, d, string(images.DigestOf(text)))
	if err != nil {
		return err
	}
	for _, foreign := range have.foreign {
		if err := s.Detach(ctx, d, foreign); err != nil {
			return fmt.Errorf("describe image %s: %w", d.Short(), err)
		}
	}
	// What is signed is left alone by a bake that cannot sign: it is about the same image and worth more.
	if key == nil && (have.complete || have.signed) {
		return nil
	}
	if err := attach(ctx, s, d, inputs, build, have, key); err != nil {
		return fmt.Errorf("describe image %s: %w", d.Short(), err)
	}
	if key == nil {
		return nil
	}
	_, err = signature.Sign(ctx, s, d, key)
	return err
}

// descriptions is what there is beside an image.
type descriptions struct {
	complete bool
	signed   bool              // its provenance is
	inputs   map[string]string // for the annotations of new ones
	old      map[string][]images.Digest
	foreign  []images.Digest // listed with the image, and not about it or damaged
}

// described looks whether what there is was made from the same inputs. A list that cannot be read is as good as none.
func described(s *images.Store, d images.Digest, inputs string) (descriptions, error) {
	have := descriptions{inputs: map[string]string{annotationInputs: inputs}, old: map[string][]images.Digest{}}
	list, err := s.Referrers(d, "")
	if errors.Is(err, images.ErrReferrers) {
		return have, nil
	}
	if err != nil {
		return have, err
	}
	if have.foreign, err = foreign(s, d, list); err != nil {
		return have, err
	}
	same := map[string]bool{}
	for _, r := range list {
		if _, ours := r.Annotations[annotationInputs]; !ours || slices.Contains(have.foreign, r.Digest) {
			continue
		}
		kind := r.Type
		if kind == images.ArtifactAttestation {
			have.signed, kind = true, images.ArtifactStatement // takes the place of an unsigned one
		}
		have.old[kind] = append(have.old[kind], r.Digest)
		if r.Annotations[annotationInputs] == inputs {
			same[kind] = true
		}
	}
	have.complete = same[images.ArtifactSPDX] && same[images.ArtifactCycloneDX] && same[images.ArtifactStatement]
	return have, nil
}

// foreign lists artifacts of the kinds that a bake makes and that say nothing of the image that they are listed with: they
// are of another one, damaged, or gone.
func foreign(s *images.Store, d images.Digest, list []images.Referrer) ([]images.Digest, error) {
	var all []images.Digest
	for _, r := range list {
		switch r.Type {
		case images.ArtifactSPDX, images.ArtifactCycloneDX:
			if subject, err := s.Subject(r.Digest); err != nil || subject != d {
				all = append(all, r.Digest)
			}
		}
	}
	_, bad, err := provenance.Look(s, d)
	for _, b := range bad {
		all = append(all, b.Artifact)
	}
	return all, err
}

func attach(ctx context.Context, s *images.Store, d images.Digest, inputs sbom.Inputs, build provenance.Build, have descriptions, key *signature.PrivateKey) error {
	doc, err := sbom.Read(ctx, s, d, inputs)
	if err != nil {
		return err
	}
	formats := []struct {
		kind, name string
		write      func() ([]byte, error)
	}{{images.ArtifactSPDX, "sbom.spdx.json", doc.SPDX}, {images.ArtifactCycloneDX, "sbom.cdx.json", doc.CycloneDX}}
	build.Products = make([]provenance.Resource, len(formats))
	group, inner := errgroup.WithContext(ctx)
	for i, f := range formats {
		group.Go(func() error {
			data, err := f.write()
			if err != nil {
				return err
			}
			build.Products[i] = provenance.Resource{Name: f.name, Digest: map[string]string{"sha256": images.DigestOf(data).Hex()}}
			_, err = s.PutArtifact(inner, images.Artifact{Subject: d, Type: f.kind, Annotations: have.inputs,
				Blobs: []images.ArtifactBlob{{MediaType: f.kind, Data: data}}}, have.old[f.kind]...)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	statement, err := build.Statement(d)
	if err != nil {
		return err
	}
	return attachStatement(ctx, s, d, statement, have, key)
}

// attachStatement attaches a statement, in place of those that bakes attached before. One with the same bytes stays, and so do
// the signatures that it has.
func attachStatement(ctx context.Context, s *images.Store, d images.Digest, statement []byte, have descriptions, key *signature.PrivateKey) error {
	old := have.old[images.ArtifactStatement]
	all, _, err := provenance.Look(s, d)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(f provenance.Found) bool {
		return slices.Contains(old, f.Artifact) && bytes.Equal(f.Data, statement)
	})
	if i < 0 {
		return provenance.Attach(ctx, s, d, statement, key, have.inputs, old...)
	}
	if key != nil {
		if _, err := provenance.Sign(ctx, s, d, key, images.DigestOf(statement)); err != nil {
			return err
		}
	}
	for _, other := range old {
		if other != all[i].Artifact {
			if err := s.Detach(ctx, d, other); err != nil {
				return err
			}
		}
	}
	return nil
}

// knowledge is what the bake knows and the image does not tell.
func (b *bake) knowledge() (sbom.Inputs, provenance.Build, error) {
	in := sbom.Inputs{Name: b.name}
	build := provenance.Build{Name: b.name, Target: b.target(), Platform: platformText(b.platform), Epoch: b.epoch, Vars: b.o.Vars,
		Builder: b.o.Builder, Version: b.o.Version, Dependencies: b.dependencies()}
	for _, f := range b.recipe.Fetch {
		sum := f.SHA256
		if pin := b.lock.URL(f.URL); sum == "" && pin != nil {
			sum = pin.SHA256
		}
		for _, to := range []string{f.To, f.Unpack} {
			if to != "" {
				in.Fetches = append(in.Fetches, sbom.Fetch{URL: f.URL, SHA256: sum, To: to})
			}
		}
	}
	for _, g := range b.recipe.Git {
		if pin := b.lock.Commit(g.URL, g.Ref); pin != nil {
			in.Git = append(in.Git, sbom.Git{URL: g.URL, Ref: g.Ref, Commit: pin.Commit, To: g.To})
		}
	}
	for _, name := range b.recipe.Files {
		r, err := b.recipeFile(name)
		if err != nil {
			return in, build, err
		}
		build.Includes = append(build.Includes, r)
	}
	if n := len(build.Includes); n > 0 { // the recipe itself comes last
		build.Recipe, build.Includes = build.Includes[n-1], build.Includes[:n-1]
	}
	return in.Clean(), build, nil
}

// recipeFile names a recipe by its place in the project, the same on every machine.
func (b *bake) recipeFile(name string) (provenance.Resource, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return provenance.Resource{}, fault.New(fault.Failed, "read recipe once more for its digest: %w", err)
	}
	rel := filepath.Base(name)
	if abs, err := filepath.Abs(name); err == nil {
		if resolved, err := filepath.EvalSymlinks(abs); err == nil {
			abs = resolved
		}
		if r, err := filepath.Rel(b.recipe.Root, abs); err == nil && filepath.IsLocal(r) {
			rel = filepath.ToSlash(r)
		}
	}
	return provenance.Resource{URI: rel, Digest: map[string]string{"sha256": images.DigestOf(data).Hex()}}, nil
}

// dependencies is all that came from elsewhere, as the lockfile pins it.
func (b *bake) dependencies() []provenance.Resource {
	var list []provenance.Resource
	add := func(name, uri, algorithm, digest string) {
		if digest != "" {
			list = append(list, provenance.Resource{Name: name, URI: uri, Digest: map[string]string{algorithm: digest}})
		}
	}
	l := b.lock
	if l.Base != nil {
		add("base", l.Base.Image, "sha256", strings.TrimPrefix(l.Base.Digest, "sha256:"))
	}
	if l.Debian != nil {
		for _, p := range l.Debian.Packages[b.debianArch()].All() {
			add(p.Name, sbom.DebianURL(p.Name, p.Version, p.Arch), "sha256", p.SHA256)
		}
	}
	if l.Machine != nil && b.o.Machine != nil {
		for _, p := range l.Machine.Packages {
			add(p.Name, sbom.DebianURL(p.Name, p.Version, p.Arch), "sha256", p.SHA256)
		}
	}
	for _, f := range l.Fetch {
		add("", sbom.PublicURL(f.URL), "sha256", f.SHA256)
	}
	for _, g := range l.Git {
		add(g.Ref, sbom.PublicURL(g.URL), "gitCommit", g.Commit)
	}
	for _, x := range l.Extensions {
		add(x.Name+" "+x.Version, sbom.PublicURL(x.Source), "sha256", x.SHA256)
		add(x.Name+" "+x.Version, sbom.PublicURL(x.Source), "gitCommit", x.Commit)
	}
	return list
}
