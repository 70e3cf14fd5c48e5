package debian

import (
	"io"
	"strconv"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

// ParsePackages reads a package index or a status file; errors name it by file. The packages share the text's memory, and
// their Suite is the one given. In a status file a package that is not installed may lack fields: use a Reader there.
func ParsePackages(file, text string, suite int) ([]Package, error) {
	packages := make([]Package, 0, len(text)/averageEntry+16)
	for r := NewReader(file, text); ; {
		p, err := r.Next()
		if err == io.EOF {
			return packages, nil
		}
		if err != nil {
			return nil, err
		}
		packages = append(packages, Package{Suite: suite})
		if err := packages[len(packages)-1].parse(p); err != nil {
			return nil, err
		}
	}
}

// ParseControl reads a package's own control file, which has one paragraph; errors name it by file.
func ParseControl(file, text string) (Package, Paragraph, error) {
	list, err := ParseParagraphs(file, text)
	if err != nil {
		return Package{}, Paragraph{}, err
	}
	if len(list) != 1 {
		return Package{}, Paragraph{}, fault.New(fault.Failed, "its control file has %d paragraphs", len(list))
	}
	p, err := ParsePackage(list[0])
	return p, list[0], err
}

// averageEntry is about the length of a package's paragraph in Debian's indexes, to reserve memory once.
const averageEntry = 740

// ParsePackage reads a binary package's paragraph. Package, Version and Architecture must be there. Fields that Package does
// not have are the paragraph's.
func ParsePackage(p Paragraph) (Package, error) {
	var pkg Package
	err := pkg.parse(p)
	return pkg, err
}

func (pkg *Package) parse(p Paragraph) error {
	var seen uint64
	for i := range p.Fields {
		f := &p.Fields[i]
		n := known(f.Name)
		if n == 0 {
			continue
		}
		if seen&(1<<n) != 0 {
			return p.errorAt(f.Name, "it stands there twice")
		}
		seen |= 1 << n
		if !pkg.set(n, f.Value) {
			return p.errorAt(f.Name, "%s is not what it takes", quote(f.Value))
		}
	}
	return pkg.finish(p)
}

// finish checks what must be there and fills in what may be left out.
func (pkg *Package) finish(p Paragraph) error {
	if pkg.Name == "" {
		return p.errorAt("Package", "it is missing")
	}
	if err := checkName(pkg.Name); err != nil {
		return p.errorAt("Package", "%w", err)
	}
	if pkg.Version == "" {
		return p.errorAt("Version", "package %s has none", pkg.Name)
	}
	if err := pkg.Version.Valid(); err != nil {
		return p.errorAt("Version", "package %s: %w", pkg.Name, err)
	}
	if pkg.Arch == "" {
		return p.errorAt("Architecture", "package %s has none", pkg.Name)
	}
	if strings.Trim(pkg.Arch, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" { // it becomes part of names of files
		return p.errorAt("Architecture", "package %s: %s is none", pkg.Name, quote(pkg.Arch))
	}
	if pkg.Source == "" {
		pkg.Source = pkg.Name
	}
	if pkg.SourceVersion == "" {
		pkg.SourceVersion = pkg.Version
	}
	return nil
}

// fieldNames are the fields of Package; their places are what set knows. The first place means none of them.
var fieldNames = [...]string{"", "Package", "Version", "Architecture", "Multi-Arch", "Source", "Essential", "Protected", "Priority",
	"Section", "Pre-Depends", "Depends", "Recommends", "Suggests", "Enhances", "Conflicts", "Breaks", "Replaces",
	"Provides", "Description", "Maintainer", "Homepage", "Installed-Size", "Filename", "Size", "SHA256"}

// known is the place of a name in fieldNames, 0 for another one.
func known(name string) int {
	for i := 1; i < len(fieldNames); i++ {
		if equalName(fieldNames[i], name) {
			return i
		}
	}
	return 0
}

// set takes a field's value; false is for one that does not fit.
func (pkg *Package) set(n int, value string) (ok bool) {
	ok = true
	switch fieldNames[n] {
	case "Package":
		pkg.Name = value
	case "Version":
		pkg.Version = Version(value)
	case "Architecture":
		pkg.Arch = value
	case "Multi-Arch":
		if pkg.MultiArch = value; value == "no" {
			pkg.MultiArch = ""
		}
	case "Source":
		pkg.Source, pkg.SourceVersion = parseSource(value)
	case "Essential":
		pkg.Essential, ok = parseYes(value)
	case "Protected":
		pkg.Protected, ok = parseYes(value)
	case "Priority":
		pkg.Priority = value
	case "Section":
		pkg.Section = value
	case "Description":
		pkg.Description, _ = cutLine(value)
	case "Maintainer":
		pkg.Maintainer = value
	case "Homepage":
		pkg.Homepage = value
	case "Installed-Size":
		pkg.InstalledSize, ok = parseSize(value)
	case "Filename":
		pkg.Filename = value
	case "Size":
		pkg.Size, ok = parseSize(value)
	case "SHA256":
		pkg.SHA256, ok = parseSHA256(value)
	default:
		*pkg.relation(fieldNames[n]) = value
	}
	return ok
}

func (pkg *Package) relation(name string) *string {
	switch name {
	case "Pre-Depends":
		return &pkg.PreDepends
	case "Depends":
		return &pkg.Depends
	case "Recommends":
		return &pkg.Recommends
	case "Suggests":
		return &pkg.Suggests
	case "Enhances":
		return &pkg.Enhances
	case "Conflicts":
		return &pkg.Conflicts
	case "Breaks":
		return &pkg.Breaks
	case "Replaces":
		return &pkg.Replaces
	}
	return &pkg.Provides
}

// parseSource reads "name" and "name (version)".
func parseSource(value string) (name string, version Version) {
	name, rest, ok := strings.Cut(value, "(")
	if ok {
		rest, _, _ = strings.Cut(rest, ")")
	}
	return trim(name), Version(trim(rest))
}

func parseYes(value string) (yes, ok bool) {
	return value == "yes", value == "yes" || value == "no"
}

func parseSize(value string) (int64, bool) {
	n, err := strconv.ParseInt(value, 10, 64)
	return n, err == nil && n >= 0
}

// parseSHA256 takes 64 hex digits and gives them in lower case.
func parseSHA256(value string) (string, bool) {
	if len(value) != 64 {
		return "", false
	}
	lower := true
	for i := range len(value) {
		switch c := value[i]; {
		case isDigit(c), 'a' <= c && c <= 'f':
		case 'A' <= c && c <= 'F':
			lower = false
		default:
			return "", false
		}
	}
	if !lower {
		value = strings.ToLower(value)
	}
	return value, true
}
