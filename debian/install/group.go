package install

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/images"
)

const (
	firstGroups = 4       // groups of a first stage
	laterGroups = 8       // groups of the packages on top
	bigSource   = 8 << 10 // KiB that a source's packages unpack to, beyond which it has a group of its own
	maxBig      = 16      // groups of that kind: engines take some hundred layers
)

// group is what becomes one layer: the packages of some sources.
type group struct {
	name     string
	packages []*pkg
	root     string   // the folder: an overlay's lower folder
	dir      *os.File // the same, open
	layer    images.Layer
	skipped  []images.Skipped
	pieces   map[string]*piece // by path; once settled

	mu   sync.Mutex
	made map[string]bool // folders that are there
}

// makeGroups spreads the packages of each batch.
func (s *stage) makeGroups() error {
	n := laterGroups
	if s.first() {
		n = firstGroups
	}
	big := bigSources(s.packages)
	for i, b := range s.batches {
		byName := map[string]*group{}
		for _, p := range b.packages {
			name := fmt.Sprintf("packages %d of %d", hashOf(p.Source)%uint64(n)+1, n)
			if big[p.Source] {
				name = "source " + p.Source
			}
			if i > 0 {
				name += fmt.Sprintf(" (batch %d)", i+1)
			}
			g := byName[name]
			if g == nil {
				g = &group{name: name, made: map[string]bool{".": true}}
				byName[name] = g
				b.groups = append(b.groups, g)
			}
			g.packages = append(g.packages, p)
			p.group = g
		}
		// Sources of their own first: what is larger changes less often.
		slices.SortFunc(b.groups, func(x, y *group) int {
			return cmp.Or(strings.Compare(y.name[:1], x.name[:1]), strings.Compare(x.name, y.name))
		})
		for j, g := range b.groups {
			if err := g.open(s.dir, fmt.Sprintf("group-%d-%d-", i, j)); err != nil {
				return err
			}
		}
	}
	return nil
}

// bigSources are the sources that have a group of their own: the largest, by what the packages say themselves.
func bigSources(packages []*pkg) map[string]bool {
	size := map[string]int64{}
	for _, p := range packages {
		size[p.Source] += p.InstalledSize
	}
	var names []string
	for name, kib := range size {
		if kib > bigSource {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(size[b], size[a]), strings.Compare(a, b)) })
	big := map[string]bool{}
	for _, name := range names[:min(len(names), maxBig)] {
		big[name] = true
	}
	return big
}

func hashOf(text string) uint64 {
	sum := sha256.Sum256([]byte(text))
	return binary.BigEndian.Uint64(sum[:8])
}

// open makes the group's folder, with a name of its own so that its place on the disk is another one each time.
func (g *group) open(dir, name string) (err error) {
	if g.root, err = os.MkdirTemp(dir, name); err != nil {
		return err
	}
	g.dir, err = os.Open(g.root)
	return err
}

func (g *group) close() {
	if g.dir != nil {
		_ = g.dir.Close()
		g.dir = nil
	}
}

// beneath opens a name in the group's folder and follows no link on the way: a package's links lead nowhere here.
func (g *group) beneath(name string, flags int, mode uint32) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Mode: uint64(mode),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(int(g.dir.Fd()), name, &how)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		return fd, err
	}
}

// parent opens the folder of a name, which is made when missing. The caller closes it.
func (g *group) parent(name string) (int, error) {
	dir := path.Dir(name)
	if err := g.makeDir(dir); err != nil {
		return -1, err
	}
	return g.beneath(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
}

// makeDir makes a folder and those above it. Their attributes are given at the end.
func (g *group) makeDir(dir string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mkdir(dir)
}

func (g *group) mkdir(dir string) error {
	if g.made[dir] {
		return nil
	}
	if err := g.mkdir(path.Dir(dir)); err != nil {
		return err
	}
	fd, err := g.beneath(path.Dir(dir), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = unix.Mkdirat(fd, path.Base(dir), 0o755)
	if errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		if err := unix.Fstatat(fd, path.Base(dir), &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return unix.ENOTDIR
		}
		err = nil
	}
	g.made[dir] = err == nil
	return err
}

// removeFolders removes folders that were made for names which went elsewhere in the end, when a link comes in their place.
func (g *group) removeFolders(at string) error {
	info, err := os.Lstat(g.path(at))
	if err != nil || !info.IsDir() {
		return nil //nolint:nilerr // nothing is there, or what is there will be found when the name is made
	}
	var dirs []string
	err = filepath.WalkDir(g.path(at), func(dir string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			dirs = append(dirs, dir)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, dir := range slices.Backward(dirs) {
		if err := os.Remove(dir); err != nil {
			return err
		}
	}
	maps.DeleteFunc(g.made, func(dir string, _ bool) bool { return dir == at || strings.HasPrefix(dir, at+"/") })
	return nil
}

// inTheWay are the errors of a name that another one stands in the way of; settling decides which of them stays.
func inTheWay(err error) bool {
	return errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EISDIR)
}

// createFile opens a new file at a name.
func (g *group) createFile(name string) (*os.File, error) {
	if err := g.makeDir(path.Dir(name)); err != nil {
		return nil, err
	}
	fd, err := g.beneath(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (g *group) path(name string) string { return filepath.Join(g.root, name) }

// writerOnly hides everything but Write, so that io.CopyBuffer uses the buffer.
type writerOnly struct{ io.Writer }
