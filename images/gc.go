package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/filelock"
	"github.com/bootandshoot/release/internal/human"
)

// defaultGrace is how long a writer without a hold may take between its first blob and its Put.
const defaultGrace = time.Hour

// GCOptions says what a collection spares.
type GCOptions struct {
	Keep       int           // newest images of each name that stay; 0 is 1
	CacheLimit int64         // bytes of caches that stay; negative is all of them
	Grace      time.Duration // what is younger stays; 0 is an hour, negative is none
	DryRun     bool          // decide, change nothing
	CachesOnly bool          // all listed images stay
	// Cache lists the caches that others keep in the store's folder; nil is none. It is asked under the exclusive hold.
	Cache func() ([]Cached, error)
	// SpareRoots leaves unpacked roots alone: for a process that has not the ids of their files.
	SpareRoots bool
}

// Cached is a piece of a cache that goes or stays as a whole.
type Cached struct {
	Kind   string    // for people: "steps", "downloads"
	Name   string    // for people; paths below the store's folder
	Paths  []string  // absolute; folders go with all that is in them
	Bytes  int64     // of the paths
	Used   time.Time // last use, or an estimate
	Layers []Digest  // blobs that it is worth nothing without, and that it keeps
	Images []Digest  // images of the store likewise
	Broken string    // why it is worth nothing; "" when it is fine
}

// Decision is what a collection does with one thing, and why.
type Decision struct {
	Kind   string `json:"kind"` // image, blob, root, partial, or the kind of a cache
	Name   string `json:"name"` // digest of an image or blob, else what says which
	As     string `json:"as"`   // names of an image
	Keep   bool   `json:"keep"`
	Reason string `json:"reason"`
	Bytes  int64  `json:"bytes"` // that are freed; of what is kept its size
}

// Collected is the outcome of a collection.
type Collected struct {
	DryRun    bool       `json:"dry_run"`
	Decisions []Decision `json:"decisions"`
	Freed     int64      `json:"freed"` // bytes
	Cache     int64      `json:"cache"` // bytes of caches that stay
}

// GC removes images that nothing needs, then what nothing references, then the least recently used of the caches until
// they fit the limit. An image stays that an installation pins (its fleets, warm fleets and rollback windows), that is among the newest
// of its name, or that is younger than the grace time; one without a name also as long as a cache that stays needs it.
//
// It is fault.Busy while somebody holds the store, such as a bake, and then removes nothing; two collections wait for each
// other. Killed in between it leaves a store that is whole, and the next one goes on. A dry run holds nobody up. The store's
// lock is held only while names, manifests and the descriptions of roots go, so that pins never wait for the content: who
// pins an image after that finds that it is not there.
func (s *Store) GC(ctx context.Context, o GCOptions) (Collected, error) {
	if o.Keep == 0 {
		o.Keep = 1
	}
	if o.Grace == 0 {
		o.Grace = defaultGrace
	}
	release, err := s.beginGC(ctx, o.DryRun)
	if err != nil {
		return Collected{}, err
	}
	defer release()
	g := &collection{store: s, o: o, young: s.now().Add(-max(o.Grace, 0)), result: Collected{DryRun: o.DryRun, Decisions: []Decision{}}}
	if o.Grace < 0 {
		g.young = s.now().Add(time.Hour)
	}
	if err := g.run(ctx); err != nil {
		return g.result, fmt.Errorf("collect what is not needed: %w", err)
	}
	return g.result, nil
}

// beginGC takes the right to delete; a dry run only keeps others from deleting.
func (s *Store) beginGC(ctx context.Context, dry bool) (release func(), err error) {
	if dry {
		return s.Hold(ctx)
	}
	turn, err := lockFile(ctx, s.path("gc.lock"), filelock.Exclusive)
	if err != nil {
		return nil, err
	}
	hold, err := s.tryExclusive()
	if err != nil {
		turn()
	}
	if errors.Is(err, filelock.ErrLocked) {
		return nil, fault.New(fault.Busy, "collect image store %s: a bake, an import or a shell is using it", s.dir).
			WithHint("try again when it has ended; --dry-run works meanwhile")
	}
	if err != nil {
		return nil, err
	}
	return func() { hold(); turn() }, nil
}

// collection is one run of GC.
type collection struct {
	store  *Store
	o      GCOptions
	young  time.Time
	result Collected

	index   ocispec.Index
	pinned  pins
	caches  []Cached
	roots   map[string]Cached // all unpacked roots and layers, by folder
	gone    map[string]bool   // images of the index that go
	used    references        // by images that stay, and then by caches that do
	counted map[Digest]bool   // blobs that an image's decision counts
	blobs   []string          // names of files in the folder of blobs that go after the lock
}

