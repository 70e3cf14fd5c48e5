package archive

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/internal/fault"
)

// Index is what some suites offer for one architecture.
type Index struct {
	Arch     string
	Suites   []Suite          // one for each source, in their order
	Packages []debian.Package // of Arch and of all; Package.Suite is the place in Suites. A name is there as often as it is offered
}

// Suite is a suite as its release file describes it.
type Suite struct {
	Source   string // Source.Name
	Suite    string // as it was asked for
	Security bool
	Origin   string
	Label    string
	Codename string
	Version  string
	Date     time.Time
	Expires  time.Time // zero when it does not
	Signers  []string  // fingerprints of the keys whose signature counted
	Mirrors  []string  // the one that answered first

	NotAutomatic, ButAutomaticUpgrades bool // as in debian.Release
}

// Download is what Fetch needs for a package of the index.
func (x *Index) Download(p debian.Package) (Download, error) {
	if p.Suite < 0 || p.Suite >= len(x.Suites) {
		return Download{}, fault.New(fault.Internal, "fetch %s: it is of no suite of the index", p.Name)
	}
	d := Download{Name: p.Name + " " + string(p.Version), Mirrors: x.Suites[p.Suite].Mirrors,
		Path: path.Clean(p.Filename), Size: p.Size, SHA256: p.SHA256}
	return d, d.check()
}

// Update brings the sources' release files and indexes up to date and reads them, all at once. A second Update with nothing
// changed asks for the release files alone, Offline for nothing. arch is an architecture as dpkg names it, not all.
func (c *Client) Update(ctx context.Context, sources []Source, arch string) (*Index, error) {
	if arch == "" || arch == "all" || arch == "source" || !cleanPath(arch) || strings.Contains(arch, "/") {
		return nil, fault.New(fault.Invalid, "read package indexes: %q is no architecture", arch).
			WithHint("write it as dpkg does, such as amd64 or arm64")
	}
	for i := range sources {
		if err := sources[i].check(); err != nil {
			return nil, err
		}
	}
	x := &Index{Arch: arch, Suites: make([]Suite, len(sources))}
	packages := make([][]debian.Package, len(sources))
	absent := make([]error, len(sources))
	report := c.newProgress()
	group, ctx := errgroup.WithContext(ctx)
	for i := range sources {
		group.Go(func() error {
			got, err := c.release(ctx, &sources[i])
			if !c.o.Offline && fault.Is(err, fault.NotFound) {
				absent[i] = err
				return nil // the others are asked, too
			}
			if err != nil {
				return err
			}
			x.Suites[i] = got.suite()
			packages[i], err = c.packages(ctx, got, arch, i, report)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := missing(sources, absent); err != nil {
		return nil, err
	}
	x.Packages = slices.Concat(packages...)
	return x, nil
}

func (r *checked) suite() Suite {
	return Suite{Source: r.source.Name, Suite: r.source.Suite, Security: r.source.Security, Origin: r.rel.Origin, Label: r.rel.Label,
		Codename: r.rel.Codename, Version: r.rel.Version, Date: r.rel.Date, Expires: r.rel.ValidUntil, Signers: r.signers, Mirrors: r.mirrors,
		NotAutomatic: r.rel.NotAutomatic, ButAutomaticUpgrades: r.rel.ButAutomaticUpgrades}
}

// packages reads all indexes of a suite for an architecture.
func (c *Client) packages(ctx context.Context, r *checked, arch string, suite int, report *progress) ([]debian.Package, error) {
	paths, err := r.indexPaths(arch)
	if err != nil {
		return nil, err
	}
	parts := make([][]debian.Package, len(paths))
	group, ctx := errgroup.WithContext(ctx)
	for i, p := range paths {
		group.Go(func() error {
			text, err := c.index(ctx, r, p, report)
			if err != nil {
				return err
			}
			if parts[i], err = debian.ParsePackages(path.Join(r.source.Suite, p), text, suite); err != nil {
				return fmt.Errorf("read package index of %s: %w", r.source, err)
			}
			parts[i] = slices.DeleteFunc(parts[i], func(p debian.Package) bool { return p.Arch != arch && p.Arch != "all" })
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return slices.Concat(parts...), nil
}

// indexPaths are the indexes that list what an architecture can use, below the release file's folder and unpacked.
func (r *checked) indexPaths(arch string) ([]string, error) {
	if r.source.flat() {
		return []string{"Packages"}, nil
	}
	if !slices.Contains(r.rel.Architectures, arch) {
		return nil, fault.New(fault.NotFound, "read package index of %s: it has no packages for %s, only for %s",
			r.source, arch, strings.Join(r.rel.Architectures, ", ")).WithHint("choose one of these architectures")
	}
	folders := []string{"binary-" + arch}
	if slices.Contains(r.rel.Architectures, "all") && !r.rel.NoAllArch {
		folders = append(folders, "binary-all")
	}
	var paths []string
	for _, component := range r.source.Components {
		if !slices.ContainsFunc(r.rel.Components, func(c string) bool { return c == component || path.Base(c) == component }) {
			return nil, fault.New(fault.NotFound, "read package index of %s: it has no component %s, only %s",
				r.source, component, strings.Join(r.rel.Components, ", ")).WithHint("choose one of these components")
		}
		for _, folder := range folders {
			p := component + "/" + folder + "/Packages"
			// As apt does: all among the architectures and no index of its own means that the others' have its packages.
			if folder != "binary-all" || r.lists(p) {
				paths = append(paths, p)
			}
		}
	}
	return paths, nil
}

// lists reports whether the release file has an index in any form.
func (r *checked) lists(index string) bool {
	for _, packing := range []string{"", ".xz", ".gz", ".bz2", ".zst", ".lzma"} {
		if _, ok := r.rel.Files[index+packing]; ok {
			return true
		}
	}
	return false
}
