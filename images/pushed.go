package images

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/bootandshoot/release/internal/atomicfile"
)

// pushedFile remembers in which repositories blobs were pushed, so that a registry can be asked to take them from there:
// {"schema":1,"repositories":[{"repository":"registry/name","blobs":[digest…]}]}, latest last. What it says may be out of date; then a
// registry asks for the blob.
var pushedFile = filepath.Join("cache", "pushed.json")

const (
	pushedSchema = 1
	maxPushed    = 200  // repositories that are remembered
	maxPushedOf  = 2000 // blobs of each
)

type pushedBlobs struct {
	Schema       int                `json:"schema"`
	Repositories []pushedRepository `json:"repositories"`
}

type pushedRepository struct {
	Repository string   `json:"repository"`
	Blobs      []Digest `json:"blobs"`
}

// readPushed reads the file; one that is not there or damaged is as good as none.
func (s *Store) readPushed() (pushedBlobs, error) {
	var p pushedBlobs
	data, err := os.ReadFile(s.path(pushedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, diskError(err, "read what was pushed")
	}
	if json.Unmarshal(data, &p) != nil || p.Schema != pushedSchema {
		return pushedBlobs{}, nil
	}
	return p, nil
}

// find names another repository of the registry that has the blob.
func (p pushedBlobs) find(repo name.Repository, d Digest) (name.Reference, bool) {
	for _, r := range slices.Backward(p.Repositories) {
		if r.Repository == repo.Name() || !slices.Contains(r.Blobs, d) {
			continue
		}
		from, err := name.NewRepository(r.Repository)
		if err != nil || from.RegistryStr() != repo.RegistryStr() {
			continue
		}
		return repo.Registry.Repo(from.RepositoryStr()).Digest(string(d)), true
	}
	return nil, false
}

// notePushed remembers blobs of a repository.
func (s *Store) notePushed(ctx context.Context, repo name.Repository, blobs []Digest) error {
	if len(blobs) == 0 {
		return nil
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	p, err := s.readPushed()
	if err != nil {
		return err
	}
	at := slices.IndexFunc(p.Repositories, func(r pushedRepository) bool { return r.Repository == repo.Name() })
	entry := pushedRepository{Repository: repo.Name()}
	if at >= 0 {
		entry = p.Repositories[at]
		p.Repositories = slices.Delete(p.Repositories, at, at+1)
	}
	slices.Sort(blobs)
	entry.Blobs = append(slices.DeleteFunc(entry.Blobs, func(d Digest) bool { return slices.Contains(blobs, d) }), blobs...)
	entry.Blobs = entry.Blobs[max(0, len(entry.Blobs)-maxPushedOf):]
	p.Repositories = append(p.Repositories, entry)
	p.Repositories = p.Repositories[max(0, len(p.Repositories)-maxPushed):]
	p.Schema = pushedSchema
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.path(pushedFile)), 0o700); err != nil {
		return diskError(err, "note what was pushed")
	}
	return diskError(atomicfile.Write(s.path(pushedFile), append(data, '\n'), 0o644), "note what was pushed")
}
