package builder

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
	"github.com/bootandshoot/release/recipes"
)

// bake is one bake under way.
type bake struct {
	o         Options
	recipe    *recipes.Recipe
	lock      *recipes.Lock
	store     *images.Store
	cache     *cache
	name      string
	platform  ocispec.Platform
	epoch     int64
	work      *workDir
	report    *reporter
	log       *slog.Logger
	now       func() time.Time
	tests     []recipes.Test  // that the image must pass in a sandbox
	bootTests []recipes.Test  // and as a machine, as far as they are requests
	boots     bool            // a machine that was made is booted
	env       []string        // of the image, known once the base is
	imported  bool            // this bake brought the base
	update    map[string]bool // packages whose pins are made anew; none are all that are missing
	given
}

// made is a whole image that is not listed yet.
type made struct {
	image   images.Image
	state   *state
	result  Result
	machine *images.Machine // nil before there is one
}

func newBake(o Options) (*bake, error) {
	if o.Recipe == nil || o.Store == nil {
		return nil, fault.New(fault.Internal, "bake: no recipe or no store given")
	}
	platform, err := parsePlatform(cmp.Or(o.Platform, defaultPlatform()))
	if err != nil {
		return nil, err
	}
	if o.SourceDateEpoch != nil && *o.SourceDateEpoch < 0 {
		return nil, fault.New(fault.Invalid, "SOURCE_DATE_EPOCH is %d: it counts seconds since 1970", *o.SourceDateEpoch)
	}
	if o.Machine != nil {
		if err := o.Machine.check(); err != nil {
			return nil, err
		}
	}
	c, err := openCache(o.Store)
	if err != nil {
		return nil, err
	}
	b := &bake{o: o, recipe: o.Recipe, store: o.Store, cache: c, name: cmp.Or(o.Name, o.Recipe.Name), platform: platform,
		report: &reporter{to: o.Progress}, log: o.Log, now: o.Now}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if b.now == nil {
		b.now = time.Now
	}
	return b, b.take()
}

// close removes what the bake worked in.
func (b *bake) close() {
	if b.work == nil {
		return
	}
	if err := b.work.remove(); err != nil {
		b.log.Warn("work folder of a bake stays until the next one", "error", err)
	}
}

// run resolves and makes all of the image but its entry in the store.
func (b *bake) run(ctx context.Context) (made, error) {
	b.sweepWork(ctx)
	changed, err := b.resolve(ctx)
	if err != nil {
		return made{}, err
	}
	if b.epoch, err = b.chooseEpoch(); err != nil {
		return made{}, err
	}
	st := &state{store: b.store}
	list := steps(b.recipe, b.lock)
	b.report.total = len(list) + len(b.tests)
	switch {
	case b.recipe.Base.Debian != nil:
		b.report.total += len(b.debianStages())
	case !b.recipe.Base.Scratch:
		b.report.total++
	}
	if b.recipe.Supervised() {
		b.report.total++
	}
	if b.o.Machine != nil {
		b.report.total++
	}
	if b.boots {
		b.report.total++
	}
	m := made{result: Result{Name: b.name, Cached: true, Reproducible: true, Epoch: b.epoch, LockChanged: changed, Steps: []StepResult{}, Tests: []TestResult{}}}
	config, err := b.base(ctx, st, &m.result)
	if err != nil {
		return made{}, err
	}
	b.env = environment(config.Config.Env, b.recipe.Env)
	if err := b.roomFor(list, st); err != nil {
		return made{}, err
	}
	for _, s := range list {
		if err := b.step(ctx, s, st, &m.result); err != nil {
			return made{}, err
		}
	}
	m.image, err = b.withServices(ctx, config, st, &m.result)
	if err != nil {
		return made{}, err
	}
	m.state = st
	return m, b.findSecrets(ctx, &m)
}

// chooseEpoch is the time of everything in the image.
func (b *bake) chooseEpoch() (int64, error) {
	if b.o.SourceDateEpoch != nil {
		return *b.o.SourceDateEpoch, nil
	}
	newest := b.lock.Newest()
	if newest.IsZero() {
		return 0, nil
	}
	if newest.Unix() < 0 {
		return 0, nil
	}
	return newest.Unix(), nil
}

// step makes one step and puts its layer on top.
func (b *bake) step(ctx context.Context, s step, st *state, res *Result) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p := b.begin(s.name())
	out, err := s.make(ctx, b, st)
	if err != nil {
		return inStep(s, err)
	}
	if out.layer != nil && len(st.layers) >= maxLayers {
		return tooMany(s, len(st.layers)+1)
	}
	r := StepResult{Cached: out.cached}
	if out.layer != nil {
		r.Bytes, r.Layer = out.layer.Size, out.layer.Digest
		st.add(*out.layer, s.name())
		b.brought[out.layer.Digest] = s
	}
	if run, ok := s.(*runStep); ok && run.Network {
		res.Reproducible = false
	}
	p.end(res, r)
	return nil
}

// cached looks for what a step with this key made, unless the caller wants every step made again.
func (b *bake) cached(key string) (outcome, bool) {
	if b.o.NoCache {
		return outcome{}, false
	}
	r, ok := b.cache.step(key)
	return outcome{layer: r.Layer, cached: true}, ok
}

// waiting tells the user that a server sends nothing.
func (b *bake) waiting(step, server string, since time.Duration) {
	b.note(step, "waiting for %s since %s", server, human.Span(since.Round(time.Second)))
}

// note tells the user something about the step under way.
func (b *bake) note(s, format string, args ...any) {
	b.report.emit(Event{Kind: Note, Step: s, Line: fmt.Sprintf(format, args...)})
}
