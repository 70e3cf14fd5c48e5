// Package verify checks an image and all that was said about it: that every blob has its digest, that a known key signed
// it, that its provenance is about it and was signed too, and that its bills of materials are there and are the ones
// that the provenance names.
package verify

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/provenance"
	"github.com/bootandshoot/release/images/signature"
	"github.com/bootandshoot/release/internal/fault"
)

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"` // blobs, signature, provenance, sbom
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	err    error
}

// Result is all that was looked at.
type Result struct {
	Image  string   `json:"image"`
	Keys   []string `json:"keys"` // ids of the keys that signed it, of those given
	Checks []Check  `json:"checks"`
}

// Image checks an image against keys; one of them must have signed. The error is the first check that failed, as
// fault.Denied or what its reason is; the result has them all.
func Image(ctx context.Context, s *images.Store, d images.Digest, keys []signature.PublicKey) (Result, error) {
	r := Result{Image: string(d), Keys: []string{}}
	by, err := signature.Verify(s, d, keys)
	for _, k := range by {
		r.Keys = append(r.Keys, k.ID())
	}
	r.add("signature", err, "signed by %s", names(by))
	count, err := blobs(ctx, s, d)
	r.add("blobs", err, "%d blobs have their digests", count)
	found, err := statements(s, d, keys)
	r.add("provenance", err, "%d statement of it, signed", len(found))
	count, err = bills(s, d, found)
	r.add("sbom", err, "%d bills of materials, those that the provenance names", count)
	for _, c := range r.Checks {
		if c.err != nil {
			return r, c.err
		}
	}
	return r, nil
}

func (r *Result) add(name string, err error, format string, args ...any) {
	c := Check{Name: name, OK: err == nil, Detail: fmt.Sprintf(format, args...), err: err}
	if err != nil {
		c.Detail = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	r.Checks = append(r.Checks, c)
}

func names(keys []signature.PublicKey) string {
	text := ""
	for i, k := range keys {
		if i > 0 {
			text += ", "
		}
		text += k.Name
	}
	return text
}

// Content checks only that every blob of an image, and of what is attached to it, has its digest. The error names all that
// have not.
func Content(ctx context.Context, s *images.Store, d images.Digest) (Result, error) {
	r := Result{Image: string(d), Keys: []string{}}
	count, err := blobs(ctx, s, d)
	r.add("blobs", err, "%d blobs have their digests", count)
	return r, err
}

// blobs reads every blob of the image and of its artifacts.
func blobs(ctx context.Context, s *images.Store, d images.Digest) (int, error) {
	var bad fault.List
	note := func(err error) {
		if err != nil {
			bad = append(bad, fault.All(fmt.Errorf("verify image %s: %w", d.Short(), err))...)
		}
	}
	attached, err := s.Referrers(d, "")
	note(err)
	checked := map[images.Digest]bool{}
	for _, of := range append([]images.Referrer{{Descriptor: images.Descriptor{Digest: d}}}, attached...) {
		list, err := s.Blobs(of.Digest)
		note(err)
		for _, b := range list {
			if checked[b.Digest] {
				continue
			}
			checked[b.Digest] = true
			note(s.CheckBlob(ctx, b))
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
		}
	}
	return len(checked), bad.Err()
}

// statements are those about the image that a key signed.
func statements(s *images.Store, d images.Digest, keys []signature.PublicKey) ([]provenance.Found, error) {
	all, err := provenance.Find(s, d)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fault.New(fault.Denied, "verify image %s: nothing says where it comes from", d.Short()).
			WithHint("bake it again: release bake attaches provenance")
	}
	trusted := slices.DeleteFunc(slices.Clone(all), func(f provenance.Found) bool { return f.SignedBy(keys) == nil })
	if len(trusted) == 0 {
		return nil, fault.New(fault.Denied, "verify image %s: its provenance is not signed by a key given", d.Short()).
			WithHint("sign it with: release images sign %s --key KEYFILE", d.Short())
	}
	return trusted, nil
}

// bills compares the bills of materials with what trusted provenance says of them.
func bills(s *images.Store, d images.Digest, trusted []provenance.Found) (int, error) {
	named := map[string]bool{}
	for _, f := range trusted {
		for _, p := range f.Statement.Predicate.Run.Products {
			named[p.Digest["sha256"]] = true
		}
	}
	count := 0
	for _, kind := range []string{images.ArtifactSPDX, images.ArtifactCycloneDX} {
		list, err := s.Referrers(d, kind)
		if err != nil {
			return 0, err
		}
		for _, r := range list {
			a, err := s.OpenArtifact(r.Digest)
			if err != nil {
				return 0, err
			}
			for _, b := range a.Blobs {
				if !named[images.DigestOf(b.Data).Hex()] {
					return 0, fault.New(fault.Denied, "verify image %s: signed provenance does not name its bill of materials %s", d.Short(), r.Digest.Short()).
						WithHint("bake it again with --sign")
				}
				count++
			}
		}
	}
	if count == 0 {
		return 0, fault.New(fault.Denied, "verify image %s: it has no bill of materials", d.Short()).
			WithHint("bake it again: release bake attaches one")
	}
	return count, nil
}
