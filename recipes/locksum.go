package recipes

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/bootandshoot/release/internal/human"
)

// sumForm is a sum: how many packages the two lists have, and the hash of all that decides on them.
const sumForm = "base %d added %d sha256 %s"

// sumOf is the sum of the packages of an architecture: of their lines, and of the wishes and suites that they are for.
func (d *LockedDebian) sumOf(p LockedPackages) string {
	h := sha256.New()
	for _, line := range slices.Sorted(slices.Values(d.Request)) {
		fmt.Fprintf(h, "request %s\n", line)
	}
	var suites []string
	for _, s := range d.Suites {
		suites = append(suites, s.Name+" "+s.Date.UTC().Format(time.RFC3339))
	}
	for _, line := range slices.Sorted(slices.Values(suites)) {
		fmt.Fprintf(h, "suite %s\n", line)
	}
	for _, part := range []struct {
		name string
		list []LockedPackage
	}{{"base", p.Base}, {"added", p.Added}} {
		for _, q := range slices.SortedFunc(slices.Values(part.list), LockedPackage.compare) {
			fmt.Fprintf(h, "%s %s\n", part.name, q.line())
		}
	}
	return fmt.Sprintf(sumForm, len(p.Base), len(p.Added), fmt.Sprintf("%x", h.Sum(nil)))
}

// sum writes the sums of all architectures.
func (d *LockedDebian) sum() {
	if d == nil {
		return
	}
	for arch, p := range d.Packages {
		p.Sum = d.sumOf(p)
		d.Packages[arch] = p
	}
}

// unsummed is a copy without sums: they say nothing that the rest does not.
func (d *LockedDebian) unsummed() *LockedDebian {
	if d == nil {
		return nil
	}
	o := *d
	o.Packages = maps.Clone(d.Packages)
	for arch, p := range o.Packages {
		p.Sum = ""
		o.Packages[arch] = p
	}
	return &o
}

// checkSums reports lists that are not those that were saved. A package that is gone from the base would be missed by
// nothing else: others need not name what every system has.
func (d *LockedDebian) checkSums(c *lockChecker) {
	for _, arch := range slices.Sorted(maps.Keys(d.Packages)) {
		p := d.Packages[arch]
		var base, added int
		_, err := fmt.Sscanf(p.Sum, sumForm, &base, &added, new(string))
		switch at := []any{"debian", "packages", arch}; {
		case p.Sum == d.sumOf(p):
		case p.Sum == "":
			c.changed("it has no sum", at...)
		case err == nil && base != len(p.Base):
			c.changed(fmt.Sprintf("base has %s and was written with %d", human.Count(len(p.Base), "package"), base), append(at, "base")...)
		case err == nil && added != len(p.Added):
			c.changed(fmt.Sprintf("added has %s and was written with %d", human.Count(len(p.Added), "package"), added), append(at, "added")...)
		default:
			c.changed("a line of it, of the request or of the suites is not as it was written", append(at, "sum")...)
		}
	}
}

func (c *lockChecker) changed(how string, path ...any) {
	c.errs = append(c.errs, c.root.LocateKey(path...).Errorf("the pins of %s were changed by hand or in a merge: %s", path[2], how).
		WithHint("take the file back from version control, then bring it up to date: release lock; or make all pins anew: release lock --update"))
}
