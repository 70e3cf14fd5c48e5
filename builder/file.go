package builder

import (
	"io"
	"path"
	"slices"

	"github.com/bootandshoot/release/images"
)

// file is one thing that a step puts into the image, before it is known where it goes.
type file struct {
	rel    string // slash-separated, clean, relative to the target; "." is the target itself
	name   string // for ".": the name it gets when the target is a folder of the image
	kind   images.EntryType
	mode   uint32
	link   string // target of a Symlink; rel of a File for a HardLink
	size   int64
	xattrs map[string]string
	major  int64
	minor  int64
	open   func() (io.ReadCloser, error) // content of a File
}

// shape is what of a file decides where it goes.
type shape struct {
	Rel  string           `json:"r"`
	Name string           `json:"n,omitempty"`
	Kind images.EntryType `json:"k"`
}

func shapesOf(files []file) []shape {
	list := make([]shape, len(files))
	for i, f := range files {
		list[i] = shape{Rel: f.rel, Kind: f.kind}
		if f.rel == "." {
			list[i].Name = f.name
		}
	}
	return list
}

// sortFiles puts files in an order in which folders come before what is in them.
func sortFiles(files []file) {
	slices.SortFunc(files, func(a, b file) int { return compare(a.rel, b.rel) })
}

func compare(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == "." || b != "." && a < b:
		return -1
	}
	return 1
}

// parentOf is path.Dir for paths relative to a target.
func parentOf(rel string) string { return path.Dir(rel) }
