package images

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/fault"
)

// dockerArchiveImage is an element of manifest.json in what docker save writes.
type dockerArchiveImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// openDockerArchive finds an image in what docker save wrote.
func openDockerArchive(t tree, selected string, platform ocispec.Platform) (foreign, error) {
	var f foreign
	data, err := readTree(t, "manifest.json")
	if errors.Is(err, fs.ErrNotExist) {
		return f, fault.New(fault.Invalid, "neither an OCI layout (no index.json) nor a docker archive (no manifest.json)")
	}
	if err != nil {
		return f, err
	}
	var list []dockerArchiveImage
	if err := json.Unmarshal(data, &list); err != nil {
		return f, fault.New(fault.Invalid, "read manifest.json: %w", err)
	}
	img, err := selectTagged(list, selected)
	if err != nil {
		return f, err
	}
	if f.config, err = readTree(t, img.Config); err != nil {
		return f, fault.New(fault.Invalid, "read configuration: %w", err)
	}
	var have ocispec.Platform
	if err := json.Unmarshal(f.config, &have); err != nil {
		return f, fault.New(fault.Invalid, "read configuration %s: %w", img.Config, err)
	}
	if !fits(platform, &have) {
		return f, wrongPlatform(platform, []string{platformText(have)})
	}
	for _, name := range img.Layers {
		f.layers = append(f.layers, foreignLayer{name: name, open: func(context.Context) (io.ReadCloser, error) {
			return openMember(t, name)
		}})
	}
	return f, nil
}

// selectTagged finds the image with a tag, written with or without ":latest"; without one there may be one only.
func selectTagged(list []dockerArchiveImage, selected string) (dockerArchiveImage, error) {
	var tags []string
	for _, img := range list {
		tags = append(tags, img.RepoTags...)
		if selected != "" && (slices.Contains(img.RepoTags, selected) || slices.Contains(img.RepoTags, selected+":latest")) {
			return img, nil
		}
	}
	switch {
	case selected != "":
		return dockerArchiveImage{}, fault.New(fault.NotFound, "no image %q in it", selected).WithHint("it has: %s", strings.Join(tags, ", "))
	case len(list) == 0:
		return dockerArchiveImage{}, fault.New(fault.Invalid, "it has no image")
	case len(list) > 1:
		return dockerArchiveImage{}, fault.New(fault.Invalid, "it has several images").WithHint("name one of: %s", strings.Join(tags, ", "))
	}
	return list[0], nil
}
