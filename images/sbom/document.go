package sbom

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/images"
)

// Kinds of components.
const (
	Debian    = "deb"
	Go        = "golang"
	Python    = "pypi"
	NPM       = "npm"
	Download  = "download"
	Repo      = "git"
	Plugin    = "extension"
	Operating = "os"
)

// Document is what is in an image, independent of a format. Its lists are sorted.
type Document struct {
	Image      images.Digest
	Name       string // of the image, "image" when nobody says
	Platform   string
	Created    time.Time     // of the image
	Key        images.Digest // names image and inputs: two documents with the same key are the same
	Components []Component
	Files      []File // that no package owns
}

// Component is a package, module, download, commit or extension.
type Component struct {
	Kind     string
	Name     string
	Version  string
	PURL     string // package URL; "" where the kind has none
	License  string // SPDX expression; "" when not known
	Supplier string // a person or organisation, as "Name <mail>"
	Homepage string
	Source   string   // of a Debian package: source package and version; else where it was got from
	SHA256   string   // of what was got, hex
	Commit   string   // of a repository or extension
	Paths    []string // where in the image, absolute; none for Debian packages
}

// File is a file that no package owns.
type File struct {
	Path   string // absolute
	Size   int64
	SHA256 string // hex
	SHA1   string // hex
}

// Read finds out what is in an image.
func Read(ctx context.Context, s *images.Store, d images.Digest, in Inputs) (*Document, error) {
	files, err := s.Files(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("make bill of materials: %w", err)
	}
	if in.Extensions, err = in.withAnnotated(files.Image); err != nil {
		return nil, fmt.Errorf("make bill of materials of image %s: %w", d.Short(), err)
	}
	in = in.Clean()
	facts, err := imageFacts(ctx, s, files.Image)
	if err != nil {
		return nil, fmt.Errorf("make bill of materials of image %s: %w", d.Short(), err)
	}
	doc := &Document{Image: d, Name: cmp.Or(in.Name, "image"), Platform: files.Image.Config.OS + "/" + files.Image.Config.Architecture}
	if t := files.Image.Config.Created; t != nil {
		doc.Created = t.UTC()
	} else {
		doc.Created = time.Unix(0, 0).UTC()
	}
	if doc.Key, err = key(d, in); err != nil {
		return nil, err
	}
	r := &reader{doc: doc, files: files, facts: facts, byPURL: map[string]int{}}
	if err := r.read(ctx, s); err != nil {
		return nil, fmt.Errorf("make bill of materials of image %s: %w", d.Short(), err)
	}
	r.inputs(in)
	doc.sort()
	return doc, nil
}

// sort brings the lists into their order; what is said twice is said once.
func (d *Document) sort() {
	for i := range d.Components {
		slices.Sort(d.Components[i].Paths)
		d.Components[i].Paths = slices.Compact(d.Components[i].Paths)
	}
	slices.SortFunc(d.Components, func(a, b Component) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version),
			strings.Compare(a.PURL, b.PURL), slices.Compare(a.Paths, b.Paths), strings.Compare(a.id(), b.id()))
	})
	d.Components = slices.CompactFunc(d.Components, func(a, b Component) bool { return a.id() == b.id() })
}

// reader puts a document together.
type reader struct {
	doc    *Document
	files  *images.Files
	facts  *facts
	distro osRelease
	byPURL map[string]int // place in doc.Components
	owned  map[ownership]bool
}

func (r *reader) read(ctx context.Context, s *images.Store) error {
	var err error
	if r.distro, err = readOS(r.files); err != nil {
		return err
	}
	if r.distro.ID != "" {
		r.add(Component{Kind: Operating, Name: r.distro.ID, Version: r.distro.VersionID})
	}
	if err := r.debian(); err != nil {
		return err
	}
	var unowned []*images.ImageFile
	for n := range r.files.All() {
		if n.Type != images.File || isRecord(n.Path) {
			continue
		}
		r.found(n)
		if r.owns(n) {
			continue
		}
		unowned = append(unowned, n)
	}
	sums, err := r.facts.sha1(ctx, s, r.files, unowned)
	if err != nil {
		return err
	}
	for i, n := range unowned {
		r.doc.Files = append(r.doc.Files, File{Path: "/" + n.Path, Size: n.Size, SHA256: n.Content.Hex(), SHA1: sums[i]})
	}
	return nil
}