func (g *collection) run(ctx context.Context) error {
	var err error
	if g.o.Cache != nil {
		if g.caches, err = g.o.Cache(); err != nil {
			return err
		}
	}
	if err := g.measureRoots(); err != nil {
		return err
	}
	if err := g.settleNames(ctx); err != nil {
		return err
	}
	return g.removeContent(ctx)
}

// settleNames decides, and takes away under the lock all by which content can be found: what is left to delete then is
// known to nobody, and the exclusive hold keeps away who would make it anew.
func (g *collection) settleNames(ctx context.Context) error {
	unlock, err := g.store.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if g.index, err = g.store.readIndex(); err != nil {
		return err
	}
	if g.pinned, err = g.store.readPins(); err != nil {
		return err
	}
	g.chooseImages()
	if err := g.chooseCaches(ctx); err != nil {
		return err
	}
	return g.removeNames(ctx)
}

// decide notes a decision. The bytes count as freed when it goes.
func (g *collection) decide(d Decision) {
	if !d.Keep {
		g.result.Freed += d.Bytes
	}
	g.result.Decisions = append(g.result.Decisions, d)
}

// chooseImages decides which images of the list go.
func (g *collection) chooseImages() {
	g.gone = map[string]bool{}
	rank := map[string]int{} // images seen of a name, newest first
	why := map[Digest][]string{}
	for _, e := range slices.Backward(g.index.Manifests) {
		d, name := Digest(e.Digest), entryName(e)
		if name == "" {
			continue
		}
		if rank[name]++; rank[name] <= g.o.Keep {
			text := "newest image of " + name
			if rank[name] > 1 {
				text = fmt.Sprintf("number %d of the %d newest images of %s", rank[name], g.o.Keep, name)
			}
			why[d] = append(why[d], text)
		}
	}
	byCache := g.cachedImages()
	seen := map[Digest]bool{}
	for _, e := range slices.Backward(g.index.Manifests) {
		d := Digest(e.Digest)
		if seen[d] {
			continue
		}
		seen[d] = true
		reasons := slices.Concat(g.pinned.reasons(d), why[d])
		t, err := time.Parse(time.RFC3339Nano, e.Annotations[annotationCreated])
		if len(reasons) == 0 && err == nil && !t.Before(g.young) {
			reasons = []string{"came less than " + human.Span(g.o.Grace) + " ago"}
		}
		if g.o.CachesOnly && !byCache[d] {
			reasons = []string{"only caches are collected"}
		}
		if len(reasons) == 0 && byCache[d] {
			continue // decided with the cache that needs it
		}
		g.imageDecision(e, d, reasons)
	}
}

// cachedImages is the images without a name that caches need.
func (g *collection) cachedImages() map[Digest]bool {
	all := map[Digest]bool{}
	for _, c := range g.caches {
		for _, d := range c.Images {
			all[d] = true
		}
	}
	for _, e := range g.index.Manifests {
		if entryName(e) != "" {
			delete(all, Digest(e.Digest))
		}
	}
	return all
}

func (g *collection) imageDecision(e ocispec.Descriptor, d Digest, reasons []string) {
	dec := Decision{Kind: "image", Name: string(d), As: strings.Join(g.namesOf(d), ", "), Keep: len(reasons) > 0, Reason: strings.Join(reasons, ", ")}
	if info, err := g.store.info(e); err == nil {
		dec.Bytes = info.Size
	}
	if dec.Keep {
		g.decide(dec)
		return
	}
	g.gone[string(d)] = true
	dec.Bytes = 0 // counted with its blobs: others may share them
	dec.Reason = "no name, and nothing uses it"
	if names := g.namesOf(d); len(names) > 0 {
		dec.Reason = "a newer image is called " + strings.Join(names, ", ") + ", and nothing uses it"
	}
	g.decide(dec)
}

func (g *collection) namesOf(d Digest) []string {
	var names []string
	for _, e := range g.index.Manifests {
		if n := entryName(e); Digest(e.Digest) == d && n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

// fileUse is when a file was used last: read, to the day where the disk notes that (mount option relatime), or written.
func fileUse(info os.FileInfo) time.Time {
	used := info.ModTime()
	if st, ok := statOf(info); ok && st.After(used) {
		used = st
	}
	return used
}
