package builder

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// extensionStep puts a plug-in of the app into the image: what an archive holds, the files of a commit, or a folder of
// the project.
type extensionStep struct {
	recipes.Extension
	pin *recipes.LockedExtension
}

func (x *extensionStep) name() string         { return short("extension " + x.Name + " " + x.Version) }
func (x *extensionStep) at() recipes.Position { return x.Pos }

// Extension is an entry of the annotation images.AnnotationExtensions, which is a list of them in the order of the recipe.
type Extension struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Source  string `json:"source"`
	SHA256  string `json:"sha256,omitempty"` // of the archive
	Commit  string `json:"commit,omitempty"` // of the repository
	Path    string `json:"path"`             // absolute in the image
}

func (x *extensionStep) make(ctx context.Context, b *bake, st *state) (outcome, error) {
	switch {
	case x.Ref != "":
		return x.git().make(ctx, b, st)
	case x.isFolder():
		return x.copy().make(ctx, b, st)
	}
	return x.fetch().make(ctx, b, st)
}

// git is the step for a repository.
func (x *extensionStep) git() *gitStep {
	s := &gitStep{Git: recipes.Git{URL: x.Source, Ref: x.Ref, To: x.Path, Dir: x.Dir, Pos: x.Pos}, label: x.name(), owner: x.Owner}
	if x.pin != nil {
		s.pin = &recipes.LockedGit{URL: x.Source, Ref: x.Ref, Commit: x.pin.Commit}
	}
	return s
}

// fetch is the step for an archive.
func (x *extensionStep) fetch() *fetchStep {
	s := &fetchStep{Fetch: recipes.Fetch{URL: x.Source, SHA256: x.SHA256, Unpack: x.Path, Owner: x.Owner, Dir: x.Dir, Pos: x.Pos}, label: x.name(), pinName: x.Name, strip: x.Strip, local: x.Local}
	if x.pin != nil {
		s.pin = &recipes.LockedURL{URL: x.Source, SHA256: x.pin.SHA256}
	}
	return s
}

// pinExtension pins an extension. A pin holds as long as it is for what the recipe says.
func (b *bake) pinExtension(ctx context.Context, e recipes.Extension, pin *recipes.LockedExtension) (recipes.LockedExtension, error) {
	x := &extensionStep{Extension: e}
	if e.Local != "" {
		return b.pinLocal(ctx, x)
	}
	if sameSource(e, pin) {
		if pin.Version != e.Version {
			return recipes.LockedExtension{}, inStep(x, versionAlone(e, pin))
		}
		return *pin, nil
	}
	next := recipes.LockedExtension{Name: e.Name, Version: e.Version, Source: e.Source, Ref: e.Ref}
	if e.Ref != "" {
		got, err := b.resolveGit(ctx, x.git())
		next.Commit, next.Date = got.Commit, got.Date
		return next, err
	}
	got, err := x.fetch().download(b).get(ctx)
	if err != nil {
		return next, inStep(x, err)
	}
	next.SHA256, next.Size, next.Date = got.SHA256, got.Size, got.Dates[e.Source]
	return next, nil
}

// sameSource reports whether a pin is of what the recipe says to get.
func sameSource(e recipes.Extension, pin *recipes.LockedExtension) bool {
	if pin == nil || pin.Source != e.Source || pin.Ref != e.Ref {
		return false
	}
	if e.Ref != "" {
		return commitPattern.MatchString(pin.Commit)
	}
	return pin.SHA256 != "" && (e.SHA256 == "" || e.SHA256 == pin.SHA256)
}

// versionAlone says that a version changed while what is got did not: one of the two is a mistake.
func versionAlone(e recipes.Extension, pin *recipes.LockedExtension) error {
	still := "source still says"
	if e.Ref != "" {
		still = "source and ref still say"
	}
	return fault.New(fault.Invalid, "its version is %s now, but %s what %s was", e.Version, still, pin.Version).
		WithHint("change source too; if only the version was wrong, make its pin anew: release lock --update %s", e.Name)
}

