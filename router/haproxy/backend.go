package haproxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// Backend applies tables to HAProxys. It is safe for concurrent use.
type Backend struct {
	edges []*edge

	mu sync.Mutex // one Apply at a time
}

var _ router.Backend = (*Backend)(nil)

// New does not speak to HAProxy yet, and writes nothing.
func New(cfg Config) (*Backend, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	b := &Backend{}
	for _, e := range cfg.Edges {
		b.edges = append(b.edges, newEdge(e, cfg.Log))
	}
	return b, nil
}

// Prepare makes the edges' folders, with a configuration that has no routes where there is none yet, so that HAProxy can
// start.
func (b *Backend) Prepare() error {
	for _, e := range b.edges {
		if err := e.folder.make(); err != nil {
			return err
		}
	}
	return nil
}

// Apply implements router.Backend. An edge that does not answer is not waited for: it gets the table on its disk, and is
// brought to it when it answers again and did not read it there. When none answers, the error is ErrUnavailable.
func (b *Backend) Apply(ctx context.Context, t router.Table) error {
	if err := t.Validate(); err != nil {
		return err
	}
	if err := supports(t); err != nil {
		return err
	}
	p, err := pack(t.Canonical())
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("apply table %s: %w", t.Version, err)
	}
	turns := make([]*turn, len(b.edges))
	defer func() {
		for _, u := range turns {
			u.end()
		}
	}()
	err = b.each(func(i int, e *edge) (err error) {
		turns[i], err = e.begin(ctx, p)
		return err
	})
	if err != nil {
		return err
	}
	for i := range p.table.Routes {
		if err := checkTLS(&p.table.Routes[i]); err != nil {
			return err
		}
	}
	for _, do := range []func(*turn) error{(*turn).check, (*turn).commit, func(u *turn) error { return u.effect(ctx) }} {
		if err := b.each(func(i int, _ *edge) error { return do(turns[i]) }); err != nil {
			return b.settle(ctx, turns, err)
		}
	}
	for _, u := range turns {
		if u.away == nil {
			return nil
		}
	}
	return turns[0].away
}

// settle takes a table back that an edge refused. One that may be in effect somewhere stays: it is applied again.
func (b *Backend) settle(ctx context.Context, turns []*turn, err error) error {
	if errors.Is(err, router.ErrUnavailable) || ctx.Err() != nil || errors.Is(err, errGone) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), backTimeout)
	defer cancel()
	back := b.each(func(i int, _ *edge) error { return turns[i].back(ctx) })
	if back != nil {
		return fmt.Errorf("%w; and the table before could not be brought back: %w", err, back)
	}
	return err
}

// each does something for all edges at the same time. The error is that of the first edge with one; refusals come before
// edges that do not answer.
func (b *Backend) each(do func(int, *edge) error) error {
	errs := make([]error, len(b.edges))
	var wg sync.WaitGroup
	for i, e := range b.edges {
		wg.Go(func() { errs[i] = do(i, e) })
	}
	wg.Wait()
	slices.SortStableFunc(errs, func(x, y error) int { return rank(x) - rank(y) })
	return errs[0]
}

func rank(err error) int {
	switch {
	case err == nil:
		return 2
	case errors.Is(err, router.ErrUnavailable):
		return 1
	}
	return 0
}

// Applied implements router.Backend. A table that is on disk, but not in effect, was being applied when its agent ended: it is
// made effective first. One that is in effect, but not on disk, is written there.
func (b *Backend) Applied(ctx context.Context) (router.Table, error) {
	tables, settled := make([]router.Table, len(b.edges)), make([]bool, len(b.edges))
	errs := make([]error, len(b.edges))
	_ = b.each(func(i int, e *edge) error {
		tables[i], settled[i], errs[i] = e.applied(ctx)
		return nil
	})
	away := 0
	for _, err := range errs {
		switch {
		case errors.Is(err, router.ErrUnavailable):
			away++
		case err != nil && !errors.Is(err, router.ErrNoTable):
			return router.Table{}, err
		}
	}
	if away == len(b.edges) {
		return router.Table{}, errs[0]
	}
	newest := slices.MaxFunc(tables, func(x, y router.Table) int { return x.Version.Compare(y.Version) })
	if newest.Schema == 0 {
		return router.Table{}, router.ErrNoTable
	}
	for i, t := range tables {
		if errs[i] == nil && settled[i] && t.Version == newest.Version || errors.Is(errs[i], router.ErrUnavailable) {
			continue
		}
		if err := b.Apply(ctx, newest); err != nil && !errors.Is(err, router.ErrUnavailable) {
			return router.Table{}, err
		}
		break
	}
	return newest, nil
}

// refusal says that HAProxy did not take the configuration, and for which routes' sake that may be.
func refusal(e *edge, routes []string) error {
	return fault.New(fault.Failed, "reload haproxy at %s with route %s: it refused the configuration", e.Socket, quoted(routes)).
		WithHint("its log says why (journalctl -u haproxy), and so does: haproxy -c with its -f options; the configuration before is back in place")
}

func quoted(names []string) string {
	var out []string
	for _, n := range names {
		out = append(out, fmt.Sprintf("%q", n))
	}
	return strings.Join(out, ", ")
}
