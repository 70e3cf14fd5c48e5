package archive

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/bootandshoot/release/internal/download"
	"github.com/bootandshoot/release/internal/fault"
)

// parallel is how many files are downloaded at a time.
const parallel = 8

// Download is a file of an archive whose size and hash are known.
type Download struct {
	Name    string   // for people: "nginx 1.22.1-9"
	Mirrors []string // in the order in which they are asked
	Path    string   // below a mirror
	Size    int64    // bytes, more than 0
	SHA256  string   // 64 hex digits, lower case

	byHash string // a path where it does not change; asked first
}

// check says what is wrong with a download.
func (d *Download) check() error {
	switch {
	case !cleanPath(d.Path):
		return fault.New(fault.Failed, "fetch %s: %q is no path below a mirror", d.Name, d.Path)
	case len(d.SHA256) != 64 || strings.Trim(d.SHA256, "0123456789abcdef") != "":
		return fault.New(fault.Failed, "fetch %s: its sha256 is not known", d.Name).WithHint("archives without SHA256 sums are not taken")
	case d.Size <= 0:
		return fault.New(fault.Failed, "fetch %s: its size is not known", d.Name)
	}
	return nil
}

// Path is where a downloaded file is or would be.
func (c *Client) Path(sha256 string) string { return c.downloads.Path(sha256) }

// Have reports whether a file is in the cache already, whole.
func (c *Client) Have(d Download) bool {
	known, ok := c.downloads.Lookup(d.SHA256)
	return ok && known.Size == d.Size
}

// Fetch brings files into the cache, several at a time, and gives their paths in the order of the downloads. What is in the
// cache is not asked for. The first file that cannot be had ends it; what has come of others is kept and continued by the next.
func (c *Client) Fetch(ctx context.Context, downloads []Download) ([]string, error) {
	paths := make([]string, len(downloads))
	missing := map[string]*Download{}
	var order []string
	report := c.newProgress()
	for i := range downloads {
		d := &downloads[i]
		if err := d.check(); err != nil {
			return nil, err
		}
		paths[i] = c.Path(d.SHA256)
		if missing[d.SHA256] == nil && !c.Have(*d) {
			missing[d.SHA256] = d
			order = append(order, d.SHA256)
			report.expect(d.Size)
		}
	}
	if c.o.Offline && len(order) > 0 {
		return nil, absent(missing, order)
	}
	// The largest first, so that none of them is left over for the end.
	slices.SortStableFunc(order, func(a, b string) int { return int(min(max(missing[b].Size-missing[a].Size, -1), 1)) })
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, sum := range order {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("fetch %s: %w", missing[sum].Name, err)
			}
			return c.fetch(ctx, c.downloads, missing[sum], report)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return paths, nil
}

// absent names what the cache has not.
func absent(missing map[string]*Download, order []string) error {
	const shown = 5
	var names []string
	for _, sum := range order[:min(shown, len(order))] {
		names = append(names, missing[sum].Name)
	}
	if len(order) > shown {
		names = append(names, fmt.Sprintf("and %d more", len(order)-shown))
	}
	return fault.New(fault.NotFound, "fetch packages offline: not in the cache: %s", strings.Join(names, ", ")).
		WithHint("run it once with the network")
}

// fetch brings one file into a cache.
func (c *Client) fetch(ctx context.Context, cache *download.Cache, d *Download, report *progress) error {
	p, err := cache.Begin(ctx, d.SHA256)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", d.Name, err)
	}
	defer p.Close()
	if known, ok := cache.Lookup(d.SHA256); ok && known.Size == d.Size { // another process brought it meanwhile
		report.at(d.SHA256, d.Name, d.Size, d.Size, true)
		return nil
	}
	t := &tour{c: c, what: "fetch " + d.Name, mirrors: d.Mirrors,
		gone:  "the mirror has other versions by now: resolve again, or use a mirror that keeps old ones",
		wrong: "the mirror is being updated or is broken: try again in some minutes, or use another one",
		ask: func(ctx context.Context, mirror string, watch download.Watch) error {
			return c.get(ctx, p, d, mirror, watch, report)
		}}
	if len(d.Mirrors) == 0 {
		return fault.New(fault.Invalid, "fetch %s: no mirror is given", d.Name)
	}
	if _, err := t.run(ctx); err != nil {
		return err
	}
	report.at(d.SHA256, d.Name, d.Size, d.Size, true)
	return nil
}

// get asks one mirror.
func (c *Client) get(ctx context.Context, p *download.Partial, d *Download, mirror string, watch download.Watch, report *progress) error {
	r := download.Request{SHA256: d.SHA256, Size: d.Size, Watch: watch,
		Progress: func(got, size int64) { report.at(d.SHA256, d.Name, got, size, false) }}
	if d.byHash != "" {
		r.URL = join(mirror, d.byHash)
		if _, err := p.Get(ctx, c.o.HTTP, r); !notFound(err) {
			return err
		}
	}
	r.URL = join(mirror, d.Path)
	_, err := p.Get(ctx, c.o.HTTP, r)
	return err
}
