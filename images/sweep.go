package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
)

// defaultGrace is how long a writer without a hold may take between its first blob and its Put.
const defaultGrace = time.Hour

// SweepOptions says what a sweep spares.
type SweepOptions struct {
	Grace time.Duration // unreferenced content younger than this stays; 0 is an hour, negative is none
	Keep  []Digest      // blobs that stay although no image uses them, such as the layers of a build cache
}

// Swept counts what a sweep deleted.
type Swept struct {
	Blobs int   `json:"blobs"` // unreferenced blobs
	Roots int   `json:"roots"` // unpacked and half-unpacked roots
	Temps int   `json:"temps"` // blobs and files that a crash left under way
	Bytes int64 `json:"bytes"` // of the blobs and temporary files
}

// Sweep deletes what nothing references: leftovers of crashes, blobs and roots of removed images. It is fault.Busy
// while somebody holds the store, such as a bake; then nothing is deleted.
func (s *Store) Sweep(ctx context.Context, opts SweepOptions) (Swept, error) {
	var swept Swept
	release, err := s.tryExclusive()
	if errors.Is(err, errLocked) {
		return swept, fault.New(fault.Busy, "sweep image store %s: a bake or import is writing to it", s.dir).
			WithHint("try again when it has ended")
	}
	if err != nil {
		return swept, err
	}
	defer release()
	unlock, err := s.lock(ctx)
	if err != nil {
		return swept, err
	}
	defer unlock()
	used, err := s.references()
	if err != nil {
		return swept, err
	}
	for _, d := range opts.Keep {
		used.blobs[d] = true
	}
	if opts.Grace == 0 {
		opts.Grace = defaultGrace
	}
	young := s.now().Add(-max(opts.Grace, 0))
	if opts.Grace < 0 {
		young = s.now().Add(time.Hour)
	}
	if err := s.sweepReferrers(used, young); err != nil {
		return swept, err
	}
	return swept, errors.Join(
		s.sweepBlobs(used, young, &swept),
		s.sweepTemps(young, &swept),
		s.sweepRoots(ctx, used, young, &swept),
	)
}

// sweepBlobs deletes unreferenced blobs, and blobs that never got their name, last written before young.
func (s *Store) sweepBlobs(used references, young time.Time, swept *Swept) error {
	entries, err := os.ReadDir(s.path(blobDir))
	if err != nil {
		return fmt.Errorf("sweep blobs: %w", err)
	}
	for _, e := range entries {
		d := Digest(digestPrefix + e.Name())
		temp := strings.HasPrefix(e.Name(), ".tmp-")
		if !temp && !d.Valid() || used.blobs[d] {
			continue
		}
		size, err := removeOld(s.path(blobDir, e.Name()), young)
		if err != nil {
			return fmt.Errorf("sweep blobs: %w", err)
		}
		if size < 0 {
			continue
		}
		swept.Bytes += size
		if temp {
			swept.Temps++
		} else {
			swept.Blobs++
		}
	}
	return atomicfile.SyncDir(s.path(blobDir))
}

// sweepTemps deletes temporary files beside the index and the pins.
func (s *Store) sweepTemps(young time.Time, swept *Swept) error {
	var temps []string
	for _, dir := range []string{s.dir, s.path(pinDir), s.path(referrersDir)} {
		found, err := filepath.Glob(filepath.Join(globEscape(dir), ".tmp-*"))
		if err != nil {
			return fmt.Errorf("sweep temporary files: %w", err)
		}
		temps = slices.Concat(temps, found)
	}
	for _, path := range temps {
		size, err := removeOld(path, young)
		if err != nil {
			return fmt.Errorf("sweep temporary files: %w", err)
		}
		if size >= 0 {
			swept.Temps++
			swept.Bytes += size
		}
	}
	return nil
}

// removeOld deletes a file last written before young and gives its size, or -1 when it stays or is gone.
func removeOld(path string, young time.Time) (int64, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	if !info.Mode().IsRegular() || !info.ModTime().Before(young) {
		return -1, nil
	}
	if err := os.Remove(path); err != nil {
		return -1, err
	}
	return info.Size(), nil
}
