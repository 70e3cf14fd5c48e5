package install

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/removal"
	"github.com/bootandshoot/release/sandbox"
)

// stage is one Install under way.
type stage struct {
	o           Options
	log         *slog.Logger
	dir         string // our folder in Work
	upper       string // what scripts and the database change
	under       []string
	packages    []*pkg
	batches     []*batch
	done        []*group // laid out so far, lowest first
	aliases     map[string]string
	below       *view          // Under only, for all goroutines
	dpkgVersion debian.Version // of the system's dpkg
	emulator    string         // for scripts of another architecture
	merged      *pkg           // holds the links of a merged /usr in a first stage

	writers chan struct{} // room for layers being written: scripts need a core too

	mu       sync.Mutex // over Progress
	unpacked int
}

// batch is what is unpacked together.
type batch struct {
	packages []*pkg
	groups   []*group
	unpack   chan struct{} // closed when all of it is unpacked
}

func newStage(o Options) (*stage, error) {
	s := &stage{o: o, log: o.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if o.Store == nil || o.Work == "" || o.Arch == "" || min(o.Epoch, o.PackagesEpoch) < 0 {
		return nil, fault.New(fault.Internal, "install packages: no store, work folder or architecture given")
	}
	if !sandbox.AllIDs() {
		return nil, fault.New(fault.Denied, "install packages: files of a Debian system belong to many users, and this account has one id").
			WithHint("%s", sandbox.IDsHint())
	}
	var err error
	if s.dir, err = os.MkdirTemp(o.Work, "install-"); err != nil {
		return nil, fmt.Errorf("install packages: %w", err)
	}
	return s, nil
}

func (s *stage) close() {
	for _, p := range s.packages {
		p.close()
	}
	for _, b := range s.batches {
		for _, g := range b.groups {
			g.close()
		}
	}
	if err := removal.Tree(s.dir); err != nil {
		s.log.Warn("cannot remove the folder of an installation", "folder", s.dir, "error", err)
	}
}

func (s *stage) tell(e Event) {
	if s.o.Progress == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.o.Progress(e)
}

func (s *stage) first() bool { return len(s.o.Under) == 0 }

func (s *stage) install(ctx context.Context) ([]images.Layer, error) {
	key := s.key()
	if s.o.Cache != nil {
		if layers, ok := s.o.Cache.Layers(key); ok {
			return layers, nil
		}
	}
	if err := s.prepare(ctx); err != nil {
		return nil, fmt.Errorf("install packages: %w", err)
	}
	layers, err := s.work(ctx)
	if err != nil {
		return nil, fmt.Errorf("install packages: %w", diskFull(err))
	}
	if s.o.Cache != nil {
		if err := s.o.Cache.KeepLayers(key, layers); err != nil {
			return nil, err
		}
	}
	return layers, nil
}

// diskFull gives the code of a full disk to an error that has none.
func diskFull(err error) error {
	var f *fault.Error
	if errors.As(err, &f) || !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return err
	}
	return fault.New(fault.NoSpace, "%w", err).WithHint("free some disk space, or set RELEASE_IMAGES_DIR to a folder on a larger disk")
}

// prepare opens what is under the stage and the packages.
func (s *stage) prepare(ctx context.Context) error {
	for _, l := range s.o.Under {
		root, err := s.o.Store.LayerRoot(ctx, l)
		if err != nil {
			return err
		}
		s.under = append(s.under, root)
	}
	slices.Reverse(s.under)
	s.upper = filepath.Join(s.dir, "upper")
	for _, d := range []string{s.upper, s.path("work"), s.path("empty"), s.path("side"), s.path("inside")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(d, 0o755); err != nil {
			return err
		}
	}
	s.below = newView(s.under)
	if err := s.likeRoot(); err != nil {
		return err
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	if err := s.emulate(); err != nil {
		return err
	}
	if err := s.makeGroups(); err != nil {
		return err
	}
	s.findAliases()
	return nil
}

func (s *stage) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// likeRoot gives the upper folder, which is what scripts see as /, the attributes of the root below.
func (s *stage) likeRoot() error {
	n := s.below.look(".")
	if n.kind != dirNode {
		return nil
	}
	if err := os.Chown(s.upper, n.uid, n.gid); err != nil {
		return err
	}
	return unix.Chmod(s.upper, n.mode)
}

// work does all that follows. Decoders fill the machine's cores, one batch after the other; scripts of a batch run while
// the next is unpacked and finished layers are written.
func (s *stage) work(ctx context.Context) ([]images.Layer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	unpacking, uctx := errgroup.WithContext(ctx)
	unpacking.SetLimit(runtime.GOMAXPROCS(0))
	writing, wctx := errgroup.WithContext(ctx)
	s.writers = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1))
	fed := make(chan error, 1)
	go func() {
		err := s.unpackAll(uctx, unpacking)
		if err != nil {
			cancel(err)
		}
		fed <- err
	}()
	err := s.runBatches(ctx, wctx, writing)
	if err != nil {
		cancel(err)
	}
	unpackErr, writeErr := <-fed, writing.Wait()
	for _, e := range []error{context.Cause(ctx), unpackErr, err, writeErr} {
		if e != nil {
			return nil, e
		}
	}
	return s.finish(ctx)
}

// runBatches brings one batch after the other to the state installed.
func (s *stage) runBatches(ctx, wctx context.Context, writing *errgroup.Group) error {
	for i, b := range s.batches {
		early := !s.first() || i > 0
		if early {
			if err := s.runPreinsts(ctx, b); err != nil {
				return err
			}
		}
		select {
		case <-b.unpack:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := s.settle(ctx, b); err != nil {
			return err
		}
		s.done = append(s.done, b.groups...)
		for _, g := range b.groups {
			writing.Go(func() error { return s.writeGroup(wctx, g) })
		}
		if err := s.configure(ctx, b, !early); err != nil {
			return err
		}
	}
	return nil
}

// finish makes the last layer and hands the folders to the store.
func (s *stage) finish(ctx context.Context) ([]images.Layer, error) {
	s.tell(Event{Kind: Phase, Line: "capture"})
	last, err := s.capture(ctx)
	if err != nil {
		return nil, err
	}
	var layers []images.Layer
	for _, g := range s.done {
		if err := s.o.Store.Adopt(ctx, g.layer, g.root, g.skipped); err != nil {
			return nil, err
		}
		layers = append(layers, g.layer)
	}
	return append(layers, last), nil
}
