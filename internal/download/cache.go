package download

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
)

// Cache is a folder of downloaded files.
type Cache struct {
	dir string
}

// Record describes a whole file of the cache.
type Record struct {
	SHA256 string               `json:"sha256"`
	Size   int64                `json:"size"`
	Dates  map[string]time.Time `json:"dates"` // by URL: when it changed last, as the server said; zero if it did not
}

// validator is what a server must confirm before a file is continued.
type validator struct {
	URL      string `json:"url"`
	Validate string `json:"validate"` // strong ETag or Last-Modified; "" cannot be continued
}

// Open gives the cache in a folder and makes the folder if need be.
func Open(dir string) (*Cache, error) {
	if err := os.MkdirAll(filepath.Join(dir, "partial"), 0o700); err != nil {
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
			return nil, fault.New(fault.Denied, "open download cache: %w", err).
				WithHint("choose a folder of your own with RELEASE_IMAGES_DIR")
		}
		return nil, fmt.Errorf("open download cache: %w", err)
	}
	return &Cache{dir: dir}, nil
}

// Path is where the file with this sha256 (64 hex digits, lower case) is or would be.
func (c *Cache) Path(sha256 string) string { return filepath.Join(c.dir, sha256) }

// Lookup finds a whole file. One without record, or of another size than its record says, does not count.
func (c *Cache) Lookup(sha256 string) (Record, bool) {
	var r Record
	if sha256 == "" || !load(c.Path(sha256)+".json", &r) || r.SHA256 != sha256 {
		return Record{}, false
	}
	fi, err := os.Stat(c.Path(sha256))
	return r, err == nil && fi.Mode().IsRegular() && fi.Size() == r.Size
}

// Remove takes a file out of the cache; none is fine.
func (c *Cache) Remove(sha256 string) error {
	var errs []error
	for _, path := range []string{c.Path(sha256) + ".json", c.Path(sha256)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove from download cache: %w", err))
		}
	}
	return errors.Join(errs...)
}

// load reads a record. One that cannot be read is as good as none: it is made again.
func load(path string, v any) bool {
	data, err := os.ReadFile(path)
	return err == nil && json.Unmarshal(data, v) == nil
}

func save(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write download cache: %w", err)
	}
	if err := atomicfile.Write(path, append(data, '\n'), 0o644); err != nil {
		return noSpace(fmt.Errorf("write download cache: %w", err))
	}
	return nil
}

// noSpace marks an error that no other server and no other try can help.
func noSpace(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fault.New(fault.NoSpace, "%w", err).WithHint("make room, or put the cache elsewhere with RELEASE_IMAGES_DIR; what has come is kept")
	}
	return err
}
