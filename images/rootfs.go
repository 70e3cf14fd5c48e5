package images

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/internal/failpoint"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/filelock"
	"github.com/bootandshoot/release/internal/removal"
)

const (
	rootfsDir  = "rootfs"
	rootMeta   = "meta.json"
	metaSchema = 1
)

// meta describes an unpacked root.
type meta struct {
	Schema  int       `json:"schema"`
	Boot    string    `json:"boot"`   // boot id of the machine that unpacked it
	Layers  []Digest  `json:"layers"` // diff ids, lowest first
	Skipped []Skipped `json:"skipped,omitempty"`
}

// Rootfs is the folder with the image's layers flattened into one tree, unpacked at the first call. It is shared by
// everybody who uses the image: read it or mount it as a lower layer, never write to it. It stays while the image is
// listed or pinned. Owners are as recorded when the process has the ids, see the package's description.
//
// A layer that does something a root must not is fault.Invalid, with the entry named; one whose blob is not what it was is
// ErrDamaged.
func (s *Store) Rootfs(ctx context.Context, d Digest) (string, error) {
	return s.RootfsReporting(ctx, d, nil)
}

// RootfsReporting is Rootfs that says how far it is: bytes read of the layers, and how many there are. Unless the root is
// there already, report is called at the start, again and again meanwhile, and at the end, one call at a time; nil is none.
func (s *Store) RootfsReporting(ctx context.Context, d Digest, report func(done, total int64)) (string, error) {
	img, err := s.Get(d)
	if err != nil {
		return "", err
	}
	ids, err := currentIDs()
	if err != nil {
		return "", err
	}
	boot, err := bootID()
	if err != nil {
		return "", err
	}
	dir := s.path(rootfsDir, ids.variant, chainID(img.Layers))
	if ready(dir, boot) {
		return filepath.Join(dir, "root"), nil
	}
	release, err := s.Hold(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", diskError(err, "unpack image %s", d.Short())
	}
	unlock, err := lockFile(ctx, dir+".lock", filelock.Exclusive)
	if err != nil {
		return "", err
	}
	defer unlock()
	if !ready(dir, boot) {
		if err := s.unpack(ctx, unpacking{img: img, ids: ids, boot: boot, report: report}, dir); err != nil {
			return "", fmt.Errorf("unpack image %s: %w", d.Short(), err)
		}
	}
	return filepath.Join(dir, "root"), nil
}

