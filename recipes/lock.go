package recipes

import "time"

// LockSchema is the version of the lockfile's format.
const LockSchema = 1

// Lock pins what a recipe gets from elsewhere. All lists are sorted and name each thing once.
type Lock struct {
	Schema int         `yaml:"schema,required"`
	Base   *LockedBase `yaml:"base,omitempty"`
	Fetch  []LockedURL `yaml:"fetch,omitempty"`
	Git    []LockedGit `yaml:"git,omitempty"`
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
