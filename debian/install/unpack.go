package install

import (
	"cmp"
	"context"
	"crypto/md5" //nolint:gosec // what dpkg's database holds
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"os"
	"path"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/debian/deb"
	"github.com/bootandshoot/release/images"
)

// record is one name of a package on its way into the system.
type record struct {
	deb.Entry
	pkg  *pkg
	at   string // place in the system; "" when it has none
	disk string // where on the disk it is now; "" for what is not written: folders, hard links, what cannot be made
	md5  string // of a file, when it is wanted
	// unlisted: another package has the name now, dpkg's list is without it.
	unlisted bool
}

// unpacking is under way until done is closed; then err says how it ended.
type unpacking struct {
	stop context.CancelCauseFunc
	done chan struct{}
	err  error
}

func (s *stage) startUnpacking(ctx context.Context) {
	ctx, stop := context.WithCancelCause(ctx)
	u := &unpacking{stop: stop, done: make(chan struct{})}
	s.unpacking = u
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(runtime.GOMAXPROCS(0))
	go func() {
		defer close(u.done)
		u.err = s.unpackAll(ctx, workers)
	}()
}

// unpackAll writes all packages to their groups' folders, batch after batch.
func (s *stage) unpackAll(ctx context.Context, workers *errgroup.Group) error {
	s.tell(Event{Kind: Phase, Line: "unpack"})
	buffers := sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}
	for _, b := range s.batches {
		left := new(atomic.Int64)
		left.Store(int64(len(b.packages)))
		for _, p := range largestFirst(b.packages) {
			if ctx.Err() != nil {
				break
			}
			workers.Go(func() error {
				s.decoders <- struct{}{}
				defer func() { <-s.decoders }()
				buf := buffers.Get().(*[]byte)
				defer buffers.Put(buf)
				if err := s.unpackOne(ctx, p, *buf); err != nil {
					return p.inPackage(err)
				}
				if left.Add(-1) == 0 {
					close(b.unpack)
				}
				return nil
			})
		}
	}
	if s.o.Idle != nil && ctx.Err() == nil {
		s.o.Idle()
	}
	// Packages that were not begun any more are no success, though no worker failed.
	stopped := context.Cause(ctx)
	return cmp.Or(workers.Wait(), stopped)
}

func (s *stage) unpackOne(ctx context.Context, p *pkg, buf []byte) error {
	u := &unpacker{stage: s, pkg: p, buf: buf, want: map[string]bool{}}
	for _, c := range p.conffiles {
		u.want[c.path[1:]] = true
	}
	_, sums := p.control["md5sums"]
	u.all = !sums
	if err := p.deb.Each(ctx, u.entry); err != nil {
		return err
	}
	p.close()
	s.mu.Lock()
	s.unpacked++
	n := s.unpacked
	s.mu.Unlock()
	s.tell(Event{Kind: Unpacked, Package: p.Name, Done: n, Total: len(s.packages)})
	return nil
}

// unpacker writes one package.
type unpacker struct {
	stage *stage
	pkg   *pkg
	buf   []byte
	want  map[string]bool // files whose md5 is wanted
	all   bool            // of all files: the package brings no sums
}

func (u *unpacker) entry(e deb.Entry, content io.Reader) error {
	r := &record{Entry: e, pkg: u.pkg}
	u.pkg.records = append(u.pkg.records, r)
	if e.Type == deb.Dir {
		return refuse(e, e.Path)
	}
	dir, ok := resolve(path.Dir(e.Path), u.stage.probably)
	if !ok {
		dir = path.Dir(e.Path)
	}
	at := path.Join(dir, path.Base(e.Path))
	if err := refuse(e, at); err != nil || e.Type == deb.HardLink {
		return err
	}
	r.at = at
	err := u.write(r, r.at, content)
	if inTheWay(err) {
		err = u.aside(r, content)
	}
	if err != nil {
		return fmt.Errorf("/%s: %w", e.Path, err)
	}
	return nil
}

// probably is the system as far as it is known while packages are unpacked; settling puts right what is another way.
func (s *stage) probably(name string) *node {
	if to, ok := s.aliases[name]; ok {
		return &node{kind: linkNode, link: to}
	}
	if below := s.below.Load(); below != nil {
		return below.look(name)
	}
	return nothing
}

