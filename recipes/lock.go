package recipes

import "time"

// LockSchema is the version of the lockfile's format that is written. The one before had no sums, and is read too.
const LockSchema = 2

// Lock pins what a recipe gets from elsewhere. All lists are sorted and name each thing once.
type Lock struct {
	Schema     int               `yaml:"schema,required"`
	Base       *LockedBase       `yaml:"base,omitempty"`
	Debian     *LockedDebian     `yaml:"debian,omitempty"`
	Machine    *LockedMachine    `yaml:"machine,omitempty"`
	Extensions []LockedExtension `yaml:"extensions,omitempty"`
	Fetch      []LockedURL       `yaml:"fetch,omitempty"`
	Git        []LockedGit       `yaml:"git,omitempty"`
}

// LockedDebian pins a Debian base with all its packages.
type LockedDebian struct {
	// Request is what the packages were chosen for, a line for each wish of the recipe. Another one needs another choice.
	Request []string `yaml:"request,required"`
	// Suites are the archives' states that were chosen from.
	Suites []LockedSuite `yaml:"suites,required"`
	// Packages are those of each architecture, as Debian names it.
	Packages map[string]LockedPackages `yaml:"packages,required"`
}

// LockedSuite is the state of an archive when the packages were chosen.
type LockedSuite struct {
	Name string    `yaml:"name,required"`
	Date time.Time `yaml:"date,omitempty"` // of its release file; UTC, seconds
}

// LockedPackages are the packages for one architecture.
type LockedPackages struct {
	// Sum is that of the list when it was saved: a line that is lost later, by hand or in a merge, is noticed by it.
	Sum   string          `yaml:"sum,omitempty"`
	Base  []LockedPackage `yaml:"base,required"` // essential and required ones, apt, and what they need
	Added []LockedPackage `yaml:"added,omitempty"`
}

// LockedPackage pins a package. It is one line of text, so that a changed package is a changed line:
//
//	name version architecture suite size sha256 path
type LockedPackage struct {
	Name    string
	Version string
	Arch    string
	Suite   string // name of the suite or repository that it comes from
	Size    int64  // bytes of the .deb
	SHA256  string // 64 hex digits
	Path    string // below the archive's address
}

// LockedMachine pins what a machine boots with. Its files are in no layer, so its date is none of the image's.
type LockedMachine struct {
	// Request is what the packages were chosen for, a line for each wish of the recipe.
	Request []string `yaml:"request,required"`
	// Packages are the kernel's and the one with systemd's stub for UEFI, by name.
	Packages []LockedPackage `yaml:"packages,required"`
}

// LockedExtension pins a plug-in: an archive by SHA256, a repository by Commit.
type LockedExtension struct {
	Name    string    `yaml:"name,required"`
	Version string    `yaml:"version,required"`
	Source  string    `yaml:"source,required"`
	SHA256  string    `yaml:"sha256,omitempty"`
	Size    int64     `yaml:"size,omitempty"` // bytes
	Ref     string    `yaml:"ref,omitempty"`
	Commit  string    `yaml:"commit,omitempty"`
	Date    time.Time `yaml:"date,omitempty"` // UTC, seconds
}

// LockedBase pins the base image. Reference is what the recipe says, a path as written.
type LockedBase struct {
	Image  string    `yaml:"image,required"`
	Digest string    `yaml:"digest,required"` // "sha256:…" of the manifest
	Date   time.Time `yaml:"date,omitempty"`  // the image's own creation date, if it has one; UTC, seconds
}

// LockedURL pins a download.
type LockedURL struct {
	URL    string    `yaml:"url,required"`
	SHA256 string    `yaml:"sha256,required"`
	Size   int64     `yaml:"size,omitempty"` // bytes
	Date   time.Time `yaml:"date,omitempty"` // when it changed last, if the server says so; UTC, seconds
}

// LockedGit pins a commit.
type LockedGit struct {
	URL    string    `yaml:"url,required"`
	Ref    string    `yaml:"ref,omitempty"`
	Commit string    `yaml:"commit,required"` // 40 or 64 hex digits
	Date   time.Time `yaml:"date,omitempty"`  // committer date; UTC, seconds
}
