package builder

import (
	"context"
	"fmt"
	"runtime"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/debian/install"
	"github.com/bootandshoot/release/debian/resolve"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/recipes"
)

// debianStage is a part of the packages: the base, or what the recipe adds to it. Other packages leave the base as it is.
type debianStage struct {
	name     string
	packages []recipes.LockedPackage
}

func (b *bake) debianStages() []debianStage {
	pins := b.debianPins()
	list := []debianStage{{b.debianStep(), pins.Base}}
	if len(pins.Added) > 0 {
		list = append(list, debianStage{fmt.Sprintf("packages %d", len(pins.Added)), pins.Added})
	}
	return list
}

// installDebian installs the pinned packages and gives the configuration that the image begins with.
func (b *bake) installDebian(ctx context.Context, st *state, res *Result) (ocispec.Image, error) {
	in := &debianInstall{b: b}
	if err := in.fulfilled(ctx); err != nil {
		return ocispec.Image{}, b.inDebian(err)
	}
	defer in.close()
	stages := b.debianStages()
	for i, stage := range stages {
		b.report.index++
		started := b.now()
		b.report.emit(Event{Kind: Started, Step: stage.name})
		layers, cached, err := in.stage(ctx, st, stage, stages[i+1:])
		if err != nil {
			return ocispec.Image{}, b.inDebian(err)
		}
		r := StepResult{Name: stage.name, Cached: cached, Seconds: b.now().Sub(started).Seconds()}
		for _, l := range layers {
			r.Bytes += l.Size
			r.Layers = append(r.Layers, l.Digest)
			if debian.IsPackageLayer(l.CreatedBy) {
				st.trust(l.Digest)
			}
		}
		st.layers = append(st.layers, layers...)
		res.Cached = res.Cached && cached
		res.Steps = append(res.Steps, r)
		b.report.emit(Event{Kind: Done, Step: stage.name, Cached: cached, Seconds: r.Seconds, Bytes: r.Bytes})
	}
	return ocispec.Image{Platform: b.platform}, nil
}

// debianInstall is the installation of all stages of one bake. Files are fetched once, when a stage is not cached.
type debianInstall struct {
	b     *bake
	items map[string]install.Item // by sha256
	early *install.Early          // the next stage, begun while the one before has cores to spare
}

func (in *debianInstall) close() {
	if in.early != nil {
		in.early.Close()
		in.early = nil
	}
}

// stage finds or makes a stage's layers. When it makes them, it begins with the first of those that follow.
func (in *debianInstall) stage(ctx context.Context, st *state, s debianStage, next []debianStage) ([]images.Layer, bool, error) {
	b := in.b
	sums := make([]string, len(s.packages))
	for i, p := range s.packages {
		sums[i] = p.SHA256
	}
	epoch, packages := b.debianEpochs()
	key := keyOf("debian", install.Format, b.debianArch(), epoch, packages, sums, st.chain())
	if layers, ok := b.cache.Layers(key); ok && !b.o.NoCache {
		return layers, true, nil
	}
	if err := in.bring(ctx, s.name); err != nil {
		return nil, false, err
	}
	layers, err := in.install(ctx, st, s, next)
	if err != nil {
		return nil, false, err
	}
	return layers, false, b.cache.KeepLayers(key, layers)
}

// install makes a stage's layers.
func (in *debianInstall) install(ctx context.Context, st *state, s debianStage, next []debianStage) ([]images.Layer, error) {
	if in.early != nil {
		return in.early.Finish(ctx, st.layers)
	}
	o, err := in.options(s)
	if err != nil {
		return nil, err
	}
	if o.Batches, err = in.order(s, len(st.layers) == 0); err != nil {
		return nil, err
	}
	o.Under = st.layers
	if len(next) > 0 {
		then, err := in.options(next[0])
		if err != nil {
			return nil, err
		}
		o.Idle = func() { in.begin(ctx, next[0], then) }
	}
	return install.Install(ctx, o)
}

