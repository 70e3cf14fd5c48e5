package install

import (
	"context"
	"fmt"
	"slices"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/images/upper"
)

// writeGroup makes the layer of a group that is settled.
func (s *stage) writeGroup(ctx context.Context, g *group) error {
	select {
	case s.writers <- struct{}{}:
		defer func() { <-s.writers }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	list := make([]upper.Piece, 0, len(g.pieces))
	for _, p := range g.pieces {
		u := upper.Piece{Entry: p.Entry}
		if p.disk != "" && p.Entry.Type == 0 {
			u.Open = upper.Opener(p.disk)
		}
		list = append(list, u)
	}
	slices.SortFunc(list, func(a, b upper.Piece) int { return upper.Compare(a.Path, b.Path) })
	w, err := upper.Write(ctx, s.o.Store, s.o.PackagesEpoch, list)
	if err != nil {
		return fmt.Errorf("write layer of %s: %w", g.name, err)
	}
	defer w.Abort()
	g.layer, err = w.Commit(debian.PackageLayer(g.name))
	return err
}
