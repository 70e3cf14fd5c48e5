package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/failpoint"
	"github.com/bootandshoot/release/internal/fault"
)

const (
	pinDir    = "pins"
	pinSchema = 1
)

var installationPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// pinFile is what one installation uses.
type pinFile struct {
	Schema       int                 `json:"schema"`
	Installation string              `json:"installation"`
	Images       []Digest            `json:"images"`
	Reasons      map[Digest][]string `json:"reasons,omitempty"` // files of older agents have none
}

// pin is one installation's use of an image.
type pin struct {
	installation string
	reasons      []string // such as "shop/production r8 serving"; may be empty
}

// pins is the images in use.
type pins map[Digest][]pin

// users is the installations that use an image, sorted.
func (p pins) users(d Digest) []string {
	list := []string{}
	for _, u := range p[d] {
		list = append(list, u.installation)
	}
	return list
}

// reasons is why an image is in use, for people.
func (p pins) reasons(d Digest) []string {
	var list []string
	for _, u := range p[d] {
		if len(u.reasons) == 0 {
			list = append(list, "in use by installation "+u.installation)
		}
		list = append(list, u.reasons...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Pin says which images an installation uses, in place of what it said before; none takes its pin file away. Pinned
// images are not removed, and their blobs and root stay. Pin before booting from an image, and then check that it is
// still there.
func (s *Store) Pin(installation string, digests []Digest) error {
	why := map[Digest][]string{}
	for _, d := range digests {
		why[d] = nil
	}
	return s.PinFor(context.Background(), installation, why)
}

// PinFor is Pin with the reasons for each image, in words for people: they are what a collection shows. It waits for the
// store's lock until ctx ends; then nothing is changed.
func (s *Store) PinFor(ctx context.Context, installation string, why map[Digest][]string) error {
	if !installationPattern.MatchString(installation) {
		return fault.New(fault.Invalid, "pin images: %q is no installation id", installation)
	}
	for d := range why {
		if !d.Valid() {
			return fault.New(fault.Invalid, "pin images: %q is no digest", string(d))
		}
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return fmt.Errorf("pin images: %w", err)
	}
	defer unlock()
	if len(why) == 0 {
		return s.unpin(installation)
	}
	f := pinFile{Schema: pinSchema, Installation: installation, Images: slices.Sorted(maps.Keys(why)), Reasons: map[Digest][]string{}}
	for d, reasons := range why {
		if len(reasons) > 0 {
			f.Reasons[d] = slices.Compact(slices.Sorted(slices.Values(reasons)))
		}
	}
	data, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("pin images: %w", err)
	}
	if err := os.MkdirAll(s.path(pinDir), 0o755); err != nil {
		return diskError(err, "pin images")
	}
	err = atomicfile.Write(s.pinPath(installation), append(data, '\n'), 0o644)
	failpoint.Pass(failpoint.PinWritten)
	return diskError(err, "pin images")
}

func (s *Store) pinPath(installation string) string { return s.path(pinDir, installation+".json") }

func (s *Store) unpin(installation string) error {
	err := os.Remove(s.pinPath(installation))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("unpin images: %w", err)
	}
	return atomicfile.SyncDir(s.path(pinDir))
}

// readPins reads all pin files. One that cannot be understood is an error: what it pins must not be deleted.
func (s *Store) readPins() (pins, error) {
	paths, err := filepath.Glob(filepath.Join(globEscape(s.path(pinDir)), "*.json"))
	if err != nil {
		return nil, fmt.Errorf("read image pins: %w", err)
	}
	all := pins{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read image pins: %w", err)
		}
		var f pinFile
		if err := json.Unmarshal(data, &f); err != nil || f.Schema != pinSchema {
			return nil, fault.New(fault.Failed, "read image pins %s: not a pin file of schema %d", path, pinSchema).
				WithHint("remove it when its agent is gone for good")
		}
		for _, d := range f.Images {
			all[d] = append(all[d], pin{f.Installation, f.Reasons[d]})
		}
	}
	return all, nil
}

func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
