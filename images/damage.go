package images

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	godigest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/filelock"
)

// ErrDamaged says that a blob's bytes are not those of its digest, or cannot be read. Reading it again is no use.
var ErrDamaged = errors.New("the blob is damaged")

// damagedPrefix begins the name of a blob that was put aside, in the folder of blobs. It looks like a blob under way, so
// that nobody takes it for content.
const damagedPrefix = ".tmp-damaged-"

// OpenVerified opens a blob of size bytes (negative: as many as it has) for reading it once, from the beginning to the end,
// and checks it meanwhile: if its bytes are not those of the digest, a read fails with ErrDamaged before the last of them are
// given out. A missing blob is fault.NotFound, with what to do. The caller closes it.
func (s *Store) OpenVerified(d Descriptor) (*VerifiedBlob, error) {
	f, err := s.OpenBlob(d.Digest)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open blob %s: %w", d.Digest, err), f.Close())
	}
	if d.Size >= 0 && info.Size() != d.Size {
		return nil, errors.Join(s.wrongSize(d, f, info.Size()), f.Close())
	}
	return &VerifiedBlob{store: s, digest: d.Digest, file: f, check: newVerifier(f), size: info.Size(), left: info.Size()}, nil
}

// wrongSize says whether the blob is damaged or what names it is wrong.
func (s *Store) wrongSize(d Descriptor, f *os.File, size int64) error {
	v := newVerifier(f)
	if _, err := io.CopyBuffer(io.Discard, onlyReader{v}, make([]byte, copyBuffer)); err == nil && v.digest() == d.Digest {
		return fault.New(fault.Failed, "read blob %s: it has %d bytes, its manifest says %d", d.Digest, size, d.Size)
	}
	return s.damage(d.Digest, f, fmt.Sprintf("it has %d bytes of %d", size, d.Size))
}

// VerifiedBlob is a blob that is checked while it is read.
type VerifiedBlob struct {
	store  *Store
	digest Digest
	file   *os.File
	check  *verifier
	size   int64
	left   int64
	err    error
}

// Size is the blob's length in bytes.
func (v *VerifiedBlob) Size() int64 { return v.size }

// Read gives out the last bytes only when all were right.
func (v *VerifiedBlob) Read(p []byte) (int, error) {
	if v.err != nil || len(p) == 0 {
		return 0, v.err
	}
	n, err := v.check.Read(p)
	v.left -= int64(n)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		v.err = v.store.damage(v.digest, v.file, err.Error())
	case v.left > 0 && err == nil:
		return n, nil
	case v.left != 0:
		v.err = v.store.damage(v.digest, v.file, "its length changed while it was read")
	default:
		if got := v.check.digest(); got != v.digest {
			v.err = v.store.damage(v.digest, v.file, "its content has the digest "+string(got))
		}
	}
	if v.err != nil {
		return 0, v.err
	}
	v.err = io.EOF
	return n, nil
}

// Close closes the file.
func (v *VerifiedBlob) Close() error { return v.file.Close() }

// damage is the error of a blob that was found damaged in the open file: which blob of which image, where it lies, what to
// do. The file is put aside, so that the next bake, pull or import does not take it for the content that it should be.
// Manifests and configurations stay: others are found by them, and who makes them writes them anew in any case.
func (s *Store) damage(d Digest, f *os.File, why string) error {
	uses := s.usesOf(d)
	e := &fault.Error{Code: fault.Failed, Cause: ErrDamaged}
	e.Message = fmt.Sprintf("%s of %s is damaged: %s", uses.kind(d), uses.images(), why)
	aside := false
	if !uses.document && !isDocument(f.Name()) {
		aside = s.putAside(d, f) == nil
	}
	switch {
	case aside:
		e.Message += "; it is put aside as " + s.asidePath(d)
		e.Hint = uses.again() + "; release images verify IMAGE --content reads all that belongs to an image"
	case uses.document:
		e.Message += "; it lies in " + f.Name()
		e.Hint = uses.again() + ", which writes it anew"
	default:
		e.Message += "; it lies in " + f.Name()
		e.Hint = "remove the file, then " + uses.again()
	}
	return e
}

