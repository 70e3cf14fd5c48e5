package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// copyStep puts files of the project into the image.
type copyStep struct {
	recipes.Copy
	label string // of an entry of files, which names the file in the image exactly; "" for one of copy
}

func (c *copyStep) name() string {
	if c.label != "" {
		return c.label
	}
	return short("copy " + c.From + " to " + c.To)
}

func (c *copyStep) at() recipes.Position { return c.Pos }

// source is a file of the project on its way into a layer.
type source struct {
	abs   string
	print fingerprint
	sum   string // hash of the content, "" until it is known
}

// copying is a copy step under way.
type copying struct {
	step    *copyStep
	b       *bake
	stats   *statCache
	files   []file
	sources []*source // by index of files; nil for folders and links
	unread  int64     // bytes of files whose hash is not known
	total   int64     // bytes of all files
}

func (c *copyStep) make(ctx context.Context, b *bake, st *state) (outcome, error) {
	w := &copying{step: c, b: b, stats: loadStatCache(b.cache.statCachePath(c.Source))}
	if b.o.NoCache {
		w.stats.old = map[string]known{}
	}
	if err := w.scan(); err != nil {
		return outcome{}, err
	}
	f := fileStep{name: c.name(), to: []string{c.To}, owner: c.Owner, hashed: w.inputs,
		files: func(context.Context) ([][]file, error) { return [][]file{w.files}, nil }}
	if !w.readOnce() {
		if err := w.hashAll(ctx); err != nil {
			return outcome{}, err
		}
		f.inputs = w.inputs()
	}
	out, err := f.make(ctx, b, st)
	if err != nil {
		return outcome{}, err
	}
	return out, w.stats.save()
}

// maxSpeculation is up to how many bytes a layer is written on the chance that it is a new one.
const maxSpeculation = 256 << 20

// readOnce reports whether the files are hashed while the layer is written. That reads changed files once instead of
// twice; it is in vain when they turn out to be what they were, so it is done only where most has to be read anyway.
func (w *copying) readOnce() bool {
	return w.unread > 0 && w.total <= maxSpeculation && w.unread*4 >= w.total
}

// scan lists the files and looks up which are known.
func (w *copying) scan() error {
	inputs, err := w.b.recipe.Inputs(w.step.Copy)
	if err != nil {
		return err
	}
	for _, in := range inputs {
		f := file{rel: in.Path, kind: kindOf(in.Mode.IsDir(), in.Mode&fs.ModeSymlink != 0), link: in.Link}
		f.mode = copyMode(f.kind, in.Mode, w.step.Mode)
		if w.step.label == "" {
			f.name = filepath.Base(w.step.From)
		}
		var s *source
		if f.kind == images.File {
			if s, err = w.source(in); err != nil {
				return err
			}
			f.size = s.print.size
			f.open = func() (io.ReadCloser, error) { return w.open(f.rel, s) }
			w.total += f.size
			if s.sum == "" {
				w.unread += f.size + 1
			}
		}
		w.files, w.sources = append(w.files, f), append(w.sources, s)
	}
	return nil
}

func (w *copying) source(in recipes.Input) (*source, error) {
	var st unix.Stat_t
	if err := unix.Lstat(in.Abs, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: in.Abs, Err: err}
	}
	s := &source{abs: in.Abs, print: fingerprintOf(&st)}
	s.sum = w.stats.lookup(in.Path, s.print)
	return s, nil
}

// copyMode is the mode in the image. A mode that the step gives is that of files; folders get x where it has r, since a
// folder without is of no use.
func copyMode(kind images.EntryType, disk fs.FileMode, given *fs.FileMode) uint32 {
	switch {
	case kind == images.Symlink:
		return 0o777
	case given != nil && kind == images.Dir:
		m := uint32(given.Perm())
		return m | m&0o444>>2
	case given != nil:
		return modeBits(*given)
	case kind == images.Dir || disk&0o111 != 0:
		return 0o755
	}
	return 0o644
}

