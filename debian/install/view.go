package install

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

type nodeKind byte

const (
	noNode nodeKind = iota
	dirNode
	linkNode
	fileNode // anything else
)

// node is what a name is in a system.
type node struct {
	kind     nodeKind
	link     string // of a linkNode
	mode     uint32 // 07777
	uid, gid int
	xattrs   map[string]string
	in       []int   // of a dirNode in a view: the folders that show it, topmost first
	rec      *record // of a package of this batch
}

// view is the tree that an overlay of folders shows, read without mounting it.
type view struct {
	dirs []string // topmost first
	mu   sync.Mutex
	seen map[string]*node
}

func newView(dirs []string) *view { return &view{dirs: dirs, seen: map[string]*node{}} }

var nothing = &node{}

// look finds a name, given by its real path: no folder on the way is a link.
func (v *view) look(name string) *node {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.find(name)
}

func (v *view) find(name string) *node {
	if n, ok := v.seen[name]; ok {
		return n
	}
	n := v.read(name)
	v.seen[name] = n
	return n
}

func (v *view) read(name string) *node {
	var in []int
	if name == "." {
		for i := range v.dirs {
			in = append(in, i)
		}
	} else {
		parent := v.find(path.Dir(name))
		if parent.kind != dirNode {
			return nothing
		}
		in = parent.in
	}
	found := nothing
	for _, i := range in {
		var st unix.Stat_t
		at := filepath.Join(v.dirs[i], name)
		if unix.Lstat(at, &st) != nil {
			continue
		}
		kind := kindOf(st.Mode)
		if kind == fileNode && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 || found.kind == dirNode && kind != dirNode {
			break
		}
		if found.kind == dirNode {
			found.in = append(found.in, i)
		} else {
			found = &node{kind: kind, mode: st.Mode & 0o7777, uid: int(st.Uid), gid: int(st.Gid), in: []int{i}}
		}
		if kind == linkNode {
			found.link, _ = os.Readlink(at)
		}
		if kind != dirNode || isOpaque(at) {
			break
		}
	}
	return found
}

func kindOf(mode uint32) nodeKind {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return dirNode
	case unix.S_IFLNK:
		return linkNode
	}
	return fileNode
}

// opaqueName is the attribute of a folder that hides what lies below it (overlayfs.rst of the kernel).
const opaqueName = "user.overlay.opaque"

func isOpaque(dir string) bool {
	var value [2]byte
	n, err := unix.Lgetxattr(dir, opaqueName, value[:])
	return err == nil && n == 1 && value[0] == 'y'
}

// file is the path on the disk of a file, given by its real path; "" for anything else.
func (v *view) file(name string) string {
	n := v.look(name)
	if n.kind != fileNode {
		return ""
	}
	return filepath.Join(v.dirs[n.in[0]], name)
}

// content reads a file; none is no error.
func (v *view) content(name string) ([]byte, error) {
	at := v.file(name)
	if at == "" {
		return nil, nil
	}
	return os.ReadFile(at)
}

// names lists a folder, unordered.
func (v *view) names(dir string) ([]string, error) {
	n := v.look(dir)
	if n.kind != dirNode {
		return nil, nil
	}
	seen := map[string]bool{}
	var list []string
	for _, i := range n.in {
		entries, err := os.ReadDir(filepath.Join(v.dirs[i], dir))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if seen[e.Name()] {
				continue
			}
			seen[e.Name()] = true
			if v.look(path.Join(dir, e.Name())).kind != noNode {
				list = append(list, e.Name())
			}
		}
	}
	return list, nil
}

// maxLinks is how many links are followed in one path, as in the kernel.
const maxLinks = 40

// resolve finds the real path of a folder: links on the way are followed within the root, as a process in the system
// does. What is not there is taken for folders.
func resolve(dir string, look func(string) *node) (string, bool) {
	real, rest := ".", dir
	for links := 0; rest != "" && rest != "."; {
		part, after, _ := strings.Cut(rest, "/")
		rest = after
		switch part {
		case "", ".":
			continue
		case "..":
			real = path.Dir(real)
			continue
		}
		next := path.Join(real, part)
		n := look(next)
		switch n.kind {
		case linkNode:
			if links++; links > maxLinks {
				return "", false
			}
			if path.IsAbs(n.link) {
				real = "."
			}
			rest = strings.TrimPrefix(n.link, "/") + "/" + rest
		case fileNode:
			return "", false
		default:
			real = next
		}
	}
	return real, true
}