// compareExtensions lists how the pinned extensions differ from the recipe's.
func (b *bake) compareExtensions(l *recipes.Lock) []string {
	var diffs []string
	named := map[string]bool{}
	for _, e := range b.recipe.Extensions {
		named[e.Name] = true
		pin := l.Extension(e.Name)
		switch {
		case pin == nil:
			diffs = append(diffs, fmt.Sprintf("extension %s is not pinned", e.Name))
		case pin.Version != e.Version:
			diffs = append(diffs, fmt.Sprintf("extension %s: the recipe says version %s, the lockfile %s", e.Name, e.Version, pin.Version))
		case pin.Source != e.Source:
			diffs = append(diffs, fmt.Sprintf("extension %s: the recipe's source is %s, the lockfile's %s", e.Name, e.Source, pin.Source))
		case !sameSource(e, pin):
			diffs = append(diffs, fmt.Sprintf("extension %s: the lockfile pins another ref or sha256", e.Name))
		}
	}
	for _, pin := range l.Extensions {
		if !named[pin.Name] {
			diffs = append(diffs, fmt.Sprintf("extension %s is pinned but the recipe does not name it", pin.Name))
		}
	}
	return diffs
}

// extensions lists those of the base and then the recipe's, which take the place of one of the same name.
func (b *bake) extensions() []Extension {
	list := slices.Clone(b.baseExtensions)
	for _, e := range b.recipe.Extensions {
		own := Extension{Name: e.Name, Version: e.Version, Source: e.Source, Path: e.Path}
		if pin := b.lock.Extension(e.Name); pin != nil {
			own.SHA256, own.Commit = pin.SHA256, pin.Commit
		}
		list = slices.DeleteFunc(list, func(x Extension) bool { return x.Name == e.Name })
		list = append(list, own)
	}
	return list
}

// extensionsAnnotation is the text of images.AnnotationExtensions, "" for none.
func extensionsAnnotation(list []Extension) string {
	if len(list) == 0 {
		return ""
	}
	data, err := json.Marshal(list)
	if err != nil {
		panic(fmt.Sprintf("builder: encode extensions: %v", err)) // texts only
	}
	return string(data)
}

// extensionsOf reads the annotation of an image; one that is damaged lists nothing.
func extensionsOf(img images.Image) []Extension {
	var list []Extension
	if json.Unmarshal([]byte(img.Annotations[images.AnnotationExtensions]), &list) != nil {
		return nil
	}
	return list
}

// strip leaves out the leading folders of files' paths. What lies higher is left out as a whole.
func strip(files []file, n int) ([]file, error) {
	if n == 0 {
		return files, nil
	}
	kept := []file{{rel: ".", kind: images.Dir, mode: 0o755}}
	for _, f := range files {
		rel, ok := stripped(f.rel, n)
		if !ok {
			continue
		}
		if f.kind == images.HardLink {
			if f.link, ok = stripped(f.link, n); !ok {
				return nil, fault.New(fault.Invalid, "entry %q: its hard link leads to what strip: %d leaves out", shortName(f.rel), n)
			}
		}
		f.rel = rel
		kept = append(kept, f)
	}
	if len(kept) == 1 {
		return nil, fault.New(fault.Invalid, "nothing is left of the archive after strip: %d", n).WithHint("its paths have fewer folders: make strip smaller")
	}
	seen := map[string]bool{}
	for _, f := range kept {
		if seen[f.rel] && f.kind != images.Dir {
			return nil, fault.New(fault.Invalid, "two entries of the archive become %q after strip: %d", shortName(f.rel), n)
		}
		seen[f.rel] = true
	}
	sortFiles(kept)
	return slices.CompactFunc(kept, func(a, b file) bool { return a.rel == b.rel }), nil
}

// stripped is a path without its first n parts, false when nothing is left.
func stripped(rel string, n int) (string, bool) {
	for range n {
		_, rest, ok := strings.Cut(rel, "/")
		if !ok {
			return "", false
		}
		rel = rest
	}
	return rel, true
}
