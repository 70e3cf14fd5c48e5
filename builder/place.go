package builder

import (
	"path"
	"strings"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// placement says where the files of a step go in an image with certain layers, and whose they are. It is all that such
// a step's layer takes from the layers below.
type placement struct {
	Owner owner `json:"owner"`
	// Dirs are the folders of the image on the way to the files, as they are there; a layer repeats them, since engines
	// that unpack a layer by itself would invent them. Those that are missing are made with root's plain attributes.
	Dirs map[string]dir `json:"dirs,omitempty"`
	// Paths are the places of the files by their relative path, where it is not that of their folder plus their name.
	Paths map[string]string `json:"paths,omitempty"`
}

// dir is a folder's attributes.
type dir struct {
	Mode   uint32            `json:"mode"`
	UID    int               `json:"uid"`
	GID    int               `json:"gid"`
	Xattrs map[string][]byte `json:"xattrs,omitempty"`
	// Merged is a folder that is there: files go into it and it stays as it is.
	Merged bool `json:"merged,omitempty"`
}

// plainDir is what missing folders above a target get.
var plainDir = dir{Mode: 0o755}

// path is where a file goes, relative to the image's root.
func (p *placement) path(rel string) string {
	if at, ok := p.Paths[rel]; ok {
		return at
	}
	return path.Join(p.path(parentOf(rel)), path.Base(rel))
}

// merged reports whether the place is a folder that the image has already.
func (p *placement) merged(at string) bool {
	if at == "." {
		return true
	}
	d, ok := p.Dirs[at]
	return ok && d.Merged
}

// placer works out a placement.
type placer struct {
	tree *tree
	out  placement
}

// place finds the places of files below the target to. Links to folders are followed; a file never takes a folder's
// place, nor a folder a file's.
func place(t *tree, to string, o owner, files []shape) (placement, error) {
	p := &placer{tree: t, out: placement{Owner: o, Dirs: map[string]dir{}, Paths: map[string]string{}}}
	for _, f := range files {
		if err := p.file(to, f); err != nil {
			return placement{}, err
		}
	}
	return p.out, nil
}

func (p *placer) file(to string, f shape) error {
	at := to
	if f.Rel != "." {
		at = "/" + path.Join(p.out.path(parentOf(f.Rel)), path.Base(f.Rel))
	} else if f.Kind != images.Dir {
		var err error
		if at, err = p.target(to, f.Name); err != nil {
			return err
		}
	}
	if f.Kind == images.Dir {
		return p.folder(at, f.Rel)
	}
	n := p.tree.lookup(at)
	if n != nil && n.kind == images.Dir {
		return fault.New(fault.Invalid, "%s is a folder in the image, and a file or link of this name would take its place", at)
	}
	if f.Rel == "." {
		p.out.Paths["."] = relative(at)
	}
	return nil
}

// target is the place of a single file: in the folder to, if it is one in the image, else to itself.
func (p *placer) target(to, name string) (string, error) {
	real, n, err := p.tree.resolve(to)
	if err != nil {
		return "", err
	}
	if n != nil && n.kind == images.Dir {
		if name == "" {
			return "", fault.New(fault.Invalid, "%s is a folder in the image: name the file in it", to)
		}
		return path.Join(real, name), p.parents(real)
	}
	real, n, err = p.tree.resolve(path.Dir(to))
	if err != nil {
		return "", err
	}
	if n != nil && n.kind != images.Dir {
		return "", fault.New(fault.Invalid, "%s is no folder in the image", path.Dir(to))
	}
	return path.Join(real, path.Base(to)), p.parents(real)
}

// folder places a folder: into the one that is there, if any.
func (p *placer) folder(at, rel string) error {
	real, n, err := p.tree.resolve(at)
	if err != nil {
		return err
	}
	if n != nil && n.kind != images.Dir {
		return fault.New(fault.Invalid, "%s is no folder in the image, and a folder of this name would take its place", at)
	}
	if real != at || rel == "." {
		p.out.Paths[rel] = relative(real)
	}
	if n != nil {
		return p.parents(real)
	}
	return p.parents(path.Dir(real))
}

// parents notes a real folder and all above it.
func (p *placer) parents(real string) error {
	for at := real; at != "/"; at = path.Dir(at) {
		key := relative(at)
		if _, ok := p.out.Dirs[key]; ok {
			return nil
		}
		n := p.tree.lookup(at)
		switch {
		case n == nil:
			p.out.Dirs[key] = plainDir
		case n.kind != images.Dir:
			return fault.New(fault.Invalid, "%s is no folder in the image", at)
		default:
			p.out.Dirs[key] = dirOf(n)
		}
	}
	return nil
}

func dirOf(n *node) dir {
	d := dir{Mode: n.mode, UID: n.uid, GID: n.gid, Merged: true}
	for name, value := range n.xattrs {
		if d.Xattrs == nil {
			d.Xattrs = map[string][]byte{}
		}
		d.Xattrs[name] = []byte(value)
	}
	return d
}

// relative makes an absolute path of the image one of a layer.
func relative(at string) string {
	if at == "/" {
		return "."
	}
	return strings.TrimPrefix(at, "/")
}
