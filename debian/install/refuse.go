package install

import (
	"path"
	"strings"

	"github.com/bootandshoot/release/debian/deb"
	"github.com/bootandshoot/release/internal/fault"
)

// refuse says why a package may not have an entry, at its place in the system: what would mean something else in a layer or to
// an overlay than it does in the package, and what would write over dpkg's database behind its back.
func refuse(e deb.Entry, at string) error {
	because := ""
	switch {
	case strings.HasPrefix(path.Base(at), ".wh."):
		because = "in a layer, names that begin with .wh. remove other files"
	case e.Type == deb.CharDevice && e.Major == 0 && e.Minor == 0:
		because = "the character device 0:0 stands for a removed file"
	case e.Type != deb.Dir && inDatabase(at):
		because = "dpkg's database is dpkg's own"
	default:
		return nil
	}
	return fault.New(fault.Failed, "/%s is refused: %s", e.Path, because).
		WithHint("leave the package out, or tell its maintainer")
}

// inDatabase reports whether a path is a file that dpkg itself keeps, see dpkg(1), FILES.
func inDatabase(at string) bool {
	name, ok := strings.CutPrefix(at, "var/lib/dpkg/")
	if !ok {
		return false
	}
	switch first, _, _ := strings.Cut(name, "/"); strings.TrimSuffix(first, "-old") {
	case "alternatives", "arch", "available", "diversions", "info", "lock", "lock-frontend", "parts", "statoverride", "status", "triggers", "updates":
		return true
	}
	return false
}
