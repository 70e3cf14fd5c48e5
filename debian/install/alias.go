package install

import (
	"github.com/bootandshoot/release/debian/deb"
)

// mergedLinks are the links of a system whose programs all lie in /usr (Debian's usrmerge), which no package has before
// Debian 13: the names that debootstrap and mmdebstrap make, for all architectures and for each.
func mergedLinks(arch string) []string {
	common := []string{"bin", "lib", "sbin"}
	switch arch {
	case "amd64":
		return append(common, "lib32", "lib64", "libx32")
	case "i386":
		return append(common, "lib64", "libx32")
	case "ppc64el":
		return append(common, "lib64")
	case "s390x":
		return append(common, "lib32")
	}
	return common
}

// findAliases tells what is known of links to folders before anything is unpacked.
func (s *stage) findAliases() {
	s.aliases = map[string]string{}
	if s.onTop && s.o.Under != nil {
		return // the view shows them
	}
	for _, name := range mergedLinks(s.o.Arch) {
		s.aliases[name] = "usr/" + name
	}
	if s.onTop {
		return
	}
	holder := s.batches[0].packages[0]
	for _, p := range s.batches[0].packages {
		if p.Name == "base-files" {
			holder = p
		}
	}
	p := &pkg{Package: holder.Package, path: holder.path, order: -1, pseudo: true, group: holder.group}
	for _, name := range mergedLinks(s.o.Arch) {
		p.records = append(p.records,
			&record{pkg: p, Entry: deb.Entry{Path: "usr/" + name, Type: deb.Dir, Mode: 0o755}},
			&record{pkg: p, Entry: deb.Entry{Path: name, Type: deb.Symlink, Mode: 0o777, Link: "usr/" + name}})
	}
	s.merged = p
}
