package sandbox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/fleet"
)

// upperLook compares the upper folder of an overlay with the image below it. The kernel's marks are those of package
// images/upper: a device 0:0 for a name that is gone, an attribute for a folder that hides what is below.
type upperLook struct {
	upper, lower string
	spec         fleet.DriftSpec
	changes      []fleet.Change
}

// changedFiles lists the files in which a node differs from its image. A file that was only opened for writing is copied up
// and no difference.
func changedFiles(ctx context.Context, upper, lower string, spec fleet.DriftSpec) ([]fleet.Change, error) {
	u := &upperLook{upper: upper, lower: lower, spec: spec}
	if err := u.folder(ctx, "", true); err != nil {
		return nil, err
	}
	return u.changes, nil
}

func (u *upperLook) add(how, rel, detail string) {
	u.changes = append(u.changes, fleet.Change{What: fleet.ChangedFile, How: how, Path: "/" + rel, Detail: detail})
}

// folder looks at what is in a folder. Names in it exist below only when merged says that the image has this folder too: else
// the path might lead elsewhere there, through a link.
func (u *upperLook) folder(ctx context.Context, rel string, merged bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(u.upper, rel))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the node removed it meanwhile
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(rel, e.Name())
		if u.spec.FileAllowed("/" + name) {
			continue
		}
		if err := u.name(ctx, name, merged); err != nil {
			return err
		}
	}
	return nil
}

func (u *upperLook) name(ctx context.Context, rel string, merged bool) error {
	st, err := lstat(u.upper, rel)
	if err != nil || st == nil {
		return err
	}
	var below *unix.Stat_t
	if merged {
		if below, err = lstat(u.lower, rel); err != nil {
			return err
		}
	}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0:
		if below != nil {
			u.add(fleet.WasRemoved, rel, "")
		}
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return u.subfolder(ctx, rel, st, below)
	case below == nil:
		u.add(fleet.WasAdded, rel, "")
	default:
		if why := different(filepath.Join(u.upper, rel), filepath.Join(u.lower, rel), st, below); why != "" {
			u.add(fleet.WasChanged, rel, why)
		}
	}
	return nil
}

// subfolder lists a folder by itself only when it tells something that nothing in it does.
func (u *upperLook) subfolder(ctx context.Context, rel string, st, below *unix.Stat_t) error {
	listed := len(u.changes)
	merged := below != nil && below.Mode&unix.S_IFMT == unix.S_IFDIR
	if err := u.folder(ctx, rel, merged); err != nil {
		return err
	}
	switch {
	case below == nil:
		if len(u.changes) == listed {
			u.add(fleet.WasAdded, rel, "")
		}
	case !merged:
		u.add(fleet.WasChanged, rel, "a folder now")
	case opaque(filepath.Join(u.upper, rel)):
		u.add(fleet.WasChanged, rel, "what the image has in it is gone")
	case owned(st, below) != "":
		u.add(fleet.WasChanged, rel, owned(st, below))
	}
	return nil
}

// lstat is nil for what is not there.
func lstat(root, rel string) (*unix.Stat_t, error) {
	var st unix.Stat_t
	at := filepath.Join(root, rel)
	err := unix.Lstat(at, &st)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return nil, nil //nolint:nilnil // not there
	case err != nil:
		return nil, &fs.PathError{Op: "lstat", Path: at, Err: err}
	}
	return &st, nil
}

// otherContent says whether a node has other bytes at a path than the image, which has a file there.
func otherContent(upper, lower, rel string) bool {
	st, err := lstat(upper, rel)
	if err != nil || st == nil {
		return false // not copied up: it is the image's
	}
	below, err := lstat(lower, rel)
	return err != nil || below == nil || st.Mode&unix.S_IFMT != unix.S_IFREG ||
		differentContent(filepath.Join(upper, rel), filepath.Join(lower, rel), st, below) != ""
}

// different says in what two files differ; "" when they are the same.
func different(at, was string, st, below *unix.Stat_t) string {
	switch kind := st.Mode & unix.S_IFMT; {
	case kind != below.Mode&unix.S_IFMT:
		return "of another kind"
	case owned(st, below) != "" && kind != unix.S_IFLNK:
		return owned(st, below)
	case kind == unix.S_IFREG:
		return differentContent(at, was, st, below)
	case kind == unix.S_IFLNK:
		a, errA := os.Readlink(at)
		b, errB := os.Readlink(was)
		if errA == nil && errB == nil && a != b {
			return "leads to " + a
		}
	case (kind == unix.S_IFCHR || kind == unix.S_IFBLK) && st.Rdev != below.Rdev:
		return "another device"
	}
	return ""
}

func differentContent(at, was string, st, below *unix.Stat_t) string {
	switch {
	case st.Size != below.Size:
		return "content"
	case st.Mtim != below.Mtim:
		return "written"
	case !sameContent(at, was): // times can be set back
		return "content"
	}
	return ""
}

func owned(st, below *unix.Stat_t) string {
	switch {
	case st.Mode&0o7777 != below.Mode&0o7777:
		return "mode"
	case st.Uid != below.Uid || st.Gid != below.Gid:
		return "owner"
	}
	return ""
}

// sameContent reads two files that look the same otherwise. One that vanished is the node's next change, not this one.
func sameContent(a, b string) bool {
	x, err := os.OpenFile(a, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return true
	}
	defer x.Close()
	y, err := os.OpenFile(b, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return true
	}
	defer y.Close()
	const chunk = 256 << 10
	p, q := make([]byte, chunk), make([]byte, chunk)
	for {
		n, errX := io.ReadFull(x, p)
		m, errY := io.ReadFull(y, q)
		if !bytes.Equal(p[:n], q[:m]) {
			return false
		}
		if errX != nil || errY != nil {
			return true
		}
	}
}

// opaque says whether a folder hides what the image has in it.
func opaque(dir string) bool {
	for _, name := range []string{"user.overlay.opaque", "trusted.overlay.opaque"} {
		value := make([]byte, 8)
		if n, err := unix.Lgetxattr(dir, name, value); err == nil && string(value[:n]) == "y" {
			return true
		}
	}
	return false
}
