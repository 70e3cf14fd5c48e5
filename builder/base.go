package builder

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// baseRecord says which image of the store a base is.
type baseRecord struct {
	Image images.Digest `json:"image"`
}

// baseName is how the recipe, as far as one can tell, names the base: the reference, or the path from the recipe's folder.
func (b *bake) baseName() string {
	base := b.recipe.Base
	if base.Reference != "" {
		return base.Reference
	}
	if rel, err := filepath.Rel(b.recipe.Dir, base.Path); err == nil {
		return filepath.ToSlash(rel)
	}
	return base.Path
}

// baseStep is the name of the base as a step.
func (b *bake) baseStep() string { return short("base " + b.baseName()) }

// pinBase pins the base. What a path holds is an input like the files of a copy, so a changed one changes the pin.
func (b *bake) pinBase(ctx context.Context, old *recipes.LockedBase) (*recipes.LockedBase, error) {
	if b.recipe.Base.Scratch || b.recipe.Base.Debian != nil {
		return nil, nil
	}
	ref := b.recipe.Base.Reference
	if ref != "" && old != nil && old.Image == ref && validPin(ref, old.Digest) {
		return old, nil
	}
	had := b.pinned(old)
	var d images.Digest
	var err error
	if ref != "" {
		d, err = b.importReference(ctx, ref)
	} else {
		d, err = b.importPath(ctx)
	}
	if err != nil {
		return nil, b.inBase(err)
	}
	b.imported = b.imported && d != had
	return b.describeBase(d)
}

// pinned is the image of the store that a pin stands for, "" if it is not there.
func (b *bake) pinned(pin *recipes.LockedBase) images.Digest {
	var r baseRecord
	if pin == nil || !b.cache.load(b.baseRecordPath(pin.Digest), &r) || !b.whole(r.Image) {
		return ""
	}
	return r.Image
}

// validPin reports whether a pin is one, and is the digest of a reference that has its own.
func validPin(ref, digest string) bool {
	if !images.Digest(digest).Valid() {
		return false
	}
	own, err := name.NewDigest(ref)
	return err != nil || own.DigestStr() == digest
}

// describeBase makes the pin of a base that is in the store.
func (b *bake) describeBase(d images.Digest) (*recipes.LockedBase, error) {
	img, err := b.store.Get(d)
	if err != nil {
		return nil, b.inBase(err)
	}
	pin := &recipes.LockedBase{Image: b.baseName(), Digest: string(d)}
	if source := img.Annotations[images.AnnotationSourceDigest]; source != "" {
		pin.Digest = source
	}
	if c := img.Config.Created; c != nil && c.Unix() > 0 {
		pin.Date = c.UTC().Truncate(time.Second)
	}
	return pin, b.cache.save(b.baseRecordPath(pin.Digest), baseRecord{Image: d})
}

// baseRecordPath is the record of a pinned base on this bake's platform.
func (b *bake) baseRecordPath(digest string) string {
	return b.cache.path("bases", keyOf("base", digest, platformText(b.platform))+".json")
}

// inBase says that an error is of the base.
func (b *bake) inBase(err error) error {
	in := inPart("base "+b.baseName(), b.recipe.Base.Pos, err)
	if e := fault.All(in)[0]; e.Code == fault.Unavailable && b.recipe.Base.Reference != "" && !b.o.Offline {
		e.Hint += "; without a registry, a recipe takes a file of docker save or an OCI layout folder: base: {image: ./PATH}"
	}
	return in
}

func (b *bake) importReference(ctx context.Context, ref string) (images.Digest, error) {
	if b.o.Offline {
		return "", offline("pull " + ref)
	}
	b.imported = true
	b.note(b.baseStep(), "pulling %s", ref)
	return b.store.Import(ctx, images.Source{Reference: ref, Platform: platformText(b.platform)})
}

// importPath imports the image at the recipe's path, unless the same file was imported before.
func (b *bake) importPath(ctx context.Context) (images.Digest, error) {
	path := b.recipe.Base.Path
	print, settled := b.pathPrint(path)
	record := b.cache.path("bases", keyOf("path", path, fmt.Sprint(print), platformText(b.platform))+".json")
	var r baseRecord
	if settled && b.cache.load(record, &r) && b.whole(r.Image) {
		return r.Image, nil
	}
	b.imported = true
	b.note(b.baseStep(), "importing %s", b.baseName())
	d, err := b.store.Import(ctx, images.Source{Path: path, Platform: platformText(b.platform)})
	if err != nil || !settled {
		return d, err
	}
	return d, b.cache.save(record, baseRecord{Image: d})
}

