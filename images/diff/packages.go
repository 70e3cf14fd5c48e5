package diff

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// Package is a difference in what dpkg has installed.
type Package struct {
	Name         string `json:"name"`
	Architecture string `json:"architecture"`
	Change       Change `json:"change"`
	From         string `json:"from,omitempty"` // version
	To           string `json:"to,omitempty"`
	Files        int    `json:"files"` // how many of its files differ
	Bytes        int64  `json:"bytes"` // by how much its files grew
}

// recordLimit is the largest record that is read: dpkg's status has about 1 KB a package.
const recordLimit = 64 << 20

// installed is a package of one image.
type installed struct {
	name, arch string
	version    debian.Version
}

// packages compares what is installed and tells the files of changed packages.
func (c *comparison) packages() ([]Package, error) {
	a, err := c.a.installed()
	if err != nil {
		return nil, err
	}
	b, err := c.b.installed()
	if err != nil {
		return nil, err
	}
	list := []Package{}
	owner := map[string]int{} // path → place in list
	for _, key := range unionKeys(a, b) {
		from, inA := a[key]
		to, inB := b[key]
		change := packageChange(from, to, inA, inB)
		if change == "" {
			continue
		}
		p := Package{Change: change, Name: cmp.Or(from.name, to.name), Architecture: cmp.Or(from.arch, to.arch),
			From: string(from.version), To: string(to.version)}
		if inA {
			err = c.a.claim(from, owner, len(list))
		}
		if inB {
			err = errors.Join(err, c.b.claim(to, owner, len(list)))
		}
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	for i := range c.result.Files {
		f := &c.result.Files[i]
		at, ok := owner[f.Path]
		if !ok || f.Change == Changed && f.To.Type == "folder" {
			continue
		}
		f.Package = list[at].Name
		list[at].Files++
		list[at].Bytes += f.To.size() - f.From.size()
	}
	return list, nil
}

func packageChange(from, to installed, inA, inB bool) Change {
	switch {
	case !inA:
		return Added
	case !inB:
		return Removed
	case from.version == to.version:
		return ""
	case from.version.Compare(to.version) <= 0:
		return Upgraded
	}
	return Downgraded
}

func unionKeys[V any](a, b map[string]V) []string {
	all := map[string]V{}
	maps.Copy(all, a)
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

// installed reads dpkg's records, by name and architecture.
func (x side) installed() (map[string]installed, error) {
	found := map[string]installed{}
	read := func(name string, part bool) error {
		data, err := x.files.Read(name, recordLimit)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("image %s: %w", x.digest.Short(), err)
		}
		if err := addInstalled(found, "/"+name, string(data), part); err != nil {
			return fmt.Errorf("image %s: %w", x.digest.Short(), err)
		}
		return nil
	}
	if err := read(debian.StatusFile, false); err != nil {
		return nil, err
	}
	parts, err := x.files.Resolve(debian.StatusParts)
	if err != nil || parts.Type != images.Dir {
		return found, nil //nolint:nilerr // most images have none
	}
	for _, part := range parts.Children() {
		if part.Type != images.File || strings.HasSuffix(part.Path, ".md5sums") {
			continue
		}
		if err := read(part.Path, true); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// addInstalled reads paragraphs of packages. Those of a part are installed, others only when their status says so.
func addInstalled(found map[string]installed, file, text string, part bool) error {
	paragraphs, err := debian.ParseParagraphs(file, text)
	if err != nil {
		return fault.New(fault.Invalid, "read records of packages: %w", err)
	}
	for _, p := range paragraphs {
		state := strings.Fields(p.Get("Status"))
		if !part && (len(state) != 3 || state[2] == "not-installed" || state[2] == "config-files") {
			continue
		}
		i := installed{name: p.Get("Package"), arch: p.Get("Architecture"), version: debian.Version(p.Get("Version"))}
		found[i.name+":"+i.arch] = i
	}
	return nil
}

// claim notes which paths belong to a package: those of its list, and dpkg's records of it.
func (x side) claim(p installed, owner map[string]int, at int) error {
	info, err := x.files.Resolve(debian.InfoFolder)
	if err != nil {
		return nil //nolint:nilerr // an image without lists: its files belong to nobody
	}
	for _, name := range []string{p.name, p.name + ":" + p.arch} {
		for _, kind := range recordKinds() {
			owner["/"+path.Join(info.Path, name+"."+kind)] = at
		}
		owner["/"+path.Join(debian.StatusParts, name)], owner["/"+path.Join(debian.StatusParts, name+".md5sums")] = at, at
		list, err := x.files.Read(path.Join(info.Path, name+".list"), recordLimit)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(list)) {
			// The list says /bin/ls where the image has a link from /bin to /usr/bin.
			if n, err := x.files.Lookup(strings.TrimSuffix(line, "\n")); err == nil && n.Path != "." {
				owner["/"+n.Path] = at
			}
		}
	}
	return nil
}

// recordKinds are the files that dpkg keeps of a package (deb(5), dpkg(1)).
func recordKinds() []string {
	return []string{"list", "md5sums", "conffiles", "preinst", "postinst", "prerm", "postrm", "triggers", "symbols", "shlibs", "templates", "config"}
}
