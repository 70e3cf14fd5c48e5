// Package diff says what changes between two images: packages, files, configuration, layers, services, extensions and
// the components of attached bills of materials. It reads the images' layers in place and unpacks nothing; what a layer
// holds is known by its digest after the first time (images.LayerFacts), so that images which share layers are compared
// by what they do not share.
//
// # What counts as a difference
//
// Files are those of the root file systems that the layers make, by path: type, content, mode, owner, target of a link,
// device number, extended attributes. Times do not count: layers of this project have one for everything. A folder counts by mode,
// owner and attributes.
//
// Packages are those that dpkg's records call installed (var/lib/dpkg/status, and the files of status.d that images
// without dpkg carry). A file belongs to a changed package when that package's list names it in the image that has it, or when it
// is one of dpkg's records of it.
//
// The result is deterministic: lists are sorted, so two runs give the same bytes.
package diff

import (
	"context"
	"fmt"

	"github.com/bootandshoot/release/images"
)

// Change is what became of something between the first image and the second.
type Change string

// The changes. A package is upgraded or downgraded, everything else changed.
const (
	Added      Change = "added"
	Removed    Change = "removed"
	Changed    Change = "changed"
	Upgraded   Change = "upgraded"
	Downgraded Change = "downgraded"
)

// Result is all differences. From is always the first image's side of something, to the second's.
type Result struct {
	A          Side      `json:"a"`
	B          Side      `json:"b"`
	Same       bool      `json:"same"` // nothing differs but names and layers
	Summary    Summary   `json:"summary"`
	Packages   []Package `json:"packages"`
	Files      []File    `json:"files"`
	Config     []Setting `json:"config"`
	Layers     []Layer   `json:"layers"`
	Services   []Item    `json:"services"`
	Extensions []Item    `json:"extensions"`
	Components []Item    `json:"components"` // of the bills of materials attached to both images, without what packages have
}

// Side is one of the two images.
type Side struct {
	Image    string `json:"image"`
	Platform string `json:"platform"`
	Size     int64  `json:"size"` // bytes of all layers
	Layers   int    `json:"layers"`
	Files    int    `json:"files"` // names in its root file system
}

// Summary counts.
type Summary struct {
	Packages     Counts `json:"packages"` // changed: those of either direction
	Files        Counts `json:"files"`
	FileBytes    int64  `json:"file_bytes"`    // by how much all files together grew; negative when they shrank
	SharedBytes  int64  `json:"shared_bytes"`  // of layers that both have
	OwnBytesA    int64  `json:"own_bytes_a"`   // of layers that only the first has
	OwnBytesB    int64  `json:"own_bytes_b"`   // of layers that only the second has: what a machine with the first has to get
	ConfigChange int    `json:"config_change"` // settings that differ
}

// Counts is how many there are of each change.
type Counts struct {
	Added   int `json:"added"`
	Removed int `json:"removed"`
	Changed int `json:"changed"`
}

func (c *Counts) count(change Change) {
	switch change {
	case Added:
		c.Added++
	case Removed:
		c.Removed++
	default:
		c.Changed++
	}
}

// Setting is a difference in configuration. Key is "env NAME", "label NAME", "annotation NAME", or one of command,
// ports, user, workdir, platform, stop-signal, volumes.
type Setting struct {
	Key    string `json:"key"`
	Change Change `json:"change"`
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"`
}

// Layer is a layer of either image or of both.
type Layer struct {
	Digest    string `json:"digest"`
	Size      int64  `json:"size"` // bytes
	CreatedBy string `json:"created_by"`
	In        string `json:"in"` // "a", "b" or "both"
}

// Item is something with a name that was added, removed or changed.
type Item struct {
	Name   string `json:"name"`
	Change Change `json:"change"`
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"`
}

// Compare finds all differences between two images of a store. Errors are those of Store.FilesOfBoth; an annotation or
// record of packages that cannot be read is fault.Invalid and names image and place.
func Compare(ctx context.Context, s *images.Store, a, b images.Digest) (Result, error) {
	c := comparison{store: s, a: side{digest: a}, b: side{digest: b}}
	var err error
	if c.a.files, c.b.files, err = s.FilesOfBoth(ctx, a, b); err != nil {
		return Result{}, fmt.Errorf("compare images: %w", err)
	}
	if err := c.run(); err != nil {
		return Result{}, fmt.Errorf("compare images %s and %s: %w", a.Short(), b.Short(), err)
	}
	return c.result, nil
}

// side is one image as the comparison sees it.
type side struct {
	digest images.Digest
	files  *images.Files
}

type comparison struct {
	store  *images.Store
	a, b   side
	result Result
}

func (c *comparison) run() error {
	r := &c.result
	r.A, r.B = c.a.describe(), c.b.describe()
	r.Layers = c.layers()
	r.Config = settings(c.a.files.Image, c.b.files.Image)
	r.Files = []File{}
	err := c.walk(c.a.files.Root(), c.b.files.Root())
	if err != nil {
		return err
	}
	if r.Packages, err = c.packages(); err != nil {
		return err
	}
	if r.Services, err = c.annotated(images.AnnotationServices); err != nil {
		return err
	}
	if r.Extensions, err = c.annotated(images.AnnotationExtensions); err != nil {
		return err
	}
	if r.Components, err = c.components(); err != nil {
		return err
	}
	c.summarize()
	return nil
}

func (x side) describe() Side {
	img := x.files.Image
	d := Side{Image: string(x.digest), Platform: platform(img), Layers: len(img.Layers)}
	for _, l := range img.Layers {
		d.Size += l.Size
	}
	return d
}

// layers lists the layers of both images, shared ones once, lowest first.
func (c *comparison) layers() []Layer {
	list := []Layer{}
	at := map[images.Digest]int{}
	for _, x := range []struct {
		name   string
		layers []images.Layer
	}{{"a", c.a.files.Image.Layers}, {"b", c.b.files.Image.Layers}} {
		for _, l := range x.layers {
			i, seen := at[l.Digest]
			switch {
			case seen && list[i].In != x.name:
				list[i].In = "both"
			case !seen:
				at[l.Digest] = len(list)
				list = append(list, Layer{Digest: string(l.Digest), Size: l.Size, CreatedBy: l.CreatedBy, In: x.name})
			}
		}
	}
	return list
}

func (c *comparison) summarize() {
	r := &c.result
	for _, l := range r.Layers {
		switch l.In {
		case "both":
			r.Summary.SharedBytes += l.Size
		case "a":
			r.Summary.OwnBytesA += l.Size
		default:
			r.Summary.OwnBytesB += l.Size
		}
	}
	for _, p := range r.Packages {
		r.Summary.Packages.count(p.Change)
	}
	for _, f := range r.Files {
		r.Summary.Files.count(f.Change)
		r.Summary.FileBytes += f.To.size() - f.From.size()
	}
	r.Summary.ConfigChange = len(r.Config)
	r.Same = len(r.Packages)+len(r.Files)+len(r.Config)+len(r.Services)+len(r.Extensions)+len(r.Components) == 0
}
