package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/filelock"
)

// Remove takes an image off the list, under all its names, and deletes its blobs, artifacts and root that no other image uses.
// While a bake holds the store the content is left to GC. A pinned image is fault.Busy, which names who pins it;
// with force it goes off the list, and its content stays until the pin is gone and a collection comes.
func (s *Store) Remove(ctx context.Context, d Digest, force bool) error {
	blobs, chain, err := s.removeEntry(ctx, d, force)
	if err != nil {
		return err
	}
	release, err := s.tryExclusive()
	if errors.Is(err, filelock.ErrLocked) {
		return nil
	}
	if err != nil {
		return err
	}
	defer release()
	return s.deleteUnused(ctx, blobs, chain)
}

// MayRemove says why Remove would refuse, and removes nothing.
func (s *Store) MayRemove(ctx context.Context, d Digest, force bool) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	_, err = s.without(d, force)
	return err
}

// without is the index without an image that may go. The caller has the lock.
func (s *Store) without(d Digest, force bool) (index ocispec.Index, err error) {
	pinned, err := s.readPins()
	if err != nil {
		return index, err
	}
	if uses := pinned.reasons(d); len(uses) > 0 && !force {
		return index, fault.New(fault.Busy, "remove image %s: a fleet needs it: %s", d.Short(), strings.Join(uses, ", ")).
			WithHint("release destroy ends the fleets; with --force the image goes off the list and its content stays until then")
	}
	if index, err = s.readIndex(); err != nil {
		return index, err
	}
	before := len(index.Manifests)
	index.Manifests = slices.DeleteFunc(index.Manifests, func(e ocispec.Descriptor) bool { return Digest(e.Digest) == d })
	if len(index.Manifests) == before {
		return index, fault.New(fault.NotFound, "remove image %s: no such image", d)
	}
	return index, nil
}

// removeEntry takes the image out of the index and says what it consisted of.
func (s *Store) removeEntry(ctx context.Context, d Digest, force bool) (blobs []Digest, chain string, err error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, "", err
	}
	defer unlock()
	index, err := s.without(d, force)
	if err != nil {
		return nil, "", err
	}
	blobs = []Digest{d}
	if list, err := s.Blobs(d); err == nil {
		blobs = blobs[:0]
		for _, b := range list {
			blobs = append(blobs, b.Digest)
		}
	}
	attached, err := s.artifactBlobs(d)
	if err != nil {
		return nil, "", err
	}
	for _, b := range attached {
		blobs = append(blobs, b.Digest)
	}
	if img, err := s.Get(d); err == nil {
		chain = chainID(img.Layers)
	}
	return blobs, chain, s.writeIndex(index)
}

// deleteUnused deletes the given content as far as nothing references it. The caller has the exclusive hold. Under the store's
// lock only that goes by which content is found, so that pins never wait for a tree to be deleted.
func (s *Store) deleteUnused(ctx context.Context, blobs []Digest, chain string) error {
	layers, roots, err := s.forget(ctx, blobs, chain)
	if err != nil {
		return err
	}
	for _, l := range layers {
		if err := s.removeBlob(l); err != nil {
			return err
		}
	}
	if err := atomicfile.SyncDir(s.path(blobDir)); err != nil {
		return err
	}
	for _, dir := range roots {
		if err := deleteRoot(dir); err != nil {
			return err
		}
	}
	return nil
}

// forget removes the documents among the given blobs, with the lists of their artifacts, makes the unpacked roots invalid, and
// says what is left to delete.
func (s *Store) forget(ctx context.Context, blobs []Digest, chain string) (layers []Digest, roots []string, err error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	used, err := s.references()
	if err != nil {
		return nil, nil, err
	}
	for _, b := range blobs {
		if used.blobs[b] {
			continue
		}
		if !isDocument(s.blobPath(b)) {
			layers = append(layers, b)
			continue
		}
		if err := errors.Join(s.removeBlob(b), s.dropReferrers(b)); err != nil {
			return nil, nil, err
		}
	}
	if chain == "" || used.chains[chain] {
		return layers, nil, nil
	}
	if roots, err = s.rootsOf(chain); err != nil {
		return nil, nil, err
	}
	for _, dir := range roots {
		if err := invalidateRoot(dir); err != nil {
			return nil, nil, fmt.Errorf("remove root %s: %w", dir, err)
		}
	}
	return layers, roots, nil
}

func (s *Store) removeBlob(d Digest) error {
	if err := os.Remove(s.blobPath(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove blob %s: %w", d, err)
	}
	return nil
}

// references is all content that images of the index and of pins use.
type references struct {
	blobs  map[Digest]bool
	chains map[string]bool // names of unpacked roots, those of single layers too
}

func newReferences() references {
	return references{blobs: map[Digest]bool{}, chains: map[string]bool{}}
}

// references collects it. An image whose blobs cannot be read is an error, except when it is absent: what a damaged
// manifest uses is unknown and must not be deleted.
func (s *Store) references() (references, error) {
	refs := newReferences()
	index, err := s.readIndex()
	if err != nil {
		return refs, err
	}
	pinned, err := s.readPins()
	if err != nil {
		return refs, err
	}
	for _, e := range index.Manifests {
		if err := s.addReferences(refs, Digest(e.Digest)); err != nil {
			return refs, err
		}
	}
	for d := range pinned {
		if err := s.addReferences(refs, d); err != nil {
			return refs, err
		}
	}
	return refs, nil
}

func (s *Store) addReferences(refs references, d Digest) error {
	if refs.blobs[d] || !d.Valid() {
		return nil
	}
	refs.blobs[d] = true
	blobs, err := s.Blobs(d)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("collect what images use: %w", err)
	}
	attached, err := s.artifactBlobs(d)
	if err != nil {
		return fmt.Errorf("collect what images use: %w", err)
	}
	for _, b := range append(blobs, attached...) {
		refs.blobs[b.Digest] = true
	}
	if img, err := s.Get(d); err == nil {
		refs.chains[chainID(img.Layers)] = true
		for _, l := range img.Layers {
			refs.chains[layerPrefix+l.diffID().Hex()] = true
		}
	}
	return nil
}
