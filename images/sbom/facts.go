package sbom

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // SPDX wants this sum of every file
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/atomicfile"
)

// factsSchema is the form of the cache; another does not count.
const factsSchema = 1

// layerFacts is what the files of a layer say, by the digest of the file that says it.
type layerFacts struct {
	Schema   int                        `json:"schema"`
	Records  map[images.Digest][]record `json:"records"`  // dpkg's status
	Licenses map[images.Digest]string   `json:"licenses"` // copyright files → expression
	Modules  map[images.Digest][]module `json:"modules"`  // programs, METADATA and package.json files
	Lists    map[images.Digest]span     `json:"lists"`    // dpkg's lists of files
	SHA1     map[images.Digest]string   `json:"sha1"`     // hex
	text     string                     // what the spans are of
	layer    images.Digest
	changed  bool
}

// span is a part of the text: from and to, in bytes.
type span [2]int

// module is a package of a language.
type module struct {
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	Version string `json:"version"`
	License string `json:"license,omitempty"`
}

// facts is all that the layers of an image say.
type facts struct {
	store    *images.Store
	layers   []*layerFacts
	Records  map[images.Digest][]record
	Licenses map[images.Digest]string
	Modules  map[images.Digest][]module
	lists    map[images.Digest]string
}

// imageFacts gathers the facts of an image's layers: from the cache, else by reading the layer.
func imageFacts(ctx context.Context, s *images.Store, img images.Image) (*facts, error) {
	f := &facts{store: s, layers: make([]*layerFacts, len(img.Layers)), Records: map[images.Digest][]record{},
		Licenses: map[images.Digest]string{}, Modules: map[images.Digest][]module{}, lists: map[images.Digest]string{}}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i, l := range img.Layers {
		group.Go(func() (err error) {
			f.layers[i], err = factsOf(ctx, s, l)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, l := range f.layers {
		maps.Copy(f.Records, l.Records)
		maps.Copy(f.Licenses, l.Licenses)
		maps.Copy(f.Modules, l.Modules)
		for d, at := range l.Lists {
			f.lists[d] = l.text[at[0]:at[1]]
		}
	}
	return f, nil
}

// list is one of dpkg's lists of files, by its content's digest.
func (f *facts) list(d images.Digest) string { return f.lists[d] }

func factsOf(ctx context.Context, s *images.Store, l images.Layer) (*layerFacts, error) {
	if data, err := os.ReadFile(factsPath(s, l.Digest)); err == nil {
		if known, ok := decodeFacts(data); ok {
			known.layer = l.Digest
			return known, nil
		}
	}
	made, err := scan(ctx, s, l)
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", l.Digest.Short(), err)
	}
	made.changed = true // saved at the end, with the sums
	return made, nil
}

func factsPath(s *images.Store, d images.Digest) string {
	return filepath.Join(s.Dir(), "cache", "sbom", d.Hex()[:2], d.Hex())
}

func decodeFacts(data []byte) (*layerFacts, bool) {
	header, text, ok := bytes.Cut(data, []byte("\n"))
	var l layerFacts
	if !ok || json.Unmarshal(header, &l) != nil || l.Schema != factsSchema {
		return nil, false
	}
	for _, at := range l.Lists {
		if at[0] < 0 || at[1] < at[0] || at[1] > len(text) {
			return nil, false
		}
	}
	if l.SHA1 == nil {
		l.SHA1 = map[images.Digest]string{}
	}
	l.text = string(text)
	return &l, true
}

// save writes the cache. A store that may only be read has none.
func (l *layerFacts) save(s *images.Store) error {
	header, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("keep what layer %s says: %w", l.layer.Short(), err)
	}
	path := factsPath(s, l.layer)
	if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
		err = atomicfile.Write(path, slices.Concat(header, []byte("\n"), []byte(l.text)), 0o644)
	}
	if err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, unix.EROFS) {
		return fmt.Errorf("keep what layer %s says: %w", l.layer.Short(), err)
	}
	l.changed = false
	return nil
}

// sha1 gives the SHA-1 sums of files, in their order. Those not yet known are computed and kept.
func (f *facts) sha1(ctx context.Context, s *images.Store, files *images.Files, list []*images.ImageFile) ([]string, error) {
	known := map[images.Digest]string{}
	for _, l := range f.layers {
		maps.Copy(known, l.SHA1)
	}
	sums, buf := make([]string, len(list)), make([]byte, 256<<10)
	for i, n := range list {
		sum := known[n.Content]
		if sum == "" {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			r, err := files.Open(n)
			if err != nil {
				return nil, err
			}
			h := sha1.New() //nolint:gosec // as above
			_, err = io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{r}, buf)
			if err := errors.Join(err, r.Close()); err != nil {
				return nil, fmt.Errorf("read /%s: %w", n.Path, err)
			}
			sum = hex.EncodeToString(h.Sum(nil))
			known[n.Content] = sum
			if n.Layer >= 0 {
				f.layers[n.Layer].SHA1[n.Content], f.layers[n.Layer].changed = sum, true
			}
		}
		sums[i] = sum
	}
	for _, l := range f.layers {
		if l.changed {
			if err := l.save(s); err != nil {
				return nil, err
			}
		}
	}
	return sums, nil
}
