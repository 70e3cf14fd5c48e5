package images

import (
	"slices"
	"strconv"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Annotations of a manifest that this project reads and writes.
const (
	AnnotationPorts        = "release.ports"         // "8080,9090": ports in declared order, the first is the one an app listens on
	AnnotationSourceDigest = "release.source.digest" // digest of the foreign manifest that an imported image was made from
	AnnotationServices     = "release.services"      // JSON: the image's services by name, or a list of objects with a name
	AnnotationExtensions   = "release.extensions"    // JSON: [{name, version, source, sha256 or commit, path}], plug-ins of the app
)

// Descriptor names a blob: its digest and its length in bytes.
type Descriptor struct {
	Digest Digest `json:"digest"`
	Size   int64  `json:"size"`
}

// Layer is one layer of an image, lowest first in an image's list. Layers written by this package are
// uncompressed, so that Digest and DiffID are the same.
type Layer struct {
	Descriptor
	DiffID    Digest // digest of the uncompressed tar
	MediaType string // "" means the uncompressed OCI layer
	CreatedBy string // what made it, kept in the config's history
}

// Image is a container image: configuration, layers and the annotations of its manifest.
//
// Put fills Config.RootFS and Config.History from Layers, whatever they hold.
type Image struct {
	Config      ocispec.Image
	Layers      []Layer
	Annotations map[string]string
}

// Info is one line of the list of images.
type Info struct {
	Digest  Digest    `json:"digest"`
	Name    string    `json:"name"`    // "" when the image was put without one
	Created time.Time `json:"created"` // when it was put into this store
	Size    int64     `json:"size"`    // bytes of manifest, config and layers
	Layers  int       `json:"layers"`
	OS      string    `json:"os"`
	Arch    string    `json:"arch"`
	Machine bool      `json:"machine"` // it also boots as a machine
	Newest  bool      `json:"newest"`  // the image that Name resolves to
	Pinned  []string  `json:"pinned"`  // installations that use it, sorted
}

// Ports is the ports that the image declares, in declared order: those of the annotation, else the exposed TCP
// ports in ascending order. Malformed ones are left out.
func (i Image) Ports() []int {
	if list, ok := i.Annotations[AnnotationPorts]; ok {
		return parsePorts(strings.Split(list, ","))
	}
	exposed := make([]string, 0, len(i.Config.Config.ExposedPorts))
	for p := range i.Config.Config.ExposedPorts {
		number, protocol, _ := strings.Cut(p, "/")
		if protocol == "" || protocol == "tcp" {
			exposed = append(exposed, number)
		}
	}
	ports := parsePorts(exposed)
	slices.Sort(ports)
	return slices.Compact(ports)
}

func parsePorts(list []string) []int {
	var ports []int
	for _, s := range list {
		if n, err := strconv.Atoi(strings.TrimSpace(s)); err == nil && n > 0 && n < 1<<16 {
			ports = append(ports, n)
		}
	}
	return ports
}

// Command is entrypoint and arguments of the image in one list; nil when it has neither.
func (i Image) Command() []string {
	c := i.Config.Config
	return slices.Concat(c.Entrypoint, c.Cmd)
}
