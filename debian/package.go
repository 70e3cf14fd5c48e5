package debian

// Package is a binary package as an index or a status file lists it. Relations are kept as written, since most packages
// of an index are never asked for theirs: ParseRelations reads them.
type Package struct {
	Name          string
	Version       Version
	Arch          string // "all" or an architecture as dpkg names it, such as amd64
	MultiArch     string // "", same, foreign, allowed
	Source        string // source package; never "", it is Name when the index says nothing
	SourceVersion Version
	Essential     bool
	Protected     bool
	Priority      string
	Section       string
	PreDepends    string
	Depends       string
	Recommends    string
	Suggests      string
	Enhances      string
	Conflicts     string
	Breaks        string
	Replaces      string
	Provides      string
	Description   string // first line
	Maintainer    string
	Homepage      string

	InstalledSize int64  // KiB, as the package says itself
	Filename      string // path below the mirror's address
	Size          int64  // bytes of the .deb
	SHA256        string // of the .deb; 64 hex digits

	// Suite says where an index's package is from: its place in the list of suites that were asked for.
	Suite int
}

// Version is a package version, epoch:upstream-revision. Use Compare, not ==: 1.0 and 1.00 are equal.
type Version string

// Relation is one item of a relation field: alternatives, of which one is enough, first choice first.
type Relation []Dependency

// Dependency is one alternative of a relation.
type Dependency struct {
	Name    string
	Arch    string  // qualifier after the colon: "", any, native or an architecture
	Op      string  // "", <<, <=, =, >=, >>
	Version Version // "" without Op
}
