package builder

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/images"
)

// Annotations that a bake writes.
const (
	// AnnotationReproducible is "false" on an image with a step that used the network at will.
	AnnotationReproducible = "release.reproducible"
)

// defaultPath is the PATH of an image that names none, as in other builders.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment lays the recipe's variables over the base's: the base's order, then new ones by name. PATH is always there.
func environment(base []string, own map[string]string) []string {
	var list []string
	seen := map[string]bool{}
	for _, kv := range base {
		name, _, _ := strings.Cut(kv, "=")
		if seen[name] {
			continue
		}
		seen[name] = true
		if value, ok := own[name]; ok {
			kv = name + "=" + value
		}
		list = append(list, kv)
	}
	if _, ok := own["PATH"]; !ok && !seen["PATH"] {
		list = append(list, "PATH="+defaultPath)
	}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		if !seen[name] {
			list = append(list, name+"="+own[name])
		}
	}
	return list
}

// image puts layers and the recipe's metadata over the base's configuration.
func (b *bake) image(base ocispec.Image, st *state, reproducible bool) images.Image {
	r := b.recipe
	created := time.Unix(b.epoch, 0).UTC()
	c := base
	c.Created, c.Platform, c.Author = &created, b.platform, ""
	if base.OS == b.platform.OS && base.Architecture == b.platform.Architecture && b.platform.Variant == "" {
		c.Variant = base.Variant
	}
	c.Config.Env = b.env
	c.Config.Labels = overlay(base.Config.Labels, r.Labels)
	if r.User != "" {
		c.Config.User = r.User
	}
	if r.Workdir != "" {
		c.Config.WorkingDir = r.Workdir
	}
	if cmd := r.Command(); cmd != nil {
		c.Config.Entrypoint, c.Config.Cmd = cmd, nil
	}
	img := images.Image{Config: c, Layers: st.layers, Annotations: map[string]string{}}
	if len(r.Ports) > 0 {
		img.Annotations[images.AnnotationPorts] = portList(r.Ports)
		img.Config.Config.ExposedPorts = maps.Clone(base.Config.ExposedPorts)
		if img.Config.Config.ExposedPorts == nil {
			img.Config.Config.ExposedPorts = map[string]struct{}{}
		}
		for _, p := range r.Ports {
			img.Config.Config.ExposedPorts[fmt.Sprintf("%d/tcp", p)] = struct{}{}
		}
	}
	if !reproducible {
		img.Annotations[AnnotationReproducible] = "false"
	}
	if text := extensionsAnnotation(b.extensions()); text != "" {
		img.Annotations[images.AnnotationExtensions] = text
	}
	if text := varsAnnotation(b.o.Vars); text != "" {
		img.Annotations[AnnotationVars] = text
	}
	return img
}

func portList(ports []int) string {
	var list []string
	for _, p := range ports {
		list = append(list, strconv.Itoa(p))
	}
	return strings.Join(list, ",")
}

func overlay(under, over map[string]string) map[string]string {
	if len(under)+len(over) == 0 {
		return nil
	}
	all := maps.Clone(under)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, over)
	return all
}
