package recipes

import (
	"errors"
	"time"
)

var errPending = errors.New("recipes: not built yet")

// Load reads a recipe and all it includes and validates the whole. The error is a fault.List with all problems and
// their places, or fault.NotFound when there is no such file.
func Load(path string) (*Recipe, error) { return nil, errPending }

// Inputs lists all that the step copies, sorted by path, the source itself first, without .git and what .releaseignore
// files leave out. Devices, sockets and pipes are errors.
func (r *Recipe) Inputs(c Copy) ([]Input, error) { return nil, errPending }

// Ignore knows the .releaseignore files of a project.
type Ignore struct{}

// Match reports whether a path, slash-separated and relative to the project's folder, is left out of copies.
func (i *Ignore) Match(path string, isDir bool) bool { return false }

// Schema is the JSON Schema of recipes.
func Schema() []byte { return nil }

// LockPath is where the lockfile of a recipe lies: beside it, with ".lock" added to its name.
func LockPath(recipe string) string { return recipe + ".lock" }

// LoadLock reads a lockfile. The error is a fault.List with all problems and their places, or fault.NotFound when there
// is no such file.
func LoadLock(path string) (*Lock, error) { return nil, errPending }

// Save writes the lockfile, sorted, so that small changes make small diffs. Nothing is written when nothing changed.
func (l *Lock) Save(path string) error { return errPending }

// Newest is the newest date in the lockfile, the zero time if it has none.
func (l *Lock) Newest() time.Time { return time.Time{} }

// URL is the pin of a download, nil if there is none.
func (l *Lock) URL(url string) *LockedURL { return nil }

// Commit is the pin of a repository and ref, nil if there is none.
func (l *Lock) Commit(url, ref string) *LockedGit { return nil }
