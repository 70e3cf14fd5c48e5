package images

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"time"
)

var errSoon = errors.New("images: under construction")

type Store struct{ dir string }

type Option func(*Store)

func WithClock(now func() time.Time) Option { return func(*Store) {} }

func Open(dir string, opts ...Option) (*Store, error) { return &Store{dir: dir}, nil }

func (s *Store) Dir() string { return s.dir }

// WriteBlob stores what r gives and names it.
func (s *Store) WriteBlob(ctx context.Context, r io.Reader) (Descriptor, error) {
	return Descriptor{}, errSoon
}

// WriteBlobAs stores a blob that must be want (Size < 0: any length); existing is success.
func (s *Store) WriteBlobAs(ctx context.Context, want Descriptor, r io.Reader) error { return errSoon }

func (s *Store) OpenBlob(d Digest) (*os.File, error) { return nil, errSoon }
func (s *Store) Has(d Digest) bool                   { return false }

// Hold keeps Remove and Sweep of all processes from deleting content until release is called (or the process ends).
// A bake holds from before it looks for cached layers until after Put.
func (s *Store) Hold(ctx context.Context) (release func(), err error) { return nil, errSoon }

func (s *Store) Put(ctx context.Context, img Image, name string) (Digest, error) { return "", errSoon }

// Tag lists an image under a name whose manifest and blobs are already here (uploaded with WriteBlobAs).
func (s *Store) Tag(ctx context.Context, d Digest, name string) error                 { return errSoon }
func (s *Store) Get(d Digest) (Image, error)                                          { return Image{}, errSoon }
func (s *Store) List() ([]Info, error)                                                { return nil, errSoon }
func (s *Store) Resolve(ref string) (Digest, error)                                   { return "", errSoon }
func (s *Store) Blobs(d Digest) ([]Descriptor, error)                                 { return nil, errSoon }
func (s *Store) Remove(ctx context.Context, d Digest, force bool) error               { return errSoon }
func (s *Store) Pin(installation string, digests []Digest) error                      { return errSoon }
func (s *Store) Import(ctx context.Context, src Source) (Digest, error)               { return "", errSoon }
func (s *Store) ExportOCI(ctx context.Context, d Digest, dir string) error            { return errSoon }
func (s *Store) ExportOCIArchive(ctx context.Context, d Digest, w io.Writer) error    { return errSoon }
func (s *Store) ExportDockerArchive(ctx context.Context, d Digest, tag string, w io.Writer) error {
	return errSoon
}
func (s *Store) Rootfs(ctx context.Context, d Digest) (string, error) { return "", errSoon }
func (s *Store) Registry(token string) http.Handler                   { return http.NotFoundHandler() }
func (s *Store) Sweep(ctx context.Context, opts SweepOptions) (Swept, error) {
	return Swept{}, errSoon
}

// Source says where an image to import is: a path or a reference, not both.
type Source struct {
	Path      string // OCI layout folder, or a docker-archive or OCI-layout tar (plain or gzip)
	Reference string // registry/name:tag or registry/name@sha256:…
	Select    string // which image of a layout or archive with several: its tag or name
	Platform  string // "os/arch[/variant]"; "" is linux and this machine's architecture
	Name      string // name of the image in this store; "" leaves it unnamed
}

type SweepOptions struct {
	Grace time.Duration // unreferenced content younger than this stays; 0 is an hour, negative is none
	Keep  []Digest      // blobs that stay, such as the layers of a build cache
}

type Swept struct {
	Blobs, Rootfs, Temps int
	Bytes                int64
}

// EntryType is the kind of a layer entry.
type EntryType int

const (
	File EntryType = iota
	Dir
	Symlink
	HardLink
	CharDevice
	BlockDevice
	Fifo
	Whiteout // Path is gone
	Opaque   // the folder Path shows nothing of lower layers; follows Path's own Dir entry
)

// Entry is one record of a layer.
type Entry struct {
	Path         string // slash-separated, relative, clean; "." is the root folder
	Type         EntryType
	Mode         uint32 // permission bits with setuid, setgid and sticky: 07777
	UID, GID     int
	Size         int64  // of a File
	Link         string // target of a Symlink as it is; Path of the earlier File for a HardLink
	Major, Minor int64
	Xattrs       map[string]string // name → value, raw bytes
}

// LayerWriter writes one layer from records in ascending byte order of Path; every time stamp is the one given epoch.
type LayerWriter struct{}

// NewLayer begins a layer; epoch is the time of all entries, in seconds since 1970.
func (s *Store) NewLayer(ctx context.Context, epoch int64) (*LayerWriter, error) { return nil, errSoon }

// Add appends an entry; content must give exactly e.Size bytes for a File and is ignored otherwise.
func (w *LayerWriter) Add(e Entry, content io.Reader) error { return errSoon }

// Commit completes the layer and stores it.
func (w *LayerWriter) Commit(createdBy string) (Layer, error) { return Layer{}, errSoon }

// Abort drops the layer; after Commit it does nothing.
func (w *LayerWriter) Abort() {}
