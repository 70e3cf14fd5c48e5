package builder

import (
	"context"

	"github.com/bootandshoot/release/images"
)

// fileStep is a step that puts files into the image, whatever they are from.
type fileStep struct {
	name   string
	to     []string // absolute paths in the image
	owner  string
	inputs string                                      // hash of all that the files are; "" while it is not known before they are read
	files  func(ctx context.Context) ([][]file, error) // for each of to
	hashed func() string                               // gives inputs once all files are read
}

// make finds or makes the layer. A layer is found by the layers below, which is quick, or else by what the step takes from
// them, so that a change below does not make it anew.
func (f fileStep) make(ctx context.Context, b *bake, st *state) (outcome, error) {
	chain := st.chain()
	if f.inputs != "" {
		if out, ok := b.cached(f.quickKey(b, chain)); ok {
			return out, nil
		}
	}
	files, err := f.files(ctx)
	if err != nil {
		return outcome{}, err
	}
	places := make([]placement, len(files))
	for i, list := range files {
		if places[i], err = b.placement(ctx, st, chain, f.to[i], f.owner, list); err != nil {
			return outcome{}, err
		}
	}
	if f.inputs != "" {
		if out, ok := b.cached(f.key(b, places)); ok {
			return out, b.cache.saveStep(record{Step: f.name, Layer: out.layer}, f.quickKey(b, chain))
		}
	}
	return f.write(ctx, b, chain, places, files)
}

// quickKey and key hold the same, once with the layers below, once with what of them matters.
func (f fileStep) quickKey(b *bake, chain string) string {
	return keyOf("files", f.to, f.owner, f.inputs, b.epoch, "chain", chain)
}

func (f fileStep) key(b *bake, p []placement) string {
	return keyOf("files", f.to, f.owner, f.inputs, b.epoch, "placement", p)
}

// write writes the layer. When only the reading tells what the inputs are, it is dropped again if the cache has it.
func (f fileStep) write(ctx context.Context, b *bake, chain string, places []placement, files [][]file) (outcome, error) {
	pieces, err := assemble(places, files)
	if err != nil {
		return outcome{}, err
	}
	w, err := writePieces(ctx, b.store, b.epoch, pieces)
	if err != nil {
		return outcome{}, err
	}
	defer w.Abort()
	if f.inputs == "" {
		f.inputs = f.hashed()
		if out, ok := b.cached(f.key(b, places)); ok {
			return out, b.cache.saveStep(record{Step: f.name, Layer: out.layer}, f.quickKey(b, chain))
		}
	}
	l, err := w.Commit(f.name)
	if err != nil {
		return outcome{}, err
	}
	r := record{Step: f.name, Layer: &l.Descriptor}
	return outcome{layer: r.Layer}, b.cache.saveStep(r, f.quickKey(b, chain), f.key(b, places))
}

// placement works out where files go, or remembers it for the same names and layers.
func (b *bake) placement(ctx context.Context, st *state, chain, to, owner string, files []file) (placement, error) {
	shapes := shapesOf(files)
	var path string
	if len(st.layers) > 0 {
		path = b.cache.spread("places", keyOf("place", chain, to, owner, shapes))
		var p placement
		if !b.o.NoCache && b.cache.load(path, &p) {
			return p, nil
		}
	}
	t, err := st.look(ctx)
	if err != nil {
		return placement{}, err
	}
	o, err := resolveOwner(ctx, b.store, t, owner)
	if err != nil {
		return placement{}, err
	}
	p, err := place(t, to, o, shapes)
	if err != nil || path == "" {
		return p, err
	}
	return p, b.cache.save(path, p)
}

// kindOf is what a source on disk may be.
func kindOf(dir, link bool) images.EntryType {
	switch {
	case dir:
		return images.Dir
	case link:
		return images.Symlink
	}
	return images.File
}
