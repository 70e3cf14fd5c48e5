package sbom

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/dpkg"
)

// record is an installed package as dpkg's records have it.
type record struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Arch     string `json:"arch"`
	Source   string `json:"source,omitempty"` // "name version" where it differs from the package's own
	Supplier string `json:"supplier,omitempty"`
	Homepage string `json:"homepage,omitempty"`
}

// debian adds the installed packages and notes which files they own.
func (r *reader) debian() error {
	installed, err := r.installed()
	if err != nil {
		return err
	}
	r.owned = map[ownership]bool{}
	for _, p := range installed {
		license, err := r.license(p)
		if err != nil {
			return err
		}
		r.add(Component{
			Kind: Debian, Name: p.Name, Version: p.Version, License: license, Supplier: p.Supplier, Homepage: p.Homepage,
			Source: cmp.Or(p.Source, p.Name+" "+p.Version),
			PURL:   purl("deb", cmp.Or(r.distro.ID, "debian"), p.Name, p.Version, "arch", p.Arch, "distro", r.distro.String()),
		})
		r.claim(p)
	}
	return nil
}

// installed is what the records say, each read with its layer.
func (r *reader) installed() ([]record, error) {
	files, err := dpkg.Records(r.files)
	if err != nil {
		return nil, err
	}
	var list []record
	for _, f := range files {
		list = append(list, r.facts.Records[f.File.Content]...)
	}
	return list, nil
}

// license is what the package's copyright file says.
func (r *reader) license(p record) (string, error) {
	n, err := r.files.Resolve(path.Join("usr/share/doc", p.Name, "copyright"))
	if err != nil || n.Type != images.File {
		return "", nil //nolint:nilerr // left out of many images
	}
	return r.facts.Licenses[n.Content], nil
}

// ownership is a path that a package claims, and the layer whose file there is the package's: anyPackageLayer, or one.
type ownership struct {
	path  string
	layer int
}

// anyPackageLayer stands for all layers that hold nothing but files of packages.
const anyPackageLayer = -2

// owns says that a file is a package's: not only its name but also its bytes, which are not when a later layer put
// something else in its place.
func (r *reader) owns(n *images.ImageFile) bool {
	return r.owned[ownership{n.Path, n.Layer}] ||
		n.Layer >= 0 && r.owned[ownership{n.Path, anyPackageLayer}] && debian.IsPackageLayer(r.files.Image.Layers[n.Layer].CreatedBy)
}

// ownedIn is where the files are of a package whose list came with a layer: where an installation of ours made it, in the
// layers of packages; else dpkg wrote both in one go.
func (r *reader) ownedIn(list *images.ImageFile) int {
	if list.Layer >= 0 && debian.IsLayer(r.files.Image.Layers[list.Layer].CreatedBy) {
		return anyPackageLayer
	}
	return list.Layer
}

// claim notes which files belong to a package. A list says /bin/ls where the image has a link from /bin to /usr/bin, so
// what is not there by that name is looked up.
func (r *reader) claim(p record) {
	for _, name := range dpkg.ListNames(p.Name, p.Arch) {
		n, err := r.files.Resolve(path.Join(debian.InfoFolder, name+".list"))
		if err != nil {
			continue
		}
		in := r.ownedIn(n)
		for line := range strings.Lines(r.facts.list(n.Content)) {
			name := strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "/")
			r.owned[ownership{name, in}] = true
			if top, _, _ := strings.Cut(name, "/"); r.isLink(top) {
				if n, err := r.files.Lookup(name); err == nil {
					r.owned[ownership{n.Path, in}] = true
				}
			}
		}
	}
}

func (r *reader) isLink(top string) bool {
	n, err := r.files.Lookup(top)
	return err == nil && n.Type == images.Symlink
}

