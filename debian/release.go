package debian

import (
	"strings"
	"time"
)

// Release is what a suite's release file says. It is worth what the check of its signature says.
type Release struct {
	Origin        string
	Label         string
	Suite         string
	Codename      string
	Version       string
	Date          time.Time // UTC
	ValidUntil    time.Time // zero when it does not expire
	Components    []string
	Architectures []string
	ByHash        bool // files can also be had by their hash: Acquire-By-Hash
	NoAllArch     bool // packages of architecture all are in each architecture's index, not in one of their own only
	// NotAutomatic suites give nothing by themselves, ButAutomaticUpgrades what is installed from them already.
	NotAutomatic, ButAutomaticUpgrades bool
	Files                              map[string]File
}

// File is a file of a suite; its path is below the release file's folder.
type File struct {
	Path   string
	Size   int64  // bytes
	SHA256 string // 64 hex digits
}

// ParseRelease reads a release file without its signature; errors name it by file.
func ParseRelease(file, text string) (*Release, error) {
	r := NewReader(file, text)
	p, err := r.Next()
	if err != nil {
		p = Paragraph{File: file}
		return nil, p.errorAt("Date", "the file has no fields: %w", err)
	}
	rel := &Release{
		Origin: p.Get("Origin"), Label: p.Get("Label"), Suite: p.Get("Suite"), Codename: p.Get("Codename"),
		Version: p.Get("Version"), Components: strings.Fields(p.Get("Components")),
		Architectures: strings.Fields(p.Get("Architectures")), ByHash: p.Get("Acquire-By-Hash") == "yes",
		NoAllArch:    p.Get("No-Support-for-Architecture-all") == "Packages",
		NotAutomatic: p.Get("NotAutomatic") == "yes", ButAutomaticUpgrades: p.Get("ButAutomaticUpgrades") == "yes",
	}
	if rel.Date, err = parseDate(p.Get("Date")); err != nil {
		return nil, p.errorAt("Date", "%w", err)
	}
	if until := p.Get("Valid-Until"); until != "" {
		if rel.ValidUntil, err = parseDate(until); err != nil {
			return nil, p.errorAt("Valid-Until", "%w", err)
		}
	}
	return rel, rel.parseFiles(p)
}

// parseDate reads dates in the form of Debian Policy 4.4 and mail headers. They must be UTC: another zone's abbreviation
// means nothing certain.
func parseDate(value string) (time.Time, error) {
	for _, zone := range []string{" UTC", " GMT", " Z"} {
		if date, ok := strings.CutSuffix(value, zone); ok {
			value = date + " +0000"
		}
	}
	t, err := time.Parse("Mon, _2 Jan 2006 15:04:05 -0700", value)
	return t.UTC(), err
}

func (rel *Release) parseFiles(p Paragraph) error {
	value, ok := p.Lookup("SHA256")
	if !ok {
		return p.errorAt("SHA256", "the file has no SHA256 sums; weaker ones are not taken")
	}
	rel.Files = make(map[string]File, strings.Count(value, "\n")+1)
	for _, line := range Lines(value) {
		if line == "" {
			continue
		}
		parts := strings.Fields(line)
		if len(parts) != 3 {
			return p.errorAt("SHA256", "%s is not HASH SIZE PATH", quote(line))
		}
		sum, okSum := parseSHA256(parts[0])
		size, okSize := parseSize(parts[1])
		if !okSum || !okSize {
			return p.errorAt("SHA256", "%s is not HASH SIZE PATH", quote(line))
		}
		f := File{Path: parts[2], Size: size, SHA256: sum}
		if other, ok := rel.Files[f.Path]; ok && other != f {
			return p.errorAt("SHA256", "%s stands there twice", f.Path)
		}
		rel.Files[f.Path] = f
	}
	return nil
}