func (s *Store) asidePath(d Digest) string { return s.path(blobDir, damagedPrefix+d.Hex()) }

// missing is the error of a blob that an image names and the store has not.
func (s *Store) missing(d Digest) error {
	uses := s.usesOf(d)
	e := fault.New(fault.NotFound, "%s of %s is not in the image store %s", uses.kind(d), uses.images(), s.dir)
	e.Cause = fs.ErrNotExist
	if _, err := os.Lstat(s.asidePath(d)); err == nil {
		e.Message = fmt.Sprintf("%s of %s was damaged and is put aside as %s", uses.kind(d), uses.images(), s.asidePath(d))
		e.Cause = ErrDamaged
	}
	return e.WithHint("%s", uses.again())
}

// putAside renames a damaged blob, unless another one took its place since f was opened.
func (s *Store) putAside(d Digest, f *os.File) error {
	aside := s.asidePath(d)
	if !filelock.StillThere(f, s.blobPath(d)) {
		return nil
	}
	if err := os.Rename(s.blobPath(d), aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !filelock.StillThere(f, aside) { // it was written anew in this moment
		return os.Link(aside, s.blobPath(d))
	}
	return nil
}

// blobUses is what the images of the list are to a blob.
type blobUses struct {
	names    []string // of the images, for people
	role     string
	document bool // others are found by it: a manifest or a configuration
	foreign  bool // one of the images came from elsewhere
}

// usesOf looks through the list of images. It is for messages: what cannot be read is passed over.
func (s *Store) usesOf(d Digest) blobUses {
	var u blobUses
	index, err := s.readIndex()
	if err != nil {
		return u
	}
	pinned, err := s.readPins()
	if err != nil {
		return u
	}
	for p := range pinned {
		if !slices.ContainsFunc(index.Manifests, func(e ocispec.Descriptor) bool { return Digest(e.Digest) == p }) {
			index.Manifests = append(index.Manifests, ocispec.Descriptor{Digest: godigest.Digest(p)})
		}
	}
	for _, e := range index.Manifests {
		if Digest(e.Digest) == d {
			u.add("the manifest", true, e)
			continue
		}
		var m ocispec.Manifest
		data, err := os.ReadFile(s.blobPath(Digest(e.Digest)))
		if err != nil || json.Unmarshal(data, &m) != nil {
			continue
		}
		role := ""
		if Digest(m.Config.Digest) == d {
			role = "the configuration"
		}
		if i := slices.IndexFunc(m.Layers, func(l ocispec.Descriptor) bool { return Digest(l.Digest) == d }); i >= 0 {
			role = "layer"
		}
		if role != "" {
			u.add(role, role != "layer", e)
			u.foreign = u.foreign || m.Annotations[AnnotationSourceDigest] != ""
		}
	}
	return u
}

func (u *blobUses) add(role string, document bool, e ocispec.Descriptor) {
	u.role, u.document = role, u.document || document
	name := strings.TrimSpace(entryName(e) + " " + Digest(e.Digest).Short())
	if !slices.Contains(u.names, name) {
		u.names = append(u.names, name)
	}
}

func (u blobUses) kind(d Digest) string { return cmp.Or(u.role, "blob") + " " + d.Short() }

func (u blobUses) images() string {
	switch n := len(u.names); {
	case n == 0:
		return "no listed image"
	case n == 1:
		return "image " + u.names[0]
	case n > 3:
		return fmt.Sprintf("images %s and %d more", strings.Join(u.names[n-3:], ", "), n-3)
	}
	return "images " + strings.Join(u.names, ", ")
}

// again is how the content comes back.
func (u blobUses) again() string {
	if u.foreign {
		return "pull or import the image again"
	}
	return "bake the image again, or pull it again"
}
