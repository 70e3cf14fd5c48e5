package images

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/fault"
)

// openRemote finds an image by what a person typed.
func (s *Store) openRemote(ctx context.Context, reference string, platform ocispec.Platform) (foreign, error) {
	o := Remote{Reference: reference}
	ref, err := o.parse()
	if err != nil {
		return foreign{}, err
	}
	get, err := s.newDownloader(ctx, ref, o)
	if err != nil {
		return foreign{}, err
	}
	return openReference(ctx, ref, o, get, platform)
}

// openReference finds an image in a registry; its layers come through get when they are opened.
func openReference(ctx context.Context, ref name.Reference, o Remote, get *downloader, platform ocispec.Platform) (foreign, error) {
	var f foreign
	desc, err := remote.Get(ref, append(o.options(ctx, remote.DefaultTransport),
		remote.WithPlatform(v1.Platform{OS: platform.OS, Architecture: platform.Architecture, Variant: platform.Variant}))...)
	if err != nil {
		return f, registryError(ref, err)
	}
	img, err := desc.Image()
	if err != nil && desc.MediaType.IsIndex() && strings.Contains(err.Error(), "no child with platform") {
		return f, wrongPlatform(platform, indexPlatforms(desc))
	}
	if err != nil {
		return f, registryError(ref, err)
	}
	f, err = describeRemote(ref, img, get)
	if err != nil {
		return f, err
	}
	var have ocispec.Platform
	if err := json.Unmarshal(f.config, &have); err != nil {
		return f, fault.New(fault.Invalid, "read configuration of %s: %w", ref, err)
	}
	if !fits(platform, &have) {
		return f, wrongPlatform(platform, []string{platformText(have)})
	}
	return f, nil
}

// describeRemote reads manifest and configuration; layers are fetched when they are opened.
func describeRemote(ref name.Reference, img v1.Image, get *downloader) (foreign, error) {
	var f foreign
	digest, err := img.Digest()
	if err != nil {
		return f, registryError(ref, err)
	}
	f.digest = Digest(digest.String())
	m, err := img.Manifest()
	if err != nil {
		return f, registryError(ref, err)
	}
	f.annotations = m.Annotations
	if f.config, err = img.RawConfigFile(); err != nil {
		return f, registryError(ref, err)
	}
	for _, l := range m.Layers {
		b := Descriptor{Digest: Digest(l.Digest.String()), Size: l.Size}
		f.layers = append(f.layers, foreignLayer{name: string(b.Digest), open: func(ctx context.Context) (io.ReadCloser, error) {
			r, err := get.open(ctx, b)
			if err != nil {
				return nil, registryError(ref, err)
			}
			return r, nil
		}})
	}
	return f, nil
}

func indexPlatforms(desc *remote.Descriptor) []string {
	index, err := desc.ImageIndex()
	if err != nil {
		return nil
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil
	}
	var list []string
	for _, d := range m.Manifests {
		if d.Platform != nil && d.Platform.OS != "unknown" {
			list = append(list, d.Platform.String())
		}
	}
	return list
}

// registryError says what went wrong in the words of the person who typed the reference.
func registryError(ref name.Reference, err error) error {
	registry := ref.Context().RegistryStr()
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	var answer *transport.Error
	if errors.As(err, &answer) {
		switch answer.StatusCode {
		case http.StatusNotFound:
			return fault.New(fault.NotFound, "registry %s has no such image: %w", registry, err).WithHint("check name and tag")
		case http.StatusUnauthorized, http.StatusForbidden:
			return fault.New(fault.Denied, "registry %s refuses: %w", registry, err).WithHint("docker login %s", registry)
		case http.StatusTooManyRequests:
			return fault.New(fault.Unavailable, "registry %s answers too many requests: %w", registry, err).
				WithHint("try again later, or log in: docker login %s", registry)
		}
		if answer.StatusCode >= 500 {
			return fault.New(fault.Unavailable, "registry %s fails: %w", registry, err).WithHint("try again later")
		}
		return fmt.Errorf("ask registry %s: %w", registry, err)
	}
	var dns *net.DNSError
	var op *net.OpError
	var asked *url.Error
	if errors.As(err, &dns) || errors.As(err, &op) || errors.As(err, &asked) && !errors.Is(err, context.Canceled) {
		cause := cmp.Or[error](firstOf(dns, op), err)
		return fault.New(fault.Unavailable, "registry %s does not answer: %w", registry, cause).
			WithHint("check the address of the registry, and the network")
	}
	return fmt.Errorf("ask registry %s: %w", registry, err)
}

func firstOf(dns *net.DNSError, op *net.OpError) error {
	switch {
	case dns != nil:
		return dns
	case op != nil:
		return op
	}
	return nil
}
