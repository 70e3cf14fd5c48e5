package signature

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// Names of cosign's layout.
const (
	PayloadType         = "application/vnd.dev.cosign.simplesigning.v1+json" // media type of a signature's blob
	SignatureAnnotation = "dev.cosignproject.cosign/signature"
	payloadKind         = "cosign container image signature"
)

// payload is what is signed.
type payload struct {
	Critical struct {
		Identity struct {
			Reference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			Digest images.Digest `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional map[string]any `json:"optional"`
}

func payloadOf(d images.Digest) ([]byte, error) {
	var p payload
	p.Critical.Image.Digest, p.Critical.Type = d, payloadKind
	return json.Marshal(p)
}

// Sign adds the key's signature to an image. added is false when the image has a good one of this key already.
func Sign(ctx context.Context, s *images.Store, d images.Digest, key *PrivateKey) (added bool, err error) {
	if _, err := s.Get(d); err != nil {
		return false, fmt.Errorf("sign image %s: %w", d.Short(), err)
	}
	for range 10 { // another signer may be at work on the same image
		added, err = sign(ctx, s, d, key)
		if !fault.Is(err, fault.Busy) {
			break
		}
	}
	if err != nil {
		return false, fmt.Errorf("sign image %s: %w", d.Short(), err)
	}
	return added, nil
}

func sign(ctx context.Context, s *images.Store, d images.Digest, key *PrivateKey) (bool, error) {
	list, err := s.Referrers(d, images.ArtifactSignature)
	if err != nil {
		return false, err
	}
	all := images.Artifact{Subject: d, Type: images.ArtifactSignature}
	var replaces []images.Digest
	for _, r := range list {
		replaces = append(replaces, r.Digest)
		a, err := s.OpenArtifact(r.Digest)
		if err != nil {
			continue // a damaged one is replaced
		}
		for _, b := range a.Blobs {
			if check(d, b, key.Public) == nil {
				return false, nil
			}
			if !slices.ContainsFunc(all.Blobs, func(have images.ArtifactBlob) bool { return same(have, b) }) {
				all.Blobs = append(all.Blobs, b)
			}
		}
	}
	own, err := signed(d, key)
	if err != nil {
		return false, err
	}
	all.Blobs = append(all.Blobs, own)
	_, err = s.PutArtifact(ctx, all, replaces...)
	return true, err
}

func same(a, b images.ArtifactBlob) bool {
	return string(a.Data) == string(b.Data) && a.Annotations[SignatureAnnotation] == b.Annotations[SignatureAnnotation]
}

// signed is a signature as a blob.
func signed(d images.Digest, key *PrivateKey) (images.ArtifactBlob, error) {
	data, err := payloadOf(d)
	if err != nil {
		return images.ArtifactBlob{}, err
	}
	sig, err := key.sign(data)
	if err != nil {
		return images.ArtifactBlob{}, err
	}
	return images.ArtifactBlob{
		MediaType: PayloadType, Data: data,
		Annotations: map[string]string{SignatureAnnotation: base64.StdEncoding.EncodeToString(sig)},
	}, nil
}

// Verify finds who of keys signed the image; one good signature is enough. Without any the error is fault.Denied and says
// what signatures there are. The image's manifest is checked against its digest; of its other blobs nothing is read.
func Verify(s *images.Store, d images.Digest, keys []PublicKey) ([]PublicKey, error) {
	if len(keys) == 0 {
		return nil, fault.New(fault.Invalid, "verify image %s: no key given", d.Short())
	}
	if _, err := s.Get(d); err != nil {
		return nil, fmt.Errorf("verify image %s: %w", d.Short(), err)
	}
	list, err := s.Referrers(d, images.ArtifactSignature)
	if err != nil {
		return nil, fmt.Errorf("verify image %s: %w", d.Short(), err)
	}
	var by []PublicKey
	var problems []string
	for _, r := range list {
		a, err := s.OpenArtifact(r.Digest)
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		for i, b := range a.Blobs {
			good, err := checkAny(d, b, keys)
			if err != nil {
				problems = append(problems, fmt.Sprintf("signature %d %v", i+1, err))
				continue
			}
			if !slices.ContainsFunc(by, func(k PublicKey) bool { return k.ID() == good.ID() }) {
				by = append(by, good)
			}
		}
	}
	if len(by) > 0 {
		return by, nil
	}
	return nil, unsigned(d, keys, problems)
}

func unsigned(d images.Digest, keys []PublicKey, problems []string) error {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.Name
	}
	who := strings.Join(names, ", ")
	if len(problems) == 0 {
		return fault.New(fault.Denied, "verify image %s: it is not signed, and a signature by %s is wanted", d.Short(), who).
			WithHint("sign it with: release images sign %s --key KEYFILE", d.Short())
	}
	return fault.New(fault.Denied, "verify image %s: no good signature by %s: %s", d.Short(), who, strings.Join(problems, "; ")).
		WithHint("check that the keys belong together, or sign it with: release images sign %s --key KEYFILE", d.Short())
}

func checkAny(d images.Digest, b images.ArtifactBlob, keys []PublicKey) (PublicKey, error) {
	var first error
	for _, k := range keys {
		err := check(d, b, k)
		if err == nil {
			return k, nil
		}
		if first == nil || !fault.Is(err, fault.Denied) {
			first = err
		}
	}
	return PublicKey{}, first
}

// check says what is wrong with one signature: fault.Denied when it is not by this key, fault.Invalid for all else.
func check(d images.Digest, b images.ArtifactBlob, key PublicKey) error {
	if b.MediaType != PayloadType {
		return fault.New(fault.Invalid, "has the media type %q", b.MediaType)
	}
	sig, err := base64.StdEncoding.DecodeString(b.Annotations[SignatureAnnotation])
	if err != nil || len(sig) == 0 {
		return fault.New(fault.Invalid, "is no base64 in the annotation %s", SignatureAnnotation)
	}
	if !key.verify(b.Data, sig) {
		return fault.New(fault.Denied, "is not by this key, or was changed")
	}
	var p payload
	if err := json.Unmarshal(b.Data, &p); err != nil || p.Critical.Type != payloadKind {
		return fault.New(fault.Invalid, "signs something else than an image")
	}
	if p.Critical.Image.Digest != d {
		return fault.New(fault.Invalid, "is of another image, %s", p.Critical.Image.Digest)
	}
	return nil
}
