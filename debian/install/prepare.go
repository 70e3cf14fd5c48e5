package install

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// begin does what needs nothing of what the packages come on.
func (s *stage) begin(ctx context.Context) error {
	if err := s.makeFolders(); err != nil {
		return err
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	if err := s.makeGroups(); err != nil {
		return err
	}
	s.findAliases()
	return s.emulate()
}

// makeFolders makes the stage's folders but those of groups.
func (s *stage) makeFolders() (err error) {
	spread(s.dir)
	if s.upper, err = os.MkdirTemp(s.dir, "upper-"); err != nil {
		return err
	}
	for _, d := range []string{s.path("work"), s.path("empty"), s.path("side"), s.path("inside")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(d, 0o755); err != nil {
			return err
		}
	}
	spread(s.upper) // scripts make and remove many files in it, which it need not be slowed down by
	return os.Chmod(s.upper, 0o755)
}

// attach opens what is under the stage, and holds the packages against it.
func (s *stage) attach(ctx context.Context) error {
	for _, l := range s.o.Under {
		root, err := s.o.Store.LayerRoot(ctx, l)
		if err != nil {
			return err
		}
		s.under = append(s.under, root)
	}
	slices.Reverse(s.under)
	below := newView(s.under)
	s.below.Store(below)
	if err := s.likeRoot(below); err != nil {
		return err
	}
	return s.checkInstalled(below)
}

// likeRoot gives the upper folder, which is what scripts see as /, the attributes of the root below.
func (s *stage) likeRoot(below *view) error {
	n := below.look(".")
	if n.kind != dirNode {
		return nil
	}
	if err := os.Chown(s.upper, n.uid, n.gid); err != nil {
		return err
	}
	return unix.Chmod(s.upper, n.mode)
}

func (s *stage) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}
