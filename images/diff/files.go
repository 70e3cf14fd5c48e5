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
func (c *comparison) walk(a, b *images.ImageFile) error {
	if a != nil {
		c.result.A.Files++
	}
	if b != nil {
		c.result.B.Files++
	}
	if err := c.note(a, b); err != nil {
		return err
	}
	left, right := children(a), children(b)
	for len(left)+len(right) > 0 {
		var x, y *images.ImageFile
		if len(right) == 0 || len(left) > 0 && left[0].Path <= right[0].Path {
			x = left[0]
		}
		if len(left) == 0 || len(right) > 0 && right[0].Path <= left[0].Path {
			y = right[0]
		}
		if x != nil {
			left = left[1:]
		}
		if y != nil {
			right = right[1:]
		}
		if err := c.walk(x, y); err != nil {
			return err
		}
	}
	return nil
}

func children(n *images.ImageFile) []*images.ImageFile {
	if n == nil || n.Type != images.Dir {
		return nil
	}
	return n.Children()
}

func (c *comparison) note(a, b *images.ImageFile) error {
	f := File{What: []string{}}
	switch {
	case a == nil:
		f.Path, f.Change = "/"+b.Path, Added
	case b == nil:
		f.Path, f.Change = "/"+a.Path, Removed
	default:
		f.Path, f.Change = "/"+a.Path, Changed
		var err error
		if f.What, err = c.differences(a, b); err != nil || len(f.What) == 0 {
			return err
		}
	}
	if f.Path == "/." {
		f.Path = "/"
	}
	var err error
	if f.From, err = c.a.state(a); err != nil {
		return err
	}
	if f.To, err = c.b.state(b); err != nil {
		return err
	}
	c.result.Files = append(c.result.Files, f)
	return nil
}

// differences names what differs between two files.
func (c *comparison) differences(a, b *images.ImageFile) ([]string, error) {
	if a.Type != b.Type {
		return []string{"type"}, nil
	}
	var what []string
	add := func(differs bool, name string) {
		if differs {
			what = append(what, name)
		}
	}
	other, err := c.otherContent(a, b)
	add(other, "content")
	add(a.Mode != b.Mode && a.Type != images.Symlink, "mode")
	add(a.UID != b.UID || a.GID != b.GID, "owner")
	add(a.Type == images.Symlink && a.Link != b.Link, "link")
	add(a.Major != b.Major || a.Minor != b.Minor, "device")
	add(!maps.Equal(a.Xattrs, b.Xattrs), "xattrs")
	return what, err
}

// otherContent reads files of layers that both images have only when it must.
func (c *comparison) otherContent(a, b *images.ImageFile) (bool, error) {
	switch {
	case a.Type != images.File:
		return false, nil
	case a.Size != b.Size:
		return true, nil
	case c.a.files.SameBytes(a, c.b.files, b):
		return false, nil
	}
	x, err := c.a.files.ContentOf(a)
	if err != nil {
		return false, err
	}
	y, err := c.b.files.ContentOf(b)
	return x != y, err
}

// state describes a file of one side; nil for none.
func (x side) state(n *images.ImageFile) (*FileState, error) {
	if n == nil {
		return nil, nil
	}
	content, err := x.files.ContentOf(n)
	s := &FileState{Type: TypeName(n.Type), Mode: fmt.Sprintf("%04o", n.Mode), UID: n.UID, GID: n.GID, Size: n.Size, SHA256: content.Hex()}
	switch n.Type {
	case images.Symlink:
		s.Link = n.Link
	case images.CharDevice:
		s.Device = fmt.Sprintf("c %d:%d", n.Major, n.Minor)
	case images.BlockDevice:
		s.Device = fmt.Sprintf("b %d:%d", n.Major, n.Minor)
	}
	return s, err
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