func modeBits(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	for flag, bit := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&flag != 0 {
			bits |= bit
		}
	}
	return bits
}

// inputs is the hash of all that the step copies. All hashes must be known.
func (w *copying) inputs() string {
	type entry struct {
		shape
		Mode uint32 `json:"m"`
		Link string `json:"l,omitempty"`
		Sum  string `json:"s,omitempty"`
	}
	list := make([]entry, len(w.files))
	shapes := shapesOf(w.files)
	for i, f := range w.files {
		list[i] = entry{shape: shapes[i], Mode: f.mode, Link: f.link}
		if s := w.sources[i]; s != nil {
			list[i].Sum = s.sum
		}
	}
	return keyOf("copy", list)
}

// hashAll reads the files whose hashes are not known.
func (w *copying) hashAll(ctx context.Context) error {
	for i, s := range w.sources {
		if s == nil || s.sum != "" {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		r, err := w.open(w.files[i].rel, s)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r)
		if err := errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	return nil
}

// hashingFile is a file that is hashed while it is read. It ends with an error when the file is not the one that was
// listed, or changes meanwhile: a layer holds what a file was at one moment.
type hashingFile struct {
	f     *os.File
	w     *copying
	rel   string
	s     *source
	hash  hash.Hash
	n     int64 // bytes read
	ended bool
}

func (w *copying) open(rel string, s *source) (io.ReadCloser, error) {
	fd, err := unix.Open(s.abs, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, unreadable(s.abs, err)
	}
	r := &hashingFile{f: os.NewFile(uintptr(fd), s.abs), w: w, rel: rel, s: s, hash: sha256.New()}
	return r, nil
}

func unreadable(name string, err error) error {
	err = &fs.PathError{Op: "open", Path: name, Err: err}
	if errors.Is(err, fs.ErrPermission) {
		return fault.New(fault.Denied, "%w", err).WithHint("make it readable for who bakes, or name it in .releaseignore")
	}
	return err
}

func (h *hashingFile) Read(p []byte) (int, error) {
	n, err := h.f.Read(p)
	h.hash.Write(p[:n])
	h.n += int64(n)
	if errors.Is(err, io.EOF) {
		if err := h.settle(); err != nil {
			return n, err
		}
	}
	return n, err
}

// settle takes the hash when the file is still the one that was listed.
func (h *hashingFile) settle() error {
	if h.ended {
		return nil
	}
	h.ended = true
	now := h.w.b.now()
	var st unix.Stat_t
	if err := unix.Fstat(int(h.f.Fd()), &st); err != nil {
		return &fs.PathError{Op: "stat", Path: h.s.abs, Err: err}
	}
	if fingerprintOf(&st) != h.s.print {
		return fault.New(fault.Failed, "%s changed while it was read", h.s.abs).WithHint("bake again when nothing writes to it")
	}
	sum := hex.EncodeToString(h.hash.Sum(nil))
	if h.s.sum != "" && h.s.sum != sum {
		return fault.New(fault.Failed, "%s is not what it was though its size and times are the same", h.s.abs).
			WithHint("bake with --no-cache")
	}
	h.s.sum = sum
	h.w.stats.remember(h.rel, h.s.print, sum, now)
	return nil
}

// Close also ends the hashing: who reads a file of known size does not ask for its end. Who stops earlier has failed, and
// knows why.
func (h *hashingFile) Close() error {
	defer h.f.Close()
	if h.ended || h.n < h.s.print.size {
		return nil
	}
	if n, err := io.Copy(io.Discard, h); err != nil || n > 0 {
		return errors.Join(err, grown(h.s.abs, n))
	}
	return nil
}

func grown(name string, n int64) error {
	if n == 0 {
		return nil
	}
	return fault.New(fault.Failed, "%s grew by %d bytes while it was read", name, n).WithHint("bake again when nothing writes to it")
}
