package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/recipes"
)

// fetchStep puts a download, or what an archive holds, into the image.
type fetchStep struct {
	recipes.Fetch
	pin     *recipes.LockedURL
	label   string // of an extension; "" for one of fetch
	pinName string // that the lockfile has; "" is the last part of the URL
	local   string // archive of the project in the place of a download
	strip   int    // how many leading folders of the archive's paths are left out
}

func (f *fetchStep) name() string {
	if f.label != "" {
		return f.label
	}
	return short("fetch " + f.URL)
}

func (f *fetchStep) at() recipes.Position { return f.Pos }

// download describes the step's file.
func (f *fetchStep) download(b *bake) *download {
	d := &download{b: b, step: f.name(), url: f.URL, want: f.SHA256, from: "the recipe", name: f.pinName}
	if d.want == "" && f.pin != nil {
		d.want, d.from = f.pin.SHA256, "the lockfile"
	}
	return d
}

// pinFetch pins a download, by asking for it if nothing else knows its hash.
func (b *bake) pinFetch(ctx context.Context, f recipes.Fetch, pin *recipes.LockedURL) (recipes.LockedURL, error) {
	if pin != nil && (f.SHA256 == "" || f.SHA256 == pin.SHA256) {
		return *pin, nil
	}
	s := &fetchStep{Fetch: f}
	got, err := s.download(b).get(ctx)
	if err != nil {
		return recipes.LockedURL{}, inStep(s, err)
	}
	return recipes.LockedURL{URL: f.URL, SHA256: got.SHA256, Size: got.Size, Date: got.Dates[f.URL]}, nil
}

func (f *fetchStep) make(ctx context.Context, b *bake, st *state) (outcome, error) {
	var mode uint32
	if f.Mode != nil {
		mode = modeBits(*f.Mode)
	}
	d := f.download(b)
	s := fileStep{name: f.name(), owner: f.Owner, inputs: keyOf("fetch", d.want, f.To != "", f.Unpack != "", f.Mode != nil, mode, path.Base(f.URL), f.strip)}
	for _, to := range []string{f.To, f.Unpack} {
		if to != "" {
			s.to = append(s.to, to)
		}
	}
	var opened []io.Closer
	defer func() {
		for _, c := range opened {
			_ = c.Close()
		}
	}()
	s.files = func(ctx context.Context) ([][]file, error) {
		archive, err := f.open(ctx, d)
		if err != nil {
			return nil, err
		}
		opened = append(opened, archive)
		var lists [][]file
		if f.To != "" {
			lists = append(lists, []file{f.single(archive)})
		}
		if f.Unpack != "" {
			u := &unpacking{b: b, given: f.Mode, archive: archive}
			opened = append(opened, u)
			list, err := u.list(ctx)
			if err == nil {
				list, err = strip(list, f.strip)
			}
			if err != nil {
				return nil, fmt.Errorf("unpack: %w", err)
			}
			lists = append(lists, list)
		}
		return lists, nil
	}
	return s.make(ctx, b, st)
}

// open opens the downloaded file, checked once more: the cache lies on a disk.
func (f *fetchStep) open(ctx context.Context, d *download) (*os.File, error) {
	if f.local != "" {
		return openLocal(f.local, d.want)
	}
	for range 2 {
		got, err := d.get(ctx)
		if err != nil {
			return nil, err
		}
		path := d.b.cache.path("downloads", got.SHA256)
		file, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("open download: %w", err)
		}
		sum := sha256.New()
		_, err = io.Copy(sum, file)
		if err == nil && hex.EncodeToString(sum.Sum(nil)) == got.SHA256 {
			return file, nil
		}
		if err := errors.Join(file.Close(), os.Remove(path), os.Remove(path+".json")); err != nil {
			return nil, fmt.Errorf("remove damaged download: %w", err)
		}
	}
	return nil, fmt.Errorf("the downloaded file is damaged on disk again and again")
}

// single is the file itself.
func (f *fetchStep) single(archive *os.File) file {
	one := file{rel: ".", name: path.Base(f.To), kind: images.File, mode: 0o644}
	if f.Mode != nil {
		one.mode = modeBits(*f.Mode)
	}
	if fi, err := archive.Stat(); err == nil {
		one.size = fi.Size()
	}
	one.open = func() (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(archive, 0, one.size)), nil
	}
	return one
}
