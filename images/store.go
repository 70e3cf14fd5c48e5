package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/atomicfile"
)

// Store is an image store in a folder. Its methods may be called at the same time, also from several processes.
type Store struct {
	dir    string
	now    func() time.Time
	limits Limits
}

// Option changes a store at Open.
type Option func(*Store)

// WithClock sets the clock that dates index entries and ages. The default is time.Now.
func WithClock(now func() time.Time) Option { return func(s *Store) { s.now = now } }

// WithLimits sets the limits for foreign content; a field that is 0 keeps its default.
func WithLimits(l Limits) Option { return func(s *Store) { s.limits = l.withDefaults() } }

// Open opens the store in dir and creates it when it is not there. It reads no image, so it is cheap.
func Open(dir string, opts ...Option) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	s := &Store{dir: dir, now: time.Now, limits: Limits{}.withDefaults()}
	for _, o := range opts {
		o(s)
	}
	switch _, err := os.Stat(s.path(ocispec.ImageLayoutFile)); {
	case err == nil:
		return s, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, openError(dir, err)
	}
	if err := s.create(); err != nil {
		return nil, openError(dir, err)
	}
	return s, nil
}

func openError(dir string, err error) error {
	return diskError(err, "open image store %s", dir)
}

// create makes the layout. The oci-layout file comes last: it is what Open looks for.
func (s *Store) create() error {
	if err := os.MkdirAll(s.path(blobDir), 0o755); err != nil {
		return err
	}
	unlock, err := s.lock(context.Background())
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(s.path(ocispec.ImageIndexFile)); errors.Is(err, fs.ErrNotExist) {
		if err := s.writeIndex(newIndex()); err != nil {
			return err
		}
	}
	layout, err := json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err != nil {
		return err
	}
	return atomicfile.Write(s.path(ocispec.ImageLayoutFile), layout, 0o644)
}

// Dir is the store's folder, absolute.
func (s *Store) Dir() string { return s.dir }

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}
