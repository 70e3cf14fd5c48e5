package upper

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/fault"
)

// KeepXattr reports whether an extended attribute belongs to a file and not to the file system that it lies on.
func KeepXattr(name string) bool {
	return name == "security.capability" || strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

// readXattrs reads the attributes that belong to the image, and whether the folder is opaque.
func readXattrs(at string) (kept map[string]string, opaque bool, err error) {
	names, err := listXattrs(at)
	if err != nil {
		return nil, false, err
	}
	for _, name := range names {
		overlay := strings.HasPrefix(name, "user.overlay.") || strings.HasPrefix(name, "trusted.overlay.")
		if !overlay && !KeepXattr(name) {
			continue
		}
		value, err := getXattr(at, name)
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return nil, false, fmt.Errorf("read attribute %s: %w", name, err)
		}
		switch {
		case !overlay:
			if kept == nil {
				kept = map[string]string{}
			}
			kept[name] = value
		case strings.HasSuffix(name, ".opaque"):
			opaque = value == "y"
		case strings.HasSuffix(name, ".redirect"), strings.HasSuffix(name, ".metacopy"):
			return nil, false, fault.New(fault.Unsupported, "the kernel's overlay keeps %s here, which a layer cannot say", name).
				WithHint("turn it off: modprobe overlay redirect_dir=N metacopy=N")
		}
	}
	return kept, opaque, nil
}

func listXattrs(at string) ([]string, error) {
	buf := make([]byte, 1<<10)
	for {
		n, err := unix.Llistxattr(at, buf)
		switch {
		case errors.Is(err, unix.ERANGE):
			buf = make([]byte, 64<<10) // the kernel's limit
			continue
		case errors.Is(err, unix.ENOTSUP):
			return nil, nil
		case err != nil:
			return nil, &fs.PathError{Op: "listxattr", Path: at, Err: err}
		}
		list := strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00")
		slices.Sort(list)
		return list, nil
	}
}

func getXattr(at, name string) (string, error) {
	buf := make([]byte, 1<<10)
	n, err := unix.Lgetxattr(at, name, buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, 64<<10) // the kernel's limit
		n, err = unix.Lgetxattr(at, name, buf)
	}
	return string(buf[:max(n, 0)]), err
}