// write makes a record at its place in the group's folder.
func (u *unpacker) write(r *record, at string, content io.Reader) error {
	g := u.pkg.group
	r.disk = g.path(at)
	switch r.Type {
	case deb.File:
		f, err := g.createFile(at)
		if err != nil {
			return err
		}
		return u.fill(f, r, content)
	case deb.Symlink, deb.Fifo, deb.CharDevice, deb.BlockDevice:
		dir, err := g.parent(at)
		if err != nil {
			return err
		}
		defer unix.Close(dir)
		return u.stage.makeSpecial(r, dir, path.Base(at))
	}
	return nil
}

// aside keeps what found its place taken until it is known which of the two stays.
func (u *unpacker) aside(r *record, content io.Reader) error {
	dir, err := os.MkdirTemp(u.stage.path("side"), "")
	if err != nil {
		return err
	}
	r.disk = dir + "/it"
	if r.Type == deb.File {
		f, err := os.OpenFile(r.disk, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return err
		}
		return u.fill(f, r, content)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return u.stage.makeSpecial(r, fd, "it")
}

// fill writes a file and gives it what it has beside its content.
func (u *unpacker) fill(f *os.File, r *record, content io.Reader) error {
	var sum hash.Hash
	to := io.Writer(f)
	if u.all || u.want[r.Path] {
		sum = md5.New() //nolint:gosec // see above
		to = io.MultiWriter(f, sum)
	}
	_, err := io.CopyBuffer(writerOnly{to}, content, u.buf)
	if err == nil {
		err = u.stage.setAttrs(f, r)
	}
	if err := cmp.Or(err, f.Close()); err != nil {
		return err
	}
	if sum != nil {
		r.md5 = hex.EncodeToString(sum.Sum(nil))
	}
	return nil
}

func (s *stage) setAttrs(f *os.File, r *record) error {
	fd := int(f.Fd())
	if r.UID != 0 || r.GID != 0 || os.Getegid() != 0 {
		if err := unix.Fchown(fd, r.UID, r.GID); err != nil {
			return fmt.Errorf("give it to %d:%d: %w", r.UID, r.GID, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Xattrs)) {
		if err := unix.Fsetxattr(fd, name, []byte(r.Xattrs[name]), 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("set attribute %s: %w", name, err)
		}
	}
	if err := unix.Fchmod(fd, r.Mode); err != nil {
		return err
	}
	return setTime(fd, s.o.PackagesEpoch)
}

// setTime is futimens(3), which package unix lacks: its Futimes goes through /proc, at several times the cost.
func setTime(fd int, epoch int64) error {
	t := [2]unix.Timespec{{Sec: epoch}, {Sec: epoch}}
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&t[0])), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("set time: %w", errno)
	}
	return nil
}

// makeSpecial makes what is no file and no folder. A device that this process may not make is left out of the folder; the
// layer has it.
func (s *stage) makeSpecial(r *record, dir int, base string) error {
	var err error
	switch r.Type {
	case deb.Symlink:
		err = unix.Symlinkat(r.Link, dir, base)
	case deb.Fifo:
		err = unix.Mknodat(dir, base, unix.S_IFIFO|0o600, 0)
	case deb.CharDevice, deb.BlockDevice:
		kind := uint32(unix.S_IFCHR)
		if r.Type == deb.BlockDevice {
			kind = unix.S_IFBLK
		}
		err = unix.Mknodat(dir, base, kind|0o600, int(unix.Mkdev(uint32(r.Major), uint32(r.Minor))))
		if errors.Is(err, unix.EPERM) {
			r.disk = ""
			return nil
		}
	}
	if err != nil {
		return err
	}
	return s.setAttrsAt(dir, base, r.Mode, r.UID, r.GID, r.Type == deb.Symlink)
}

func (s *stage) setAttrsAt(dir int, base string, mode uint32, uid, gid int, link bool) error {
	if err := unix.Fchownat(dir, base, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("give it to %d:%d: %w", uid, gid, err)
	}
	if !link {
		if err := unix.Fchmodat(dir, base, mode, 0); err != nil {
			return err
		}
	}
	t := unix.Timespec{Sec: s.o.PackagesEpoch}
	return unix.UtimesNanoAt(dir, base, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
}

// piece is an entry of a group's layer: what it is, and where its content lies.
type piece struct {
	images.Entry
	disk string
	rec  *record
}
