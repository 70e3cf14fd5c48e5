package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	godigest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
)

// referrersDir has a file for each subject: the OCI index that the referrers endpoint of a registry answers with.
const referrersDir = "referrers"

// ErrReferrers says that the list of an image's artifacts cannot be read. The next artifact that is attached begins a new one.
var ErrReferrers = errors.New("the list of artifacts is damaged")

func (s *Store) referrersPath(subject Digest) string {
	return s.path(referrersDir, subject.Hex()+".json")
}

// Referrers lists an image's artifacts of a type ("" for all), oldest first.
func (s *Store) Referrers(subject Digest, artifactType string) ([]Referrer, error) {
	index, err := s.readReferrers(subject)
	if err != nil {
		return nil, err
	}
	var list []Referrer
	for _, e := range index.Manifests {
		if artifactType == "" || e.ArtifactType == artifactType {
			list = append(list, Referrer{Descriptor: describe(e), Type: e.ArtifactType, Annotations: e.Annotations})
		}
	}
	return list, nil
}

func (s *Store) readReferrers(subject Digest) (ocispec.Index, error) {
	index := newIndex()
	index.Annotations = nil
	if !subject.Valid() {
		return index, fault.New(fault.Invalid, "list artifacts of %q: not a sha256 digest", string(subject))
	}
	data, err := os.ReadFile(s.referrersPath(subject))
	if errors.Is(err, fs.ErrNotExist) {
		return index, nil
	}
	if err != nil {
		return index, fmt.Errorf("list artifacts of image %s: %w", subject.Short(), err)
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return newIndex(), fault.New(fault.Failed, "list artifacts of image %s: %s: %w (%v)", subject.Short(), s.referrersPath(subject), ErrReferrers, err).
			WithHint("bake, sign or pull the image again")
	}
	return index, nil
}

// Subject is the image that an artifact is about.
func (s *Store) Subject(artifact Digest) (Digest, error) {
	m, _, err := s.readArtifact(artifact)
	if err != nil {
		return "", err
	}
	return Digest(m.Subject.Digest), nil
}

// refer lists an artifact with its subject and takes those it replaces off. The caller holds.
func (s *Store) refer(ctx context.Context, subject, artifact Digest, replaces []Digest) error {
	m, raw, err := s.readArtifact(artifact)
	if err != nil {
		return err
	}
	if !s.Has(subject) {
		return fault.New(fault.NotFound, "attach %s to image %s: no such image in the store", artifactType(m), subject)
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	index, err := s.readReferrers(subject)
	if errors.Is(err, ErrReferrers) {
		index.Annotations, replaces = nil, nil
	} else if err != nil {
		return err
	}
	listed := func(d Digest) int {
		return slices.IndexFunc(index.Manifests, func(e ocispec.Descriptor) bool { return Digest(e.Digest) == d })
	}
	changed := false
	for _, old := range replaces {
		i := listed(old)
		if i < 0 {
			return fault.New(fault.Busy, "attach %s to image %s: another process changed its artifacts meanwhile",
				artifactType(m), subject.Short()).WithHint("try again")
		}
		if old != artifact {
			index.Manifests = slices.Delete(index.Manifests, i, i+1)
			changed = true
		}
	}
	if listed(artifact) < 0 {
		index.Manifests = append(index.Manifests, ocispec.Descriptor{
			MediaType: m.MediaType, ArtifactType: artifactType(m), Digest: godigest.Digest(artifact), Size: int64(len(raw)),
			Annotations: m.Annotations,
		})
		changed = true
	}
	if !changed {
		return nil
	}
	return s.writeReferrers(subject, index)
}

// Detach takes an artifact off its subject's list; its content is left to GC. One that is not listed is success.
func (s *Store) Detach(ctx context.Context, subject, artifact Digest) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	index, err := s.readReferrers(subject)
	if err != nil {
		return err
	}
	before := len(index.Manifests)
	index.Manifests = slices.DeleteFunc(index.Manifests, func(e ocispec.Descriptor) bool { return Digest(e.Digest) == artifact })
	if len(index.Manifests) == before {
		return nil
	}
	return s.writeReferrers(subject, index)
}

func (s *Store) writeReferrers(subject Digest, index ocispec.Index) error {
	if len(index.Manifests) == 0 {
		return s.dropReferrers(subject)
	}
	data, err := json.Marshal(index)
	if err != nil {
		return fmt.Errorf("write artifacts of image %s: %w", subject.Short(), err)
	}
	if err := os.MkdirAll(s.path(referrersDir), 0o755); err != nil {
		return diskError(err, "write artifacts of image %s", subject.Short())
	}
	return diskError(atomicfile.Write(s.referrersPath(subject), append(data, '\n'), 0o644), "write artifacts of image %s", subject.Short())
}

// dropReferrers takes the list of an image's artifacts away.
func (s *Store) dropReferrers(subject Digest) error {
	err := os.Remove(s.referrersPath(subject))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove artifacts of image %s: %w", subject.Short(), err)
	}
	return atomicfile.SyncDir(s.path(referrersDir))
}

// artifactBlobs lists all blobs of an image's artifacts, each artifact's manifest after the blobs it names. What of an
// artifact is not there is left out.
func (s *Store) artifactBlobs(subject Digest) ([]Descriptor, error) {
	list, err := s.Referrers(subject, "")
	if err != nil {
		return nil, err
	}
	var all []Descriptor
	for _, r := range list {
		blobs, err := s.Blobs(r.Digest)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, b := range blobs {
			if !slices.Contains(all, b) {
				all = append(all, b)
			}
		}
	}
	return all, nil
}

// sweepReferrers drops the lists of images that nothing references, last written before young. What a younger one names
// counts as used, so that no list ever names artifacts that a collection took.
func (s *Store) sweepReferrers(used references, young time.Time) error {
	entries, err := os.ReadDir(s.path(referrersDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep artifacts: %w", err)
	}
	for _, e := range entries {
		hex, ok := strings.CutSuffix(e.Name(), ".json")
		subject := Digest(digestPrefix + hex)
		if !ok || !subject.Valid() || used.blobs[subject] {
			continue
		}
		gone, err := removeOld(s.path(referrersDir, e.Name()), young)
		if err != nil {
			return fmt.Errorf("sweep artifacts: %w", err)
		}
		if gone {
			continue
		}
		attached, err := s.artifactBlobs(subject)
		if err != nil {
			return fmt.Errorf("sweep artifacts: %w", err)
		}
		for _, b := range attached {
			used.blobs[b.Digest] = true
		}
	}
	return nil
}

// removeOld deletes a file last written before young, and says whether it did.
func removeOld(path string, young time.Time) (gone bool, err error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() || !info.ModTime().Before(young) {
		return false, nil
	}
	err = os.Remove(path)
	return err == nil, err
}
