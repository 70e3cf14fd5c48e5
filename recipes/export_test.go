package recipes

import "github.com/bootandshoot/release/internal/fault"

// ReadIgnore reads the files of a project for a source in dir, without a recipe.
func ReadIgnore(root, dir string) (*Ignore, fault.List) {
	i := newIgnore(root)
	errs := i.load(dir)
	return i, errs
}

// ParseIgnore is one file in the project's folder, its errors left out.
func ParseIgnore(text string) *Ignore {
	i := newIgnore("/")
	i.rules["."], _ = parseIgnore(IgnoreName, text)
	return i
}
