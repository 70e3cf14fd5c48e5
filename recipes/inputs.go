package recipes

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/bootandshoot/release/internal/fault"
)

// Inputs lists all that the step copies, sorted by path, the source itself first, without .git and what .releaseignore
// files leave out. Devices, sockets and pipes are errors at the step's place.
func (r *Recipe) Inputs(c Copy) ([]Input, error) {
	info, err := os.Lstat(c.Source)
	if err != nil {
		return nil, fmt.Errorf("copy %s: %w", c.From, err)
	}
	first, err := input(c, ".", info)
	if err != nil {
		return nil, err
	}
	list := []Input{first}
	if info.IsDir() {
		if list, err = r.walk(c, ".", list); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(list, func(a, b Input) int { return cmp.Compare(sortKey(a), sortKey(b)) })
	return list, nil
}

// sortKey puts the source itself first: a file's name may sort before ".".
func sortKey(i Input) string {
	if i.Path == "." {
		return ""
	}
	return i.Path
}

func (r *Recipe) walk(c Copy, dir string, list []Input) ([]Input, error) {
	entries, err := os.ReadDir(filepath.Join(c.Source, filepath.FromSlash(dir)))
	if err != nil {
		return nil, fmt.Errorf("copy %s: %w", c.From, err)
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if r.leftOut(filepath.Join(c.Source, filepath.FromSlash(name)), e.IsDir()) != "" {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, fmt.Errorf("copy %s: %w", c.From, err)
		}
		in, err := input(c, name, info)
		if err != nil {
			return nil, err
		}
		list = append(list, in)
		if !e.IsDir() {
			continue
		}
		if list, err = r.walk(c, name, list); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// leftOut names the rule that keeps a path on disk out of copies, "" for none.
func (r *Recipe) leftOut(abs string, isDir bool) string {
	rel, err := filepath.Rel(r.Root, abs)
	if err != nil {
		return ""
	}
	return r.Ignore.rule(filepath.ToSlash(rel), isDir)
}

func input(c Copy, name string, info fs.FileInfo) (Input, error) {
	in := Input{Path: name, Abs: filepath.Join(c.Source, filepath.FromSlash(name)), Mode: info.Mode()}
	switch {
	case info.IsDir():
	case info.Mode().IsRegular():
		in.Size = info.Size()
	case info.Mode()&fs.ModeSymlink != 0:
		link, err := os.Readlink(in.Abs)
		if err != nil {
			return in, fmt.Errorf("copy %s: %w", c.From, err)
		}
		in.Link = link
	default:
		return in, fault.New(fault.Invalid, "copy %s: %s is a device, socket or pipe", c.From, in.Abs).
			At(c.Pos.File, c.Pos.Line, c.Pos.Column).WithHint("leave it out in %s", IgnoreName)
	}
	return in, nil
}