// pathPrint is the fingerprint of an archive, or of a layout's index, which names all that is in it.
func (b *bake) pathPrint(path string) (fingerprint, bool) {
	now := b.now()
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		path = filepath.Join(path, ocispec.ImageIndexFile)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return fingerprint{}, false
	}
	f := fingerprintOf(&st)
	return f, f.settled(now)
}

// whole reports whether an image is in the store with all its blobs.
func (b *bake) whole(d images.Digest) bool {
	blobs, err := b.store.Blobs(d)
	if err != nil {
		return false
	}
	for _, blob := range blobs {
		if !b.store.Has(blob.Digest) {
			return false
		}
	}
	return true
}

// compareBase lists how the pinned base differs from the recipe's.
func (b *bake) compareBase(ctx context.Context, pin *recipes.LockedBase) ([]string, error) {
	base := b.recipe.Base
	switch {
	case (base.Scratch || base.Debian != nil) && pin == nil:
		return nil, nil
	case base.Debian != nil:
		return []string{fmt.Sprintf("base %s is pinned but the recipe starts from Debian", pin.Image)}, nil
	case base.Scratch:
		return []string{fmt.Sprintf("base %s is pinned but the recipe starts from scratch", pin.Image)}, nil
	case pin == nil:
		return []string{fmt.Sprintf("base %s is not pinned", b.baseName())}, nil
	case pin.Image != b.baseName():
		return []string{fmt.Sprintf("base: the recipe names %s, the lockfile %s", b.baseName(), pin.Image)}, nil
	case base.Reference != "" && !validPin(base.Reference, pin.Digest):
		return []string{fmt.Sprintf("base %s is pinned to %s", base.Reference, pin.Digest)}, nil
	case base.Reference != "":
		return nil, nil
	}
	now, err := b.pinBase(ctx, pin)
	if err != nil || now.Digest == pin.Digest {
		return nil, err
	}
	return []string{fmt.Sprintf("base %s is %s, pinned to %s", pin.Image, now.Digest, pin.Digest)}, nil
}

// base brings the base's layers and gives its configuration.
func (b *bake) base(ctx context.Context, st *state, res *Result) (ocispec.Image, error) {
	switch {
	case b.recipe.Base.Scratch:
		return ocispec.Image{Platform: b.platform}, nil
	case b.recipe.Base.Debian != nil:
		return b.installDebian(ctx, st, res)
	}
	p := b.begin(b.baseStep())
	d, cached, err := b.bringBase(ctx)
	if err != nil {
		return ocispec.Image{}, b.inBase(err)
	}
	img, err := b.store.Get(d)
	if err != nil {
		return ocispec.Image{}, b.inBase(err)
	}
	if of := img.Config.Platform; of.OS != b.platform.OS || of.Architecture != b.platform.Architecture {
		return ocispec.Image{}, b.inBase(fault.New(fault.Invalid, "it is for %s, wanted is %s", platformText(of), platformText(b.platform)))
	}
	b.baseExtensions = extensionsOf(img)
	st.base, st.under, st.layers = d, len(img.Layers), append(st.layers, img.Layers...)
	r := StepResult{Cached: cached}
	for _, l := range img.Layers {
		r.Bytes += l.Size
	}
	p.end(res, r)
	return img.Config, nil
}

// bringBase makes sure that the pinned base is in the store. A tag that moved does not matter: the pin is pulled.
func (b *bake) bringBase(ctx context.Context) (d images.Digest, cached bool, err error) {
	pin := b.lock.Base
	if d := b.pinned(pin); d != "" {
		return d, !b.imported, nil
	}
	if b.recipe.Base.Path != "" {
		d, err = b.importPath(ctx)
		return d, false, err
	}
	ref, err := name.ParseReference(b.recipe.Base.Reference)
	if err != nil {
		return "", false, fault.New(fault.Invalid, "read reference: %w", err)
	}
	if d, err = b.importReference(ctx, ref.Context().Digest(pin.Digest).String()); err != nil {
		return "", false, err
	}
	return d, false, b.cache.save(b.baseRecordPath(pin.Digest), baseRecord{Image: d})
}
