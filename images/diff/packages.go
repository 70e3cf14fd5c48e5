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
	"github.com/bootandshoot/release/images/dpkg"
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
	keys := unionKeys(a, b)
	slices.SortStableFunc(keys, func(a, b string) int { return cmp.Compare(plainName(a), plainName(b)) })
	for _, key := range keys {
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

// plainName is a key of installed without the architecture: apache2 comes before apache2-bin.
func plainName(key string) string {
	name, _, _ := strings.Cut(key, ":")
	return name
}

func unionKeys[V any](a, b map[string]V) []string {
	all := map[string]V{}
	maps.Copy(all, a)
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

// installed reads dpkg's records, by name and architecture.
func (x side) installed() (map[string]installed, error) {
	records, err := dpkg.Records(x.files)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", x.digest.Short(), err)
	}
	found := map[string]installed{}
	for _, r := range records {
		data, err := x.files.Read(r.Name, dpkg.RecordLimit)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", x.digest.Short(), err)
		}
		packages, err := dpkg.Installed(r.Name, string(data))
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", x.digest.Short(), err)
		}
		for _, p := range packages {
			i := installed{name: p.Get("Package"), arch: p.Get("Architecture"), version: debian.Version(p.Get("Version"))}
			found[i.name+":"+i.arch] = i
		}
	}
	return found, nil
}

// claim notes which paths belong to a package: those of its list, and dpkg's records of it.
func (x side) claim(p installed, owner map[string]int, at int) error {
	info, err := x.files.Resolve(debian.InfoFolder)
	if err != nil {
		return nil //nolint:nilerr // an image without lists: its files belong to nobody
	}
	for _, name := range dpkg.ListNames(p.name, p.arch) {
		for _, kind := range recordKinds() {
			owner["/"+path.Join(info.Path, name+"."+kind)] = at
		}
		owner["/"+path.Join(debian.StatusParts, name)], owner["/"+path.Join(debian.StatusParts, name+".md5sums")] = at, at
		list, err := x.files.Read(path.Join(info.Path, name+".list"), dpkg.RecordLimit)
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
