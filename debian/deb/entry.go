package deb

import (
	"archive/tar"
	"path"
	"strings"
)

const (
	maxPath     = 4095 // the kernel's PATH_MAX without its zero byte
	maxName     = 255
	maxID       = 1<<32 - 2
	xattrPrefix = "SCHILY.xattr."
)

var types = map[byte]Type{tar.TypeReg: File, tar.TypeCont: File, tar.TypeDir: Dir, tar.TypeSymlink: Symlink, tar.TypeLink: HardLink,
	tar.TypeChar: CharDevice, tar.TypeBlock: BlockDevice, tar.TypeFifo: Fifo}

// entryOf checks a tar header.
func entryOf(h *tar.Header) (e Entry, skip bool, err error) {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return e, true, nil
	}
	kind, ok := types[h.Typeflag]
	if !ok {
		return e, false, refused("%q has the unknown type %q", shorten(h.Name), h.Typeflag)
	}
	e = Entry{Type: kind, Mode: uint32(h.Mode) & 0o7777, UID: h.Uid, GID: h.Gid, Major: h.Devmajor, Minor: h.Devminor, Time: h.ModTime}
	if e.Path, err = cleanPath(h.Name); err != nil {
		return e, false, err
	}
	if h.Uid < 0 || h.Gid < 0 || h.Uid > maxID || h.Gid > maxID {
		return e, false, refused("%q belongs to %d:%d", e.Path, h.Uid, h.Gid)
	}
	e.Xattrs = xattrsOf(h)
	switch kind {
	case File:
		e.Size = h.Size
	case Symlink:
		e.Link = h.Linkname
		if e.Link == "" || len(e.Link) > maxPath || strings.ContainsAny(e.Link, "\x00") {
			return e, false, refused("%q is a link to %q", e.Path, shorten(e.Link))
		}
	case HardLink:
		if e.Link, err = cleanPath(h.Linkname); err != nil {
			return e, false, err
		}
	}
	if e.Path == "." && kind != Dir {
		return e, false, refused("its root is no folder")
	}
	return e, false, nil
}

func xattrsOf(h *tar.Header) map[string]string {
	var kept map[string]string
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrPrefix)
		if !ok || name != "security.capability" && (!strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "user.overlay.")) {
			continue
		}
		if kept == nil {
			kept = map[string]string{}
		}
		kept[name] = value
	}
	return kept
}

// cleanPath is the path of an entry within the root. dpkg's lists of files have a line a name, so none may hold one.
func cleanPath(name string) (string, error) {
	switch {
	case name == "" || strings.ContainsAny(name, "\x00\n"):
		return "", refused("the name %q is empty or has a line break or a zero byte", shorten(name))
	case len(name) > maxPath:
		return "", refused("the name %q… has %d bytes", shorten(name), len(name))
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", refused("the name %q leads upward", shorten(name))
		}
		if len(part) > maxName {
			return "", refused("a part of the name %q… has %d bytes", shorten(name), len(part))
		}
	}
	if clean := strings.TrimPrefix(path.Clean("/"+name), "/"); clean != "" {
		return clean, nil
	}
	return ".", nil
}

func shorten(name string) string {
	if len(name) > 200 {
		return name[:200] + "…"
	}
	return name
}
