package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	godigest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/failpoint"
	"github.com/bootandshoot/release/internal/fault"
)

// Annotations of index.json: of its descriptors, and of the index itself.
const (
	annotationName    = "release.name"
	annotationCreated = "release.created"
	annotationSchema  = "release.schema"
)

// indexSchema is the newest form of the store that this program reads, and the one it writes.
const indexSchema = 1

// namePattern is the grammar of ref.name in the OCI image layout.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9]+([-._:@/+]+[A-Za-z0-9]+)*$`)

func checkName(name string) error {
	if name == "" || len(name) <= 255 && namePattern.MatchString(name) {
		return nil
	}
	return fault.New(fault.Invalid, "name image %q: want letters and digits, with . _ - / : between them", name)
}

func newIndex() ocispec.Index {
	return ocispec.Index{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   ocispec.MediaTypeImageIndex,
		Manifests:   []ocispec.Descriptor{},
		Annotations: map[string]string{annotationSchema: strconv.Itoa(indexSchema)},
	}
}

// readIndex reads index.json; one written by another tool is fine.
func (s *Store) readIndex() (ocispec.Index, error) {
	path := s.path(ocispec.ImageIndexFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newIndex(), nil
	}
	if err != nil {
		return ocispec.Index{}, fmt.Errorf("read image index: %w", err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return index, fault.New(fault.Failed, "read image index %s: %w", path, err).
			WithHint("the file is damaged: restore it, or remove it to start with an empty list")
	}
	if n, err := strconv.Atoi(index.Annotations[annotationSchema]); err == nil && n > indexSchema {
		return index, fault.New(fault.Unsupported, "read image index %s: its schema %d is newer than %d", path, n, indexSchema).
			WithHint("use the newer release program that wrote it")
	}
	return index, nil
}

func (s *Store) writeIndex(index ocispec.Index) error {
	if index.Annotations == nil {
		index.Annotations = map[string]string{}
	}
	index.Annotations[annotationSchema] = strconv.Itoa(indexSchema)
	nameNewest(index.Manifests)
	data, err := json.Marshal(index)
	if err != nil {
		return fmt.Errorf("write image index: %w", err)
	}
	failpoint.Pass(failpoint.IndexWrite)
	err = atomicfile.Write(s.path(ocispec.ImageIndexFile), append(data, '\n'), 0o644)
	failpoint.Pass(failpoint.IndexWritten)
	return diskError(err, "write image index")
}

// nameNewest gives the layout's own name annotation to the newest image of each name and to no other, since
// other tools want it to be unique.
func nameNewest(list []ocispec.Descriptor) {
	seen := map[string]bool{}
	for i := len(list) - 1; i >= 0; i-- {
		name, ours := list[i].Annotations[annotationName]
		if !ours {
			continue
		}
		delete(list[i].Annotations, ocispec.AnnotationRefName)
		if !seen[name] {
			list[i].Annotations[ocispec.AnnotationRefName] = name
		}
		seen[name] = true
	}
}

func entryName(d ocispec.Descriptor) string {
	if name, ours := d.Annotations[annotationName]; ours {
		return name
	}
	return d.Annotations[ocispec.AnnotationRefName]
}

// upsert makes the image the newest of its name. One that has a name is not listed without one, too. It reports false when it already is and nothing changed.
func upsert(index *ocispec.Index, entry ocispec.Descriptor) bool {
	name := entryName(entry)
	sameName := func(d ocispec.Descriptor) bool { return entryName(d) == name }
	last := -1
	for i, d := range index.Manifests {
		if sameName(d) {
			last = i
		}
	}
	if last >= 0 && index.Manifests[last].Digest == entry.Digest {
		return false
	}
	if name == "" && slices.ContainsFunc(index.Manifests, func(d ocispec.Descriptor) bool { return d.Digest == entry.Digest }) {
		return false
	}
	index.Manifests = slices.DeleteFunc(index.Manifests, func(d ocispec.Descriptor) bool {
		return d.Digest == entry.Digest && (sameName(d) || entryName(d) == "")
	})
	index.Manifests = append(index.Manifests, entry)
	return true
}

// indexEntry describes a manifest for the index.
func (s *Store) indexEntry(d Descriptor, platform ocispec.Platform, name string) ocispec.Descriptor {
	annotations := map[string]string{annotationCreated: s.now().UTC().Format(time.RFC3339Nano)}
	if name != "" {
		annotations[annotationName] = name
	}
	return ocispec.Descriptor{
		MediaType:   ocispec.MediaTypeImageManifest,
		Digest:      godigest.Digest(d.Digest),
		Size:        d.Size,
		Platform:    &platform,
		Annotations: annotations,
	}
}

// Resolve finds an image: by its digest, by the name whose newest image it is, or by four or more digits that begin
// one digest only. An unknown one is fault.NotFound with the nearest names as hint.
func (s *Store) Resolve(ref string) (Digest, error) {
	index, err := s.readIndex()
	if err != nil {
		return "", err
	}
	for i := len(index.Manifests) - 1; i >= 0; i-- {
		d := index.Manifests[i]
		if string(d.Digest) == ref || ref != "" && entryName(d) == ref {
			return Digest(d.Digest), nil
		}
	}
	found := withPrefix(index.Manifests, strings.TrimPrefix(strings.ToLower(ref), digestPrefix))
	switch len(found) {
	case 0:
		return "", unknownImage(ref, index.Manifests)
	case 1:
		return found[0], nil
	}
	return "", fault.New(fault.Invalid, "find image %q: it begins %d digests", ref, len(found)).
		WithHint("type more digits: %s", shortList(found))
}

func withPrefix(list []ocispec.Descriptor, prefix string) []Digest {
	var found []Digest
	if len(prefix) < 4 || !isHex(prefix) {
		return nil
	}
	for _, d := range list {
		if dig := Digest(d.Digest); strings.HasPrefix(dig.Hex(), prefix) && !slices.Contains(found, dig) {
			found = append(found, dig)
		}
	}
	return found
}

func shortList(list []Digest) string {
	var short []string
	for _, d := range list[:min(5, len(list))] {
		short = append(short, d.Short())
	}
	return strings.Join(short, ", ")
}

func unknownImage(ref string, list []ocispec.Descriptor) error {
	err := fault.New(fault.NotFound, "find image %q: no image has this name or digest", ref)
	var names []string
	for _, d := range list {
		if n := entryName(d); n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return err.WithHint("no image has a name: release images ls shows the digests; release bake and release images pull --name give names")
	}
	distance := map[string]int{}
	for _, n := range names {
		distance[n] = editDistance(ref, n)
	}
	slices.SortStableFunc(names, func(a, b string) int { return distance[a] - distance[b] })
	return err.WithHint("the nearest names are: %s", strings.Join(names[:min(3, len(names))], ", "))
}

// editDistance is the Levenshtein distance in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
