package builder

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// isFolder reports whether the extension is a folder of the project.
func (x *extensionStep) isFolder() bool {
	info, err := os.Stat(x.Local)
	return x.Local != "" && err == nil && info.IsDir()
}

// copy is the step for a folder of the project.
func (x *extensionStep) copy() *copyStep {
	return &copyStep{label: x.name(), Copy: recipes.Copy{
		From: x.Source, Source: x.Local, To: x.Path, Owner: x.Owner, Dir: x.Dir, Pos: x.Pos,
	}}
}

// pinLocal pins an extension of the project to its content. It is an input like the files of a copy: another content is
// another pin, whatever its version says.
func (b *bake) pinLocal(ctx context.Context, x *extensionStep) (recipes.LockedExtension, error) {
	pin := recipes.LockedExtension{Name: x.Name, Version: x.Version, Source: x.Source}
	var err error
	if x.isFolder() {
		pin.SHA256, err = b.folderSum(ctx, x.copy())
	} else {
		pin.SHA256, pin.Size, err = fileSum(x.Local)
	}
	if err != nil {
		return pin, inStep(x, err)
	}
	return pin, nil
}

// folderSum is a hash of all that a copy of a folder copies.
func (b *bake) folderSum(ctx context.Context, c *copyStep) (string, error) {
	w := &copying{step: c, b: b, stats: loadStatCache(b.cache.statCachePath(c.Source))}
	if err := w.scan(); err != nil {
		return "", err
	}
	if err := w.hashAll(ctx); err != nil {
		return "", err
	}
	return w.inputs(), w.stats.save()
}

func fileSum(path string) (sum string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, unreadable(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	d, err := hashOf(f)
	return strings.TrimPrefix(string(d), "sha256:"), info.Size(), err
}

// openLocal opens an archive of the project that must be the one that was pinned.
func openLocal(path, sum string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	d, err := hashOf(f)
	if err == nil && d.Hex() != sum {
		err = fault.New(fault.Failed, "%s changed while it was read", path).WithHint("bake again when nothing writes to it")
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("open archive: %w", err)
	}
	return f, nil
}

// compareLocal lists how extensions of the project differ from what is pinned.
func (b *bake) compareLocal(ctx context.Context, l *recipes.Lock) ([]string, error) {
	var diffs []string
	for _, e := range b.recipe.Extensions {
		pin := l.Extension(e.Name)
		if e.Local == "" || pin == nil {
			continue
		}
		now, err := b.pinLocal(ctx, &extensionStep{Extension: e})
		if err != nil {
			return nil, err
		}
		if now.SHA256 != pin.SHA256 {
			diffs = append(diffs, fmt.Sprintf("extension %s: %s is not what is pinned", e.Name, e.Source))
		}
	}
	return diffs, nil
}