// begin begins a stage on top of the one that is being made. When it cannot, the stage finds out why when it is its turn.
func (in *debianInstall) begin(ctx context.Context, s debianStage, o install.Options) {
	var err error
	if o.Batches, err = in.order(s, false); err != nil {
		return
	}
	if in.early, err = install.Begin(ctx, o); err != nil {
		in.early = nil
	}
}

// options are those of a stage that do not depend on others.
func (in *debianInstall) options(s debianStage) (install.Options, error) {
	b := in.b
	w, err := b.workspace()
	if err != nil {
		return install.Options{}, err
	}
	dir, err := w.dir("install-")
	if err != nil {
		return install.Options{}, err
	}
	epoch, packages := b.debianEpochs()
	o := install.Options{
		Store: b.store, Arch: b.debianArch(), Epoch: epoch, PackagesEpoch: packages, Work: dir, Log: b.log,
		Progress: func(e install.Event) { b.report.emit(Event{Kind: Output, Step: s.name, Line: installLine(e)}) },
	}
	if !b.o.NoCache {
		o.Cache = b.cache
	}
	return o, nil
}

// debianEpochs are the times of an installation: that of its scripts is the newest date of the archives, that of the
// packages' files the date of the release alone, which changes only now and then. What else the recipe gets from elsewhere
// may have newer dates, and leaves these layers as they are. SOURCE_DATE_EPOCH bounds both.
func (b *bake) debianEpochs() (scripts, packages int64) {
	for _, s := range b.lock.Debian.Suites {
		date := max(s.Date.Unix(), 0)
		scripts = max(scripts, date)
		if s.Name == b.recipe.Base.Debian.Suite {
			packages = date
		}
	}
	if given := b.o.SourceDateEpoch; given != nil {
		return *given, min(*given, packages)
	}
	return scripts, packages
}

func installLine(e install.Event) string {
	switch e.Kind {
	case install.Unpacked:
		return fmt.Sprintf("unpacked %d of %d: %s", e.Done, e.Total, e.Package)
	case install.Phase:
		return e.Line + " …"
	}
	return e.Line
}

// bring fetches all packages of the image and reads what they say of themselves.
func (in *debianInstall) bring(ctx context.Context, step string) error {
	if in.items != nil {
		return nil
	}
	b := in.b
	sources, err := b.debianSources()
	if err != nil {
		return err
	}
	client, err := b.archives(step)
	if err != nil {
		return err
	}
	defer client.Close()
	pins := b.debianPins().All()
	paths, err := client.Fetch(ctx, downloads(pins, sources))
	if err != nil {
		return err
	}
	items := make([]install.Item, len(pins))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, pin := range pins {
		g.Go(func() error {
			p, err := describePackage(ctx, paths[i], pin)
			items[i] = install.Item{Package: p, File: paths[i]}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	in.items = map[string]install.Item{}
	for i, pin := range pins {
		in.items[pin.SHA256] = items[i]
	}
	return nil
}

// order puts a stage's packages into batches; base says that they come on nothing.
func (in *debianInstall) order(s debianStage, base bool) ([][]install.Item, error) {
	var list, installed []debian.Package
	files := map[string]string{}
	for _, p := range s.packages {
		item := in.items[p.SHA256]
		list = append(list, item.Package)
		files[p.SHA256] = item.File
	}
	if !base {
		for _, p := range in.b.debianPins().Base {
			installed = append(installed, in.items[p.SHA256].Package)
		}
	}
	order, err := resolve.Order(in.b.debianArch(), list, installed)
	if err != nil {
		return nil, err
	}
	batches := make([][]install.Item, len(order))
	for i, batch := range order {
		for _, p := range batch {
			batches[i] = append(batches[i], install.Item{Package: p, File: files[p.SHA256]})
		}
	}
	return batches, nil
}
