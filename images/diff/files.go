package diff

import (
	"fmt"
	"maps"

	"github.com/bootandshoot/release/images"
)

// File is a name whose file differs. From is nil when it was added, To when it was removed.
type File struct {
	Path    string     `json:"path"` // absolute
	Change  Change     `json:"change"`
	What    []string   `json:"what"` // of a changed one: type, content, mode, owner, link, device, xattrs
	From    *FileState `json:"from"`
	To      *FileState `json:"to"`
	Package string     `json:"package,omitempty"` // the changed package that it belongs to
}

// FileState is what a name is in one of the images.
type FileState struct {
	Type   string `json:"type"` // file, folder, link, device, pipe
	Mode   string `json:"mode"` // octal, four digits
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
	Size   int64  `json:"size"`             // bytes of a file
	SHA256 string `json:"sha256,omitempty"` // of a file, 64 digits
	Link   string `json:"link,omitempty"`   // target of a link
	Device string `json:"device,omitempty"` // "c 1:3"
}

func (s *FileState) size() int64 {
	if s == nil {
		return 0
	}
	return s.Size
}

// walk compares two folders of the same path; either may be nil.
func (c *comparison) walk(a, b *images.ImageFile) {
	if a != nil {
		c.result.A.Files++
	}
	if b != nil {
		c.result.B.Files++
	}
	c.note(a, b)
	left, right := children(a), children(b)
	for len(left)+len(right) > 0 {
		switch {
		case len(right) == 0 || len(left) > 0 && left[0].Path < right[0].Path:
			c.walk(left[0], nil)
			left = left[1:]
		case len(left) == 0 || right[0].Path < left[0].Path:
			c.walk(nil, right[0])
			right = right[1:]
		default:
			c.walk(left[0], right[0])
			left, right = left[1:], right[1:]
		}
	}
}

func children(n *images.ImageFile) []*images.ImageFile {
	if n == nil || n.Type != images.Dir {
		return nil
	}
	return n.Children()
}

func (c *comparison) note(a, b *images.ImageFile) {
	f := File{What: []string{}, From: stateOf(a), To: stateOf(b)}
	switch {
	case a == nil:
		f.Path, f.Change = "/"+b.Path, Added
	case b == nil:
		f.Path, f.Change = "/"+a.Path, Removed
	default:
		f.Path, f.Change = "/"+a.Path, Changed
		if f.What = differences(a, b); len(f.What) == 0 {
			return
		}
	}
	if f.Path == "/." {
		f.Path = "/"
	}
	c.result.Files = append(c.result.Files, f)
}

// differences names what differs between two files.
func differences(a, b *images.ImageFile) []string {
	if a.Type != b.Type {
		return []string{"type"}
	}
	var what []string
	add := func(differs bool, name string) {
		if differs {
			what = append(what, name)
		}
	}
	add(a.Content != b.Content, "content")
	add(a.Mode != b.Mode && a.Type != images.Symlink, "mode")
	add(a.UID != b.UID || a.GID != b.GID, "owner")
	add(a.Type == images.Symlink && a.Link != b.Link, "link")
	add(a.Major != b.Major || a.Minor != b.Minor, "device")
	add(!maps.Equal(a.Xattrs, b.Xattrs), "xattrs")
	return what
}

func stateOf(n *images.ImageFile) *FileState {
	if n == nil {
		return nil
	}
	s := &FileState{Type: TypeName(n.Type), Mode: fmt.Sprintf("%04o", n.Mode), UID: n.UID, GID: n.GID, Size: n.Size, SHA256: n.Content.Hex()}
	switch n.Type {
	case images.Symlink:
		s.Link = n.Link
	case images.CharDevice:
		s.Device = fmt.Sprintf("c %d:%d", n.Major, n.Minor)
	case images.BlockDevice:
		s.Device = fmt.Sprintf("b %d:%d", n.Major, n.Minor)
	}
	return s
}

// TypeName is the word for a type of file, for people and in JSON.
func TypeName(t images.EntryType) string {
	switch t {
	case images.Dir:
		return "folder"
	case images.Symlink:
		return "link"
	case images.CharDevice, images.BlockDevice:
		return "device"
	case images.Fifo:
		return "pipe"
	}
	return "file"
}
