package provenance

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/signature"
	"github.com/bootandshoot/release/internal/fault"
)

// predicateAnnotation is where cosign looks for the type of an attestation; the signature annotation is empty there.
const predicateAnnotation = "predicateType"

// Attach stores a statement of an image, signed when key is not nil, in place of those in replaces. The annotations are
// those of its manifest.
func Attach(ctx context.Context, s *images.Store, image images.Digest, statement []byte, key *signature.PrivateKey, annotations map[string]string, replaces ...images.Digest) error {
	a := images.Artifact{Subject: image, Type: images.ArtifactStatement, Annotations: annotations,
		Blobs: []images.ArtifactBlob{{MediaType: images.ArtifactStatement, Data: statement,
			Annotations: map[string]string{predicateAnnotation: PredicateType}}}}
	if key != nil {
		e, err := signature.NewEnvelope(images.ArtifactStatement, statement, key)
		if err != nil {
			return fmt.Errorf("attach provenance: %w", err)
		}
		if a, err = enveloped(image, e, annotations); err != nil {
			return err
		}
	}
	if _, err := s.PutArtifact(ctx, a, replaces...); err != nil {
		return fmt.Errorf("attach provenance: %w", err)
	}
	return nil
}

func enveloped(image images.Digest, e signature.Envelope, annotations map[string]string) (images.Artifact, error) {
	data, err := e.Encode()
	return images.Artifact{Subject: image, Type: images.ArtifactAttestation, Annotations: maps.Clone(annotations),
		Blobs: []images.ArtifactBlob{{MediaType: images.ArtifactAttestation, Data: data,
			Annotations: map[string]string{predicateAnnotation: PredicateType, signature.SignatureAnnotation: ""}}}}, err
}

// Found is a statement of an image as it lies in the store.
type Found struct {
	Artifact  images.Digest
	Data      []byte // the statement's bytes
	Statement Statement
	Envelope  *signature.Envelope // nil when it is not signed
	notes     map[string]string
}

// Bad is an artifact that is attached as provenance and is none of its image: damaged, or about something else.
type Bad struct {
	Artifact images.Digest
	Err      error
}

// Find reads the provenance of an image, oldest first; none is fine. A damaged one, or one of something else, is an error.
func Find(s *images.Store, image images.Digest) ([]Found, error) {
	all, bad, err := Look(s, image)
	if err == nil && len(bad) > 0 {
		return nil, bad[0].Err
	}
	return all, err
}

// Look is Find that passes over what is damaged or of something else, and names it.
func Look(s *images.Store, image images.Digest) (all []Found, bad []Bad, err error) {
	list, err := s.Referrers(image, "")
	if err != nil {
		return nil, nil, err
	}
	for _, r := range list {
		if r.Type != images.ArtifactStatement && r.Type != images.ArtifactAttestation {
			continue
		}
		found, err := read(s, r.Digest, image)
		if err != nil {
			bad = append(bad, Bad{r.Digest, err})
		}
		all = append(all, found...)
	}
	return all, bad, nil
}

// read reads all statements of an artifact, or none.
func read(s *images.Store, artifact, image images.Digest) ([]Found, error) {
	a, err := s.OpenArtifact(artifact)
	if err != nil {
		return nil, fmt.Errorf("read provenance of image %s: %w", image.Short(), err)
	}
	var all []Found
	for _, b := range a.Blobs {
		f, err := open(b, image)
		if f.Statement.Type == StatementType && f.Statement.PredicateType != PredicateType {
			continue // somebody's statement of another kind
		}
		if err != nil {
			return nil, fmt.Errorf("provenance %s: %w", artifact.Short(), err)
		}
		f.Artifact, f.notes = artifact, a.Annotations
		all = append(all, f)
	}
	return all, nil
}

func open(b images.ArtifactBlob, image images.Digest) (Found, error) {
	f := Found{Data: b.Data}
	switch b.MediaType {
	case images.ArtifactStatement:
	case images.ArtifactAttestation:
		e, err := signature.ParseEnvelope(b.Data)
		if err != nil {
			return f, err
		}
		if e.PayloadType != images.ArtifactStatement {
			return f, fault.New(fault.Invalid, "read envelope: it holds a %q", e.PayloadType)
		}
		if f.Data, err = e.Content(); err != nil {
			return f, err
		}
		f.Envelope = &e
	default:
		return f, fault.New(fault.Invalid, "it has the media type %q", b.MediaType)
	}
	var err error
	f.Statement, err = Parse(f.Data, image)
	return f, err
}

// Sign puts the key's signature on provenance of an image: on the statements whose bytes have the digests in only, on all
// without any; what is none of the image's is left as it is. changed is false when it was there already.
func Sign(ctx context.Context, s *images.Store, image images.Digest, key *signature.PrivateKey, only ...images.Digest) (changed bool, err error) {
	all, _, err := Look(s, image)
	if err != nil {
		return false, err
	}
	for _, f := range all {
		if len(only) > 0 && !slices.Contains(only, images.DigestOf(f.Data)) || f.SignedBy([]signature.PublicKey{key.Public}) != nil {
			continue
		}
		var e signature.Envelope
		if f.Envelope == nil {
			e, err = signature.NewEnvelope(images.ArtifactStatement, f.Data, key)
		} else {
			e = *f.Envelope
			e.Signatures = slices.Clone(e.Signatures)
			err = e.Add(key)
		}
		if err != nil {
			return changed, err
		}
		a, err := enveloped(image, e, f.notes)
		if err != nil {
			return changed, err
		}
		if _, err := s.PutArtifact(ctx, a, f.Artifact); err != nil {
			return changed, fmt.Errorf("sign provenance: %w", err)
		}
		changed = true
	}
	return changed, nil
}

// SignedBy is who of keys signed it; nil for nobody.
func (f Found) SignedBy(keys []signature.PublicKey) []signature.PublicKey {
	if f.Envelope == nil {
		return nil
	}
	if _, by, err := f.Envelope.Verify(keys); err == nil {
		return by
	}
	return nil
}
