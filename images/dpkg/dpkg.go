// Package dpkg reads what dpkg keeps in an image: which packages are installed, and which files each has. An image made
// without dpkg has a file for each package in debian.StatusParts. Nothing is unpacked.
package dpkg

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// RecordLimit is the largest record to read, in bytes: dpkg's status has about 1 KB a package.
const RecordLimit = 64 << 20

// IsRecord says that a file, by its path in the image, has records of packages.
func IsRecord(name string) bool {
	dir, base := path.Split(name)
	return name == debian.StatusFile || dir == debian.StatusParts+"/" && !strings.HasSuffix(base, ".md5sums")
}

// Record is a file of an image that has records of packages.
type Record struct {
	Name string // path at which dpkg has it; links may lead to another
	File *images.ImageFile
}

// Records lists the files that have records of packages; images without packages have none.
func Records(files *images.Files) ([]Record, error) {
	var list []Record
	status, err := files.Resolve(debian.StatusFile)
	switch {
	case err == nil:
		list = append(list, Record{debian.StatusFile, status})
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	parts, err := files.Resolve(debian.StatusParts)
	if err != nil || parts.Type != images.Dir {
		return list, nil //nolint:nilerr // most images have none
	}
	for _, part := range parts.Children() {
		name := path.Join(debian.StatusParts, path.Base(part.Path))
		if part.Type == images.File && IsRecord(name) {
			list = append(list, Record{name, part})
		}
	}
	return list, nil
}

// Installed reads the records of a file, whose path in the image says what it is, and gives those of packages that are
// installed: all in a part, in dpkg's status those that are there at least partly. What cannot be understood is fault.Invalid.
func Installed(name, text string) ([]debian.Paragraph, error) {
	all, err := debian.ParseParagraphs("/"+name, text)
	if err != nil {
		return nil, fault.New(fault.Invalid, "read records of packages: %w", err)
	}
	if name != debian.StatusFile {
		return all, nil
	}
	var list []debian.Paragraph
	for _, p := range all {
		if state := strings.Fields(p.Get("Status")); len(state) == 3 && state[2] != "not-installed" && state[2] != "config-files" {
			list = append(list, p)
		}
	}
	return list, nil
}

// ListNames are the names under which dpkg may keep the list of a package's files.
func ListNames(name, arch string) []string { return []string{name, name + ":" + arch} }