// isRecord says that a file is dpkg's own record of packages, whose content is listed as packages.
func isRecord(name string) bool { return strings.HasPrefix(name, "var/lib/dpkg/") }

// add puts a component in, or where it is into the one that is there already.
func (r *reader) add(c Component) {
	id := c.Kind + " " + c.PURL
	if c.PURL != "" {
		if i, ok := r.byPURL[id]; ok {
			r.doc.Components[i].Paths = append(r.doc.Components[i].Paths, c.Paths...)
			return
		}
		r.byPURL[id] = len(r.doc.Components)
	}
	r.doc.Components = append(r.doc.Components, c)
}

// found adds what a file's content says: modules of a Go program, a Python or npm package. The latter are part of a Debian
// package where one owns them.
func (r *reader) found(n *images.ImageFile) {
	for _, m := range r.facts.Modules[n.Content] {
		if m.Kind != Go && r.owns(n) {
			continue
		}
		c := Component{Kind: m.Kind, Name: m.Name, Version: m.Version, License: m.License, Paths: []string{"/" + n.Path}}
		switch m.Kind {
		case Go:
			c.PURL = purl("golang", strings.ToLower(path.Dir(m.Name)), strings.ToLower(path.Base(m.Name)), m.Version)
			if m.Version == "(devel)" || m.Version == "" {
				c.Version, c.PURL = "", purl("golang", strings.ToLower(path.Dir(m.Name)), strings.ToLower(path.Base(m.Name)), "")
			}
		case Python:
			c.PURL = purl("pypi", "", strings.ReplaceAll(strings.ToLower(m.Name), "_", "-"), m.Version)
		case NPM:
			scope, name, scoped := strings.Cut(m.Name, "/")
			if !scoped {
				scope, name = "", m.Name
			}
			c.PURL = purl("npm", scope, name, m.Version)
		}
		r.add(c)
	}
}

func (r *reader) inputs(in Inputs) {
	for _, f := range in.Fetches {
		r.add(Component{Kind: Download, Name: path.Base(f.URL), Source: f.URL, SHA256: f.SHA256, Paths: []string{f.To}})
	}
	for _, g := range in.Git {
		r.add(Component{Kind: Repo, Name: strings.TrimSuffix(path.Base(g.URL), ".git"), Version: cmp.Or(g.Ref, g.Commit), Source: g.URL,
			Commit: g.Commit, Paths: []string{g.To}})
	}
	for _, e := range in.Extensions {
		r.add(Component{Kind: Plugin, Name: e.Name, Version: e.Version, Source: e.Source, SHA256: e.SHA256, Commit: e.Commit,
			Paths: []string{e.Path}})
	}
}

// osRelease is what /etc/os-release says (os-release(5)).
type osRelease struct{ ID, VersionID string }

func readOS(files *images.Files) (osRelease, error) {
	var o osRelease
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		data, err := files.Read(name, 1<<20)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return o, err
		}
		for line := range bytes.Lines(data) {
			key, value, _ := strings.Cut(strings.TrimSpace(string(line)), "=")
			switch value = strings.Trim(value, `"'`); key {
			case "ID":
				o.ID = value
			case "VERSION_ID":
				o.VersionID = value
			}
		}
		return o, nil
	}
	return o, nil
}

// String is the distribution as package URLs name it, such as debian-12.
func (o osRelease) String() string { return strings.TrimSuffix(o.ID+"-"+o.VersionID, "-") }