// Skipped lists what the unpacked root of an image lacks for want of permission; nil when it is complete or not
// unpacked by this user.
func (s *Store) Skipped(d Digest) ([]Skipped, error) {
	img, err := s.Get(d)
	if err != nil {
		return nil, err
	}
	ids, err := currentIDs()
	if err != nil {
		return nil, err
	}
	m, err := readMeta(s.path(rootfsDir, ids.variant, chainID(img.Layers)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return m.Skipped, err
}

// ready reports whether dir is a whole root of this boot.
func ready(dir, boot string) bool {
	m, err := readMeta(dir)
	return err == nil && m.Schema == metaSchema && m.Boot == boot
}

func readMeta(dir string) (meta, error) {
	var m meta
	data, err := os.ReadFile(filepath.Join(dir, rootMeta))
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(data, &m)
}

func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// chainID names a stack of layers: the digest over their diff ids in order, as the OCI image specification defines
// it (config.md, "Layer ChainID"), without the algorithm.
func chainID(layers []Layer) string {
	if len(layers) == 0 {
		return DigestOf(nil).Hex()
	}
	chain := layers[0].diffID()
	for _, l := range layers[1:] {
		sum := sha256.Sum256([]byte(string(chain) + " " + string(l.diffID())))
		chain = digestFromSum(sum[:])
	}
	return chain.Hex()
}

// unpacking is a root to be made.
type unpacking struct {
	img    Image
	ids    idSpace
	boot   string
	report func(done, total int64) // may be nil
}

// unpack makes the root at dir. The caller has the root's flock and a hold.
func (s *Store) unpack(ctx context.Context, p unpacking, dir string) error {
	if err := removeRoot(dir); err != nil {
		return err
	}
	temp := dir + ".tmp"
	base, done := s.nearestRoot(p.img, filepath.Dir(dir), p.boot)
	err := errClone
	if done > 0 {
		err = s.unpackInto(ctx, p, temp, base, done)
	}
	if errors.Is(err, errClone) {
		err = s.unpackInto(ctx, p, temp, "", 0)
	}
	if err != nil {
		return errors.Join(err, removal.Tree(temp))
	}
	failpoint.Pass(failpoint.RootUnpacked)
	if err := os.Rename(temp, dir); err != nil {
		return errors.Join(err, removal.Tree(temp))
	}
	failpoint.Pass(failpoint.RootRenamed)
	return nil
}

// unpackInto makes a root in the folder temp: a clone of the root base, which holds the first done layers, and the
// other layers on top.
func (s *Store) unpackInto(ctx context.Context, p unpacking, temp, base string, done int) error {
	if err := removal.Tree(temp); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(temp, "root"), 0o755); err != nil {
		return diskError(err, "make root")
	}
	root, err := os.OpenRoot(filepath.Join(temp, "root"))
	if err != nil {
		return err
	}
	defer root.Close()
	u := newUnpacker(root, p.ids, s.limits)
	defer u.close()
	u.dirs["."] = attrs{mode: 0o755, mtime: time.Unix(0, 0)}
	if done > 0 {
		if err := u.clone(ctx, filepath.Join(base, "root")); err != nil {
			return err
		}
		under, err := readMeta(base)
		if err != nil {
			return errClone
		}
		u.skipped = under.Skipped
	}
	u.read = newReadCount(p.img.Layers[done:], p.report)
	for _, l := range p.img.Layers[done:] {
		if err := s.unpackLayer(ctx, u, l); err != nil {
			return err
		}
	}
	if err := u.finish(); err != nil {
		return err
	}
	data, err := json.Marshal(meta{Schema: metaSchema, Boot: p.boot, Layers: diffIDs(p.img.Layers), Skipped: u.skipped})
	if err != nil {
		return err
	}
	// Not synced, like all of the root: after a crash of the machine the boot id no longer fits.
	return os.WriteFile(filepath.Join(temp, rootMeta), data, 0o644)
}

func (s *Store) unpackLayer(ctx context.Context, u *unpacker, l Layer) error {
	if l.diffID() != l.Digest {
		return fault.New(fault.Invalid, "unpack layer %s: it is compressed", l.Digest.Short()).
			WithHint("import the image again: an import stores layers uncompressed")
	}
	r, err := s.OpenVerified(l.Descriptor)
	if err != nil {
		return err
	}
	defer r.Close()
	return u.layer(ctx, r, l.Size, l.Digest)
}

// readCount counts what is read of an image's layers.
type readCount struct {
	done, total int64
	report      func(done, total int64)
}

func newReadCount(layers []Layer, report func(done, total int64)) *readCount {
	c := &readCount{report: report}
	for _, l := range layers {
		c.total += l.Size
	}
	c.add(0)
	return c
}

func (c *readCount) add(n int) {
	if c == nil || c.report == nil {
		return
	}
	c.done += int64(n)
	c.report(c.done, c.total)
}

func diffIDs(layers []Layer) []Digest {
	list := make([]Digest, 0, len(layers))
	for _, l := range layers {
		list = append(list, l.diffID())
	}
	return list
}

// nearestRoot finds the root of this boot that holds most of the image's lower layers; n is how many, 0 for none.
func (s *Store) nearestRoot(img Image, variantDir, boot string) (dir string, n int) {
	want := diffIDs(img.Layers)
	entries, err := os.ReadDir(variantDir)
	if err != nil {
		return "", 0
	}
	for _, e := range entries {
		m, err := readMeta(filepath.Join(variantDir, e.Name()))
		if err != nil || m.Boot != boot || m.Schema != metaSchema || strings.HasSuffix(e.Name(), ".tmp") {
			continue
		}
		if len(m.Layers) > n && len(m.Layers) <= len(want) && slices.Equal(m.Layers, want[:len(m.Layers)]) {
			dir, n = filepath.Join(variantDir, e.Name()), len(m.Layers)
		}
	}
	return dir, n
}
