package install

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/removal"
	"github.com/bootandshoot/release/sandbox"
)

// stage is one Install under way.
type stage struct {
	o           Options
	onTop       bool // of a system that is there
	log         *slog.Logger
	dir         string // our folder in Work
	upper       string // what scripts and the database change
	under       []string
	packages    []*pkg
	batches     []*batch
	done        []*group // laid out so far, lowest first
	aliases     map[string]string
	below       atomic.Pointer[view] // what is under, for all goroutines; nil until that is known
	dpkgVersion debian.Version       // of the system's dpkg
	emulator    string               // for scripts of another architecture
	merged      *pkg                 // holds the links of a merged /usr in a first stage

	decoders  chan struct{} // room for packages being unpacked
	writers   chan struct{} // room for layers being written: scripts need a core too
	unpacking *unpacking

	mu       sync.Mutex // over what follows, and Progress
	unpacked int
	silent   bool // nobody is told anything: it is not this installation's turn
}

// batch is what is unpacked together.
type batch struct {
	packages []*pkg
	groups   []*group
	unpack   chan struct{} // closed when all of it is unpacked
}

func newStage(o Options, onTop bool) (*stage, error) {
	s := &stage{o: o, onTop: onTop, log: o.Log, decoders: make(chan struct{}, runtime.GOMAXPROCS(0))}
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
	if s.unpacking != nil {
		s.unpacking.stop(context.Canceled)
		<-s.unpacking.done
	}
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
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.o.Progress != nil && !s.silent {
		s.o.Progress(e)
	}
}

// speak begins to tell of an installation that was silent.
func (s *stage) speak() {
	s.mu.Lock()
	s.silent = false
	n := s.unpacked
	s.mu.Unlock()
	if n < len(s.packages) {
		s.tell(Event{Kind: Phase, Line: "unpack"})
	}
}

// first reports whether the packages come on nothing.
func (s *stage) first() bool { return !s.onTop }
