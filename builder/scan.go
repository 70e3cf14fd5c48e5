package builder

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/bootandshoot/release/builder/secrets"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// searched is the record of what the rules found in a layer. It holds places, never a secret.
type searched struct {
	Schema   int               `json:"schema"`
	Findings []secrets.Finding `json:"findings"`
}

// maxShown is how many findings an error lists; the others are counted.
const maxShown = 40

// finding is a secret in the image and what brought it.
type finding struct {
	secrets.Finding
	layer images.Digest // "" for what is in the configuration
	by    string
	pos   recipes.Position
}

// findSecrets searches all layers of an image, also those whose files a later one removes, and its configuration. What
// the recipe allows passes; anything else is an error that names every place.
func (b *bake) findSecrets(ctx context.Context, m *made) error {
	list, err := b.findInLayers(ctx, m.state)
	if err != nil {
		return err
	}
	for _, f := range findInConfig(m.image) {
		list = append(list, finding{Finding: f, pos: b.recipe.Places[f.Path]})
	}
	list, unused := pass(list, b.allow)
	for _, a := range unused {
		b.note("", "%s:%d: allow %s matches nothing that was found: remove it", a.Pos.File, a.Pos.Line, a.Path)
	}
	return secretErrors(ctx, m.state, list, allowInRecipe)
}

// pass leaves out what is allowed, and gives what of that allows nothing.
func pass(list []finding, allowed []allowance) (rest []finding, unused []recipes.Allow) {
	used := make([]bool, len(allowed))
	rest = slices.DeleteFunc(list, func(f finding) bool {
		passes := false
		for i, a := range allowed {
			if a.fits(f.Finding) {
				used[i], passes = true, true
			}
		}
		return passes
	})
	for i, a := range allowed {
		if !used[i] {
			unused = append(unused, a.Allow)
		}
	}
	return rest, unused
}

// findInLayers searches the layers and says what brought what was found.
func (b *bake) findInLayers(ctx context.Context, st *state) ([]finding, error) {
	return search{cache: b.cache, again: b.o.NoCache, broughtBy: func(i int) (string, recipes.Position) { return b.broughtBy(st, i) }}.layers(ctx, st)
}

// search is a search of an image's layers.
type search struct {
	cache     *cache
	again     bool // also what was searched before
	broughtBy func(layer int) (string, recipes.Position)
}

// layers searches the layers, several at a time. One that was searched before is not read again.
func (s search) layers(ctx context.Context, st *state) ([]finding, error) {
	found := make([][]secrets.Finding, len(st.layers))
	var todo []int
	for i, l := range st.layers {
		var r searched
		switch {
		case st.public[l.Digest]:
		case !s.again && s.cache.load(s.path(l.Digest), &r) && r.Schema == cacheSchema:
			found[i] = r.Findings
		default:
			todo = append(todo, i)
		}
	}
	if len(todo) > 0 {
		if err := s.read(ctx, st, todo, found); err != nil {
			return nil, err
		}
	}
	var list []finding
	seen := map[images.Digest]bool{}
	for i, l := range st.layers {
		if seen[l.Digest] {
			continue
		}
		seen[l.Digest] = true
		by, pos := s.broughtBy(i)
		for _, f := range found[i] {
			list = append(list, finding{Finding: f, layer: l.Digest, by: by, pos: pos})
		}
	}
	return list, nil
}

func (s search) read(ctx context.Context, st *state, todo []int, found [][]secrets.Finding) error {
	scanner := secrets.New()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, i := range todo {
		g.Go(func() error {
			f, err := s.cache.store.OpenBlob(st.layers[i].Digest)
			if err != nil {
				return err
			}
			defer f.Close()
			if found[i], err = scanner.Layer(ctx, f); err != nil {
				return cmp.Or(s.cache.store.CheckBlob(ctx, st.layers[i].Descriptor), err)
			}
			return s.cache.save(s.path(st.layers[i].Digest), searched{cacheSchema, found[i]})
		})
	}
	return g.Wait()
}

func (s search) path(layer images.Digest) string {
	return s.cache.spread("secrets", keyOf("secrets", secrets.Version, layer))
}

// broughtBy is the step that made a layer, or the base.
func (b *bake) broughtBy(st *state, layer int) (string, recipes.Position) {
	if s, ok := b.brought[st.layers[layer].Digest]; ok && layer >= st.under {
		return s.name(), s.at()
	}
	if b.recipe.Base.Debian != nil {
		return b.debianStep(), b.recipe.Base.Pos
	}
	return b.baseStep(), b.recipe.Base.Pos
}

// findInConfig searches what an image says besides its files. Where is that a path cannot be: "env:NAME".
func findInConfig(img images.Image) []secrets.Finding {
	scanner := secrets.New()
	var list []secrets.Finding
	c := img.Config.Config
	for _, kv := range c.Env {
		name, value, _ := strings.Cut(kv, "=")
		list = append(list, scanner.Setting("env:"+name, name, value)...)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Labels)) {
		list = append(list, scanner.Setting("label:"+name, name, c.Labels[name])...)
	}
	for _, name := range slices.Sorted(maps.Keys(img.Annotations)) {
		list = append(list, scanner.Setting("annotation:"+name, name, img.Annotations[name])...)
	}
	for _, arg := range slices.Concat(c.Entrypoint, c.Cmd) {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			name, value = "", arg
		}
		list = append(list, scanner.Setting("command", name, value)...)
	}
	for _, l := range img.Layers {
		list = append(list, scanner.Setting("history", "", l.CreatedBy)...)
	}
	return mergedFindings(list)
}

