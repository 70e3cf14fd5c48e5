package recipes

import (
	"io/fs"
	"regexp"
	"time"
)

// Debian is a Debian release as a base.
type Debian struct {
	Suite           string   // code name, such as bookworm
	Mirrors         []string // addresses of the archive; none are the machine's
	SecurityMirrors []string
	AllowExpired    bool   // take release files of a past day
	Keyring         string // absolute path; "" is the machine's
}

// Package is a wanted Debian package as apt's command line has it: name, name=version, name/suite or name-.
type Package struct {
	Text string
	Pos  Position
}

// Repository is a further archive of Debian packages.
type Repository struct {
	Name       string
	URL        string
	Suite      string
	Components []string // at least one
	Keyring    string   // absolute path
	Pos        Position
}

// Pin prefers versions of packages, as apt_preferences(5) does.
type Pin struct {
	Package  string // name, with * and ?
	Version  string // with a trailing *; "" is any
	Suite    string // suite or name of a repository; "" is any
	Priority int
	Pos      Position
}

// File puts a single file into the image.
type File struct {
	From     string // as written; "" when Content holds the text
	Source   string // absolute path of the file, links resolved
	Content  string
	Template bool
	To       string       // absolute clean path in the image
	Owner    string       // "" is root:root
	Mode     *fs.FileMode // nil is the default
	Dir      string
	Pos      Position
	TextPos  Position // of the content in the recipe
}

// Extension is a plug-in of an app: an archive at an address, a commit when Ref is set, or a folder or archive of the
// project when Local is.
type Extension struct {
	Name    string
	Version string
	Source  string
	Local   string // absolute path of a folder or archive, links resolved; "" is one from elsewhere
	SHA256  string // "" when only the lockfile pins it
	Ref     string
	Path    string // absolute clean path of the folder in the image
	Strip   int
	Owner   string // "" is root:root
	Dir     string
	Pos     Position
}

// Test must hold of the booted image. Exactly one of Cmd and HTTP is set.
type Test struct {
	Cmd    []string
	User   string // "" is root
	HTTP   *HTTPTest
	Within time.Duration
	Pos    Position
}

// HTTPTest is a request and the answer that is wanted.
type HTTPTest struct {
	Path   string
	Port   int
	Host   string
	Status int
	Body   *regexp.Regexp // nil is any
}

// Allow lets the search for secrets pass something.
type Allow struct {
	Path   string // pattern
	Rule   string // "" is every rule
	Reason string
	Pos    Position
}
