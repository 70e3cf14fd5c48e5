package builder

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/failpoint"
	"github.com/bootandshoot/release/internal/fault"
)

// cacheSchema is the form of the records; others do not count.
const cacheSchema = 1

// record is what a step with certain inputs made. A step that changed nothing has no layer.
type record struct {
	Schema int                `json:"schema"`
	Step   string             `json:"step"` // for people who look into the cache
	Layer  *images.Descriptor `json:"layer"`
}

// cache is the folder cache of an image store.
type cache struct {
	dir   string
	store *images.Store
}

func openCache(s *images.Store) (*cache, error) {
	c := &cache{dir: filepath.Join(s.Dir(), "cache"), store: s}
	for _, d := range []string{"steps", "places", "layers", "tests", "machines", "kernels", "boots", "bases", "files", "secrets", "downloads/partial", "git", "work"} {
		// Unpacked layers and work folders may hold setuid files: nobody else gets in.
		if err := os.MkdirAll(c.path(d), 0o700); err != nil {
			if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
				return nil, fault.New(fault.Denied, "open bake cache: %w", err).
					WithHint("choose a folder of your own with RELEASE_IMAGES_DIR")
			}
			return nil, fmt.Errorf("open bake cache: %w", err)
		}
	}
	return c, nil
}

func (c *cache) path(elem ...string) string {
	return filepath.Join(append([]string{c.dir}, elem...)...)
}

// step finds what a step made; a record whose layer is gone from the store does not count.
func (c *cache) step(key string) (record, bool) {
	var r record
	if !c.load(c.spread("steps", key), &r) || r.Schema != cacheSchema {
		return record{}, false
	}
	return r, r.Layer == nil || c.store.Has(r.Layer.Digest)
}

// saveStep keeps what a step made under all its keys.
func (c *cache) saveStep(r record, keys ...string) error {
	r.Schema = cacheSchema
	for _, key := range keys {
		if err := c.save(c.spread("steps", key), r); err != nil {
			return err
		}
	}
	return nil
}

// spread keeps folders small.
func (c *cache) spread(kind, key string) string { return c.path(kind, key[:2], key+".json") }

// load reads a record. One that cannot be read is as good as none: it is made again.
func (c *cache) load(path string, v any) bool {
	data, err := os.ReadFile(path)
	return err == nil && json.Unmarshal(data, v) == nil
}

func (c *cache) save(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write bake cache: %w", err)
	}
	data = append(data, '\n')
	err = atomicfile.Write(path, data, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("write bake cache: %w", err)
		}
		err = atomicfile.Write(path, data, 0o644)
	}
	if err != nil {
		return fmt.Errorf("write bake cache: %w", err)
	}
	failpoint.Pass(failpoint.StepWritten)
	return nil
}