// mergedFindings makes one of those with the same place and rule.
func mergedFindings(list []secrets.Finding) []secrets.Finding {
	var merged []secrets.Finding
	for _, f := range list {
		i := slices.IndexFunc(merged, func(o secrets.Finding) bool { return o.Path == f.Path && o.Rule == f.Rule })
		if i < 0 {
			merged = append(merged, f)
			continue
		}
		merged[i].Count += f.Count
	}
	return merged
}

// allowance is an entry of the recipe's allow list.
type allowance struct {
	recipes.Allow
	path *regexp.Regexp
}

func (a allowance) fits(f secrets.Finding) bool {
	return (a.Rule == "" || a.Rule == f.Rule) && a.path.MatchString(f.Path)
}

// allowed checks a list of what is allowed.
func allowed(entries []recipes.Allow) ([]allowance, error) {
	var list []allowance
	var errs fault.List
	for _, a := range entries {
		fail := func(format string, args ...any) *fault.Error {
			e := fault.New(fault.Invalid, format, args...).At(a.Pos.File, a.Pos.Line, a.Pos.Column)
			errs = append(errs, e)
			return e
		}
		if _, known := secrets.Describe(a.Rule); a.Rule != "" && !known {
			var ids []string
			for _, r := range secrets.Rules() {
				ids = append(ids, r.ID)
			}
			fail("allow %s: there is no rule %q", a.Path, a.Rule).WithHint("there are: %s", strings.Join(ids, ", "))
		}
		if strings.TrimSpace(a.Reason) == "" {
			fail("allow %s: it needs a reason", a.Path)
		}
		list = append(list, allowance{a, globPattern(a.Path)})
	}
	return list, errs.Err()
}

// globPattern: * is anything but a slash, ** anything, ? one character.
func globPattern(glob string) *regexp.Regexp {
	var p strings.Builder
	p.WriteString(`(?s)^`)
	for rest := glob; rest != ""; {
		switch after, deep := strings.CutPrefix(rest, "**"); {
		case deep:
			p.WriteString(`.*`)
			rest = after
			continue
		case rest[0] == '*':
			p.WriteString(`[^/]*`)
		case rest[0] == '?':
			p.WriteString(`[^/]`)
		default:
			_, n := utf8.DecodeRuneInString(rest)
			p.WriteString(regexp.QuoteMeta(rest[:n]))
			rest = rest[n:]
			continue
		}
		rest = rest[1:]
	}
	return regexp.MustCompile(p.String() + `$`)
}

// secretErrors is one error for each place, nil for none; hint says of a finding what to do.
func secretErrors(ctx context.Context, st *state, list []finding, hint func(secrets.Finding) string) error {
	if len(list) == 0 {
		return nil
	}
	slices.SortStableFunc(list, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.pos.File, b.pos.File), cmp.Compare(a.pos.Line, b.pos.Line), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Rule, b.Rule))
	})
	t, err := st.look(ctx)
	if err != nil {
		return err
	}
	var errs fault.List
	for i, f := range list {
		if i == maxShown {
			errs = append(errs, fault.New(fault.Denied, "and %d more places with secrets", len(list)-maxShown))
			break
		}
		errs = append(errs, f.explain(t).WithHint("%s", hint(f.Finding)))
	}
	return errs
}

func (f finding) explain(t *tree) *fault.Error {
	var text bytes.Buffer
	if f.by != "" {
		fmt.Fprintf(&text, "%s: ", f.by)
	}
	text.WriteString(f.Path)
	if f.Line > 0 {
		fmt.Fprintf(&text, ", line %d", f.Line)
	}
	what, _ := secrets.Describe(f.Rule)
	fmt.Fprintf(&text, ": %s would be in the image (rule %s)", what, f.Rule)
	if f.Count > 1 {
		fmt.Fprintf(&text, ", %d times", f.Count)
	}
	if f.layer != "" && f.hidden(t) {
		text.WriteString("; a later step removes or replaces it, but it stays in the layer below")
	}
	return fault.New(fault.Denied, "%s", text.String()).At(f.pos.File, f.pos.Line, f.pos.Column)
}

func allowInRecipe(f secrets.Finding) string {
	return fmt.Sprintf("leave it out, or give it to a run step with secrets: …; if it is no secret, add to the recipe: allow: [{path: %q, rule: %s, reason: \"…\"}]", f.Path, f.Rule)
}

// hidden reports whether the image, as it is in the end, has something else at the path.
func (f finding) hidden(t *tree) bool {
	n := t.lookup(f.Path)
	return n == nil || n.kind == images.File && n.layer.Digest != f.layer
}
