package fleet

import (
	"cmp"
	"context"
	"path"
	"slices"
	"strings"
)

// What may differ in a node from what its image and its spec say.
const (
	ChangedFile    = "file"
	ChangedProcess = "process" // it runs a program that is not the image's
	ChangedSetting = "setting" // how the node is set up: its image, limits, mounts, networks
)

// How it differs.
const (
	WasAdded   = "added"
	WasChanged = "changed"
	WasRemoved = "removed"
)

// Change is one difference between a node and what it was booted from.
type Change struct {
	What   string `json:"what"`             // ChangedFile, ChangedProcess, ChangedSetting
	How    string `json:"how"`              // WasAdded, WasChanged, WasRemoved
	Path   string `json:"path"`             // of the file, or of the process's program, in the node; the name of a setting
	Detail string `json:"detail,omitempty"` // for people
}

// Drift is all that differs in a node. Processes come first, then settings, then files, each by path.
type Drift struct {
	Changes []Change // at most as many as were asked for
	Total   int
}

// DriftSpec says what a node should be, and what may differ.
type DriftSpec struct {
	Spec  Spec     // as the node was booted; the values of secrets are not needed
	Allow []string // patterns of paths that may differ, see Allowed
	Limit int      // most changes to list; 0: 100
}

// Drifter is implemented by drivers that can tell how a node differs from its image.
type Drifter interface {
	// Drift compares a running node with its image and spec. Folders are named only when nothing below them is. What the
	// driver itself puts into a node, /tmp, /run and volumes are no drift, but a process whose program lies there is.
	// ErrNoNode when it does not run, ErrUnavailable when nobody can tell.
	Drift(ctx context.Context, id NodeID, spec DriftSpec) (Drift, error)
}

// volatile are paths that belong to the running node and not to the image, in every driver.
var volatile = [...]string{
	"/tmp", "/var/tmp", "/run", "/var/run", "/dev", "/proc", "/sys",
	"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab",
}

// defaultChanges is how many changes are listed when nobody says.
const defaultChanges = 100

// FileAllowed says whether the file at a path in the node, and all below it, may differ.
func (s DriftSpec) FileAllowed(file string) bool {
	return slices.ContainsFunc(volatile[:], func(p string) bool { return within(file, p) }) ||
		slices.ContainsFunc(s.Spec.Volumes, func(v VolumeMount) bool { return within(file, v.Path) }) || Allowed(s.Allow, file)
}

// ProcessAllowed says whether a program that is not the image's may run from a path in the node.
func (s DriftSpec) ProcessAllowed(program string) bool { return Allowed(s.Allow, program) }

// Found makes a drift of what was found.
func (s DriftSpec) Found(changes []Change) Drift {
	order := map[string]int{ChangedProcess: 0, ChangedSetting: 1, ChangedFile: 2}
	slices.SortFunc(changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(order[a.What], order[b.What]), strings.Compare(a.Path, b.Path), strings.Compare(a.How, b.How))
	})
	total := len(changes)
	return Drift{Changes: changes[:min(total, cmp.Or(s.Limit, defaultChanges))], Total: total}
}

// within says whether a path is another one or lies below it.
func within(file, dir string) bool {
	return file == dir || strings.HasPrefix(file, strings.TrimSuffix(dir, "/")+"/")
}

// Allowed says whether one of the patterns fits a path or a folder above it. A pattern is an absolute path; within a
// segment * and ? and [a-z] stand for what they do in path.Match, and ** is any number of segments.
func Allowed(patterns []string, file string) bool {
	segments := split(file)
	return slices.ContainsFunc(patterns, func(p string) bool { return fits(split(p), segments) })
}

func split(p string) []string {
	p = strings.Trim(path.Clean("/"+p), "/")
	if p == "" {
		return nil
	}
	return strings.Split(p, "/")
}

// fits matches a pattern against the beginning of a path.
func fits(pattern, segments []string) bool {
	if len(pattern) == 0 {
		return true
	}
	if pattern[0] == "**" {
		for i := range len(segments) + 1 {
			if fits(pattern[1:], segments[i:]) {
				return true
			}
		}
		return false
	}
	if len(segments) == 0 {
		return false
	}
	ok, err := path.Match(pattern[0], segments[0])
	return err == nil && ok && fits(pattern[1:], segments[1:])
}
