package archive

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/filelock"
)

// recordSchema is the form of the kept release files; others do not count.
const recordSchema = 1

// record is a release file as it came.
type record struct {
	Schema    int    `json:"schema"`
	URL       string `json:"url"`
	Validator string `json:"validator"` // ETag or Last-Modified: to ask whether it has changed
	Text      []byte `json:"text"`
	Signature []byte `json:"signature,omitempty"` // where it is not in the text
}

type newestRecord struct {
	Date time.Time `json:"date"`
}

// loadRelease gives the kept release file of a source; an empty one and false when there is none.
func (c *Client) loadRelease(s *Source) (*record, bool) {
	var r record
	if !load(c.path("releases", s.key()+".json"), &r) || r.Schema != recordSchema {
		return &record{}, false
	}
	return &r, true
}

// newest is the date of the newest release file seen for a source; zero for none.
func (c *Client) newest(s *Source) time.Time {
	var n newestRecord
	load(c.path("newest", s.guardKey()+".json"), &n)
	return n.Date
}

// keepRelease notes a good release file. The newest date never goes back, whatever other processes do meanwhile.
func (c *Client) keepRelease(ctx context.Context, s *Source, date time.Time, kept, fresh *record) error {
	if kept == fresh {
		return nil
	}
	lock, err := filelock.Lock(ctx, c.path("lock"), 0o600, filelock.Exclusive)
	if err != nil {
		return fault.New(fault.CodeOf(err), "keep release file of %s: %w", s, err)
	}
	defer lock.Close()
	if err := save(c.path("releases", s.key()+".json"), fresh); err != nil {
		return err
	}
	if date.After(c.newest(s)) {
		if err := save(c.path("newest", s.guardKey()+".json"), newestRecord{Date: date}); err != nil {
			return err
		}
	}
	return c.sweep()
}

// sweep removes indexes that no kept release file names.
func (c *Client) sweep() error {
	used, err := c.usedIndexes()
	if err != nil {
		return err
	}
	for _, folder := range []string{"indexes", "indexes/partial"} {
		entries, err := os.ReadDir(c.path(folder))
		if err != nil {
			return fault.New(fault.Failed, "clean up package indexes: %w", err)
		}
		for _, entry := range entries {
			name := entry.Name()
			if entry.IsDir() || len(name) < 64 || used[name[:64]] {
				continue
			}
			if err := os.Remove(c.path(folder, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fault.New(fault.Failed, "clean up package indexes: %w", err)
			}
		}
	}
	return nil
}

// usedIndexes are the hashes of all files that kept release files name. What is read here was checked when it was kept, and
// nothing but what is deleted depends on it.
func (c *Client) usedIndexes() (map[string]bool, error) {
	entries, err := os.ReadDir(c.path("releases"))
	if err != nil {
		return nil, fault.New(fault.Failed, "clean up package indexes: %w", err)
	}
	used := map[string]bool{}
	for _, entry := range entries {
		var r record
		if !load(c.path("releases", entry.Name()), &r) {
			continue
		}
		rel, err := debian.ParseRelease(r.URL, signedText(r.Text))
		if err != nil {
			continue
		}
		for _, f := range rel.Files {
			used[f.SHA256] = true
		}
	}
	return used, nil
}

// load reads a record. One that cannot be read is as good as none.
func load(path string, v any) bool {
	data, err := os.ReadFile(path)
	return err == nil && json.Unmarshal(data, v) == nil
}

func save(path string, v any) error {
	data, err := json.Marshal(v)
	if err == nil {
		err = atomicfile.Write(path, append(data, '\n'), 0o644)
	}
	if err != nil {
		return fault.New(fault.CodeOf(err), "write archive cache: %w", err)
	}
	return nil
}
