package install

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/debian/deb"
	"github.com/bootandshoot/release/internal/fault"
)

// pkg is one package of a stage.
type pkg struct {
	debian.Package
	path      string
	order     int // place in the order of installation
	batch     int // place in Options.Batches
	file      *os.File
	deb       *deb.Package
	control   map[string]deb.Script
	paragraph debian.Paragraph
	replaces  []debian.Relation
	conffiles []conffile
	group     *group
	records   []*record
	// pseudo is the holder of what belongs to no package.
	pseudo bool
}

// conffile is a file that dpkg keeps the user's changes of.
type conffile struct {
	path   string // absolute, as the package says
	remove bool   // only to be removed at an upgrade: the package has it no more
	md5    string // as the database has it, when that is not the file's
}

// db is the package's name in dpkg's database of files.
func (p *pkg) db() string {
	if p.MultiArch == "same" {
		return p.Name + ":" + p.Arch
	}
	return p.Name
}

func (p *pkg) close() {
	if p.file != nil {
		_ = p.file.Close()
		p.file = nil
	}
}

// inPackage says of which package an error tells.
func (p *pkg) inPackage(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("package %s %s (%s): %w", p.Name, p.Version, p.path, err)
}

// open reads the control members of all packages and decides on the batches.
func (s *stage) open(ctx context.Context) error {
	for i, list := range s.o.Batches {
		for _, item := range list {
			s.packages = append(s.packages, &pkg{Package: item.Package, path: item.File, order: len(s.packages), batch: i})
		}
	}
	if len(s.packages) == 0 {
		return fault.New(fault.Internal, "no packages given")
	}
	opening, octx := errgroup.WithContext(ctx)
	opening.SetLimit(runtime.GOMAXPROCS(0))
	for _, p := range s.packages {
		opening.Go(func() error { return p.inPackage(p.open(octx)) })
	}
	if err := opening.Wait(); err != nil {
		return err
	}
	s.joinBatches()
	return nil
}

func (p *pkg) open(ctx context.Context) error {
	f, err := os.Open(p.path)
	if err != nil {
		return err
	}
	p.file = f
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if p.deb, err = deb.Open(f, info.Size(), deb.Limits{}); err != nil {
		return err
	}
	if p.control, err = p.deb.Control(ctx); err != nil {
		return err
	}
	if err := p.parse(); err != nil {
		return err
	}
	return p.readConffiles()
}

// parse reads the control file and holds it against what was asked for.
func (p *pkg) parse() error {
	own, paragraph, err := debian.ParseControl("control", string(p.control["control"].Data))
	if err != nil {
		return err
	}
	if own.Name != p.Name || own.Version != p.Version || own.Arch != p.Arch {
		return fault.New(fault.Failed, "the file holds %s %s for %s", own.Name, own.Version, own.Arch).
			WithHint("delete the file and fetch the package again")
	}
	p.paragraph = paragraph
	own.SHA256 = p.SHA256
	p.Package = own
	p.replaces, err = debian.ParseRelations(own.Replaces)
	return err
}

// readConffiles reads the list of conffiles, deb-conffiles(5).
func (p *pkg) readConffiles() error {
	for line := range strings.Lines(string(p.control["conffiles"].Data)) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		name, remove := strings.CutPrefix(line, "remove-on-upgrade ")
		if name = strings.TrimSpace(name); !path.IsAbs(name) {
			return fault.New(fault.Failed, "its conffile %q is not an absolute path", name)
		}
		p.conffiles = append(p.conffiles, conffile{path: path.Clean(name), remove: remove})
	}
	return nil
}

// joinBatches joins a batch to the one before when nothing in it must wait: only a preinst script needs what its package
// pre-depends on to be configured. A first stage is one batch, for none of its scripts has anything to run on before.
func (s *stage) joinBatches() {
	waiting := map[string]bool{} // packages of the batch under way
	last := -1
	for _, p := range s.packages {
		if p.batch != last {
			last = p.batch
			if len(s.batches) == 0 || !s.first() && s.mustWait(p.batch, waiting) {
				s.batches = append(s.batches, &batch{unpack: make(chan struct{})})
				clear(waiting)
			}
		}
		b := s.batches[len(s.batches)-1]
		b.packages = append(b.packages, p)
		waiting[p.Name] = true
		for _, name := range providedNames(p) {
			waiting[name] = true
		}
	}
}

func providedNames(p *pkg) []string {
	list, err := debian.ParseProvides(p.Provides)
	if err != nil {
		return nil
	}
	names := make([]string, 0, len(list))
	for _, d := range list {
		names = append(names, d.Name)
	}
	return names
}

// mustWait reports whether a preinst script of a batch needs a package that is not configured yet.
func (s *stage) mustWait(number int, waiting map[string]bool) bool {
	return slices.ContainsFunc(s.packages, func(p *pkg) bool {
		if _, ok := p.control["preinst"]; !ok || p.batch != number {
			return false
		}
		list, err := debian.ParseRelations(p.PreDepends)
		return err != nil || slices.ContainsFunc(list, func(r debian.Relation) bool {
			return slices.ContainsFunc(r, func(d debian.Dependency) bool { return waiting[d.Name] })
		})
	})
}

// largestFirst orders packages for unpacking: the longest work begins first, so that the cores end together.
func largestFirst(list []*pkg) []*pkg {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b *pkg) int { return cmp.Compare(b.deb.DataSize(), a.deb.DataSize()) })
	return list
}