// licenses maps the short names that Debian's copyright files use (copyright-format 1.0, "License specification") to SPDX.
func licenses() map[string]string {
	return map[string]string{
		"Apache-2.0": "Apache-2.0", "Apache-2": "Apache-2.0", "Artistic": "Artistic-1.0", "Artistic-1.0": "Artistic-1.0", "Artistic-2.0": "Artistic-2.0",
		"BSD-2-clause": "BSD-2-Clause", "BSD-2-Clause": "BSD-2-Clause", "BSD-3-clause": "BSD-3-Clause", "BSD-3-Clause": "BSD-3-Clause",
		"BSD-4-clause": "BSD-4-Clause", "BSL-1.0": "BSL-1.0", "CC0-1.0": "CC0-1.0", "CC-BY-3.0": "CC-BY-3.0", "CC-BY-4.0": "CC-BY-4.0",
		"CC-BY-SA-3.0": "CC-BY-SA-3.0", "CC-BY-SA-4.0": "CC-BY-SA-4.0", "Expat": "MIT", "MIT": "MIT", "ISC": "ISC", "Zlib": "Zlib", "zlib": "Zlib",
		"GFDL-1.3+": "GFDL-1.3-or-later", "GFDL-1.2+": "GFDL-1.2-or-later",
		"GPL-1": "GPL-1.0-only", "GPL-1+": "GPL-1.0-or-later", "GPL-2": "GPL-2.0-only", "GPL-2+": "GPL-2.0-or-later", "GPL-2.0": "GPL-2.0-only",
		"GPL-2.0+": "GPL-2.0-or-later", "GPL-3": "GPL-3.0-only", "GPL-3+": "GPL-3.0-or-later", "GPL-3.0": "GPL-3.0-only", "GPL-3.0+": "GPL-3.0-or-later",
		"LGPL-2": "LGPL-2.0-only", "LGPL-2+": "LGPL-2.0-or-later", "LGPL-2.0+": "LGPL-2.0-or-later", "LGPL-2.1": "LGPL-2.1-only",
		"LGPL-2.1+": "LGPL-2.1-or-later", "LGPL-3": "LGPL-3.0-only", "LGPL-3+": "LGPL-3.0-or-later", "LGPL-3.0+": "LGPL-3.0-or-later",
		"MPL-1.1": "MPL-1.1", "MPL-2.0": "MPL-2.0", "AGPL-3": "AGPL-3.0-only", "AGPL-3+": "AGPL-3.0-or-later", "PSF-2": "PSF-2.0", "Unlicense": "Unlicense",
		"curl": "curl", "X11": "X11", "OFL-1.1": "OFL-1.1", "OpenLDAP-2.8": "OLDAP-2.8", "FTL": "FTL", "PostgreSQL": "PostgreSQL", "Ruby": "Ruby",
	}
}

// expression makes an SPDX expression of a copyright file, "" when it is not in the machine-readable form or names a
// licence without an SPDX identifier. All licences of the package's files hold together: AND.
func expression(paragraphs []debian.Paragraph) string {
	if len(paragraphs) == 0 || !strings.Contains(paragraphs[0].Get("Format"), "copyright-format/1.0") {
		return ""
	}
	known, found := licenses(), map[string]bool{}
	for _, p := range paragraphs[1:] {
		name, _, _ := strings.Cut(p.Get("License"), "\n")
		if p.Get("Files") == "" || strings.TrimSpace(name) == "" {
			continue
		}
		one := translate(known, name)
		if one == "" {
			return ""
		}
		found[one] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(found)), " AND ")
}

// translate is one line of a License field: names with "and", "or" and commas between them.
func translate(known map[string]string, line string) string {
	var out []string
	kinds := map[string]bool{}
	for _, word := range strings.Fields(strings.ReplaceAll(line, ",", " ")) {
		switch word {
		case "and", "or":
			out = append(out, strings.ToUpper(word))
			kinds[word] = true
			continue
		}
		id := known[word]
		if id == "" || len(out) > 0 && out[len(out)-1] != "AND" && out[len(out)-1] != "OR" {
			return ""
		}
		out = append(out, id)
	}
	if len(out)%2 == 0 || len(kinds) > 1 || out[0] == "AND" || out[0] == "OR" {
		return "" // precedence would be a guess
	}
	if kinds["or"] {
		return "(" + strings.Join(out, " ") + ")"
	}
	return strings.Join(out, " ")
}
