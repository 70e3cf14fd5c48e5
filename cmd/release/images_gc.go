package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
)

// limitVariable bounds the caches also without a collection: bakes keep it.
const limitVariable = "RELEASE_CACHE_LIMIT"

// gcResult is the result of images gc.
type gcResult struct {
	api.Head
	images.Collected
}

func (c *cli) imagesGC() *cobra.Command {
	var o images.GCOptions
	var limit string
	cmd := &cobra.Command{
		Use: "gc", Short: "Remove images that nothing needs, and what bakes keep beyond a limit",
		Long: `Removes images that nothing needs, their layers, leftovers of killed commands, and the least recently used of the caches
until they fit the limit, and says for each why it stays or goes. Images stay that fleets run on or may be rolled back to, serving
and warm ones of every agent that uses this store; the newest of each name; and what came within the last hour. While a bake, an
import or a shell uses the store nothing is removed. Where this installation had fleets on EC2, AMIs are deregistered whose image is
gone, that no fleet there is made of and no release on the agent's record needs, their snapshots go with them, and snapshots go that
uploads left; the agent must answer for it.

SIZE is an amount such as 20GiB. Without --cache-limit it is that of RELEASE_CACHE_LIMIT, and without both the caches stay. Bakes
keep RELEASE_CACHE_LIMIT at their end.`,
		Example: "  release images gc --dry-run\n  release images gc --keep 3 --cache-limit 20GiB",
		Args:    noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if done, err := c.enterNamespace(); done || err != nil {
				return err // unpacked files of an ordinary user belong to ids that only exist inside
			}
			if o.Keep < 1 {
				return fault.New(fault.Invalid, "read --keep: %d is less than 1", o.Keep)
			}
			bytes, err := c.cacheLimit("--cache-limit", limit)
			if err != nil {
				return err
			}
			store, err := c.store()
			if err != nil {
				return err
			}
			o.CacheLimit = bytes
			o.Cache = func() ([]images.Cached, error) { return builder.CacheList(store) }
			res, err := store.GC(cmd.Context(), o)
			if err != nil {
				return ended(cmd.Context(), err)
			}
			amis, err := c.collectAMIs(cmd.Context(), store, res)
			res.Decisions = append(res.Decisions, amis...)
			if writeErr := c.out.result(gcResult{api.NewHead(err), res}, func(w io.Writer) { c.dataOutput().collected(w, res) }); writeErr != nil {
				return writeErr
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "say what would go, and remove nothing")
	cmd.Flags().IntVar(&o.Keep, "keep", 1, "how many of the newest images of each name stay")
	cmd.Flags().StringVar(&limit, "cache-limit", "", "`size` that caches may have, such as 20GiB; 0B empties them (default: no limit)")
	return cmd
}

// collectAMIs removes what was made at AWS of images that are gone, and what uploads left there. Without a fleet there nobody is asked.
func (c *cli) collectAMIs(ctx context.Context, store *images.Store, res images.Collected) ([]images.Decision, error) {
	settings, err := c.settings("")
	if err != nil {
		return nil, err
	}
	stateDir, err := c.stateDir()
	if err != nil {
		return nil, err
	}
	account, err := c.accountOf(stateDir, settings, store)
	if err != nil || !account.used() {
		return nil, err
	}
	d, err := account.driver()
	if err != nil {
		return nil, err
	}
	goes := map[string]bool{}
	for _, one := range res.Decisions {
		goes[one.Name] = one.Kind == "image" && !one.Keep
	}
	needed := needs(store, goes, func() (onRecord, error) { return c.onRecord(ctx) })
	collected, err := d.Collect(ctx, needed, res.DryRun)
	var decisions []images.Decision
	for _, one := range collected {
		decisions = append(decisions, images.Decision{Kind: one.Kind, Name: one.ID, As: one.Region, Keep: one.Keep, Reason: one.Reason})
	}
	return decisions, err
}

// cacheLimit reads an amount, else that of the variable; -1 without both.
func (c *cli) cacheLimit(name, text string) (int64, error) {
	if text == "" {
		name, text = limitVariable, c.getenv(limitVariable)
	}
	if text == "" {
		return -1, nil
	}
	if strings.Trim(text, "0") == "" {
		return 0, nil
	}
	var b config.Bytes
	if err := b.UnmarshalText([]byte(text)); err != nil {
		return 0, fault.New(fault.Invalid, "read %s: %w", name, err)
	}
	return int64(b), nil
}

// limitCache keeps the caches within RELEASE_CACHE_LIMIT after a bake. It is a side job: it fails no bake, while others use
// the store it is left to the next one, and it is done once in a while only.
func (c *cli) limitCache(ctx context.Context, store *images.Store) {
	if err := c.tryLimitCache(ctx, store); err != nil {
		c.out.note("%s the caches were not brought down to %s: %v", c.out.yellow("note:"), limitVariable, err)
	}
}

func (c *cli) tryLimitCache(ctx context.Context, store *images.Store) error {
	limit, err := c.cacheLimit("", "")
	if err != nil || limit < 0 {
		return err
	}
	mark := filepath.Join(store.Dir(), "cache", "limited")
	if info, err := os.Stat(mark); err == nil && time.Since(info.ModTime()) < limitPause {
		return nil
	}
	_, err = store.GC(ctx, images.GCOptions{
		CacheLimit: limit, CachesOnly: true, SpareRoots: os.Geteuid() != 0,
		Cache: func() ([]images.Cached, error) { return builder.CacheList(store) },
	})
	if fault.Is(err, fault.Busy) {
		return nil
	}
	if err != nil {
		return err
	}
	return atomicfile.Write(mark, nil, 0o644)
}

// limitPause is how long after one look at the caches the next bake looks again: it takes a moment with many files.
const limitPause = 10 * time.Minute

// collected shows a collection: images one by one, the rest by what it is and why.
func (o *output) collected(w io.Writer, res images.Collected) {
	var t table
	type group struct{ kind, reason string }
	var order []group
	count, bytes := map[group]int{}, map[group]int64{}
	keep := map[group]bool{}
	for _, d := range res.Decisions {
		if d.Kind == "image" {
			t.row(o.fate(d.Keep, res.DryRun), plain("image"), plain(shortDigest(d.Name)), plain(d.As), plain(size(d.Bytes)), plain(d.Reason))
			continue
		}
		g := group{d.Kind, d.Reason}
		if count[g] == 0 {
			order = append(order, g)
		}
		count[g]++
		bytes[g] += d.Bytes
		keep[g] = d.Keep
	}
	for _, g := range order {
		t.row(o.fate(keep[g], res.DryRun), plain(g.kind), plain(fmt.Sprint(count[g])), plain(""), plain(size(bytes[g])), plain(g.reason))
	}
	if len(t.rows) > 0 {
		fmt.Fprintln(w, strings.Join(t.lines(""), "\n"))
	}
	verb := "freed"
	if res.DryRun {
		verb = "would free"
	}
	fmt.Fprintf(w, "%s %s, caches have %s\n", verb, size(res.Freed), size(res.Cache))
}

func (o *output) fate(keep, dry bool) cell {
	switch {
	case keep:
		return cell{"kept", o.dim("kept")}
	case dry:
		return cell{"would remove", o.yellow("would remove")}
	}
	return cell{"removed", o.yellow("removed")}
}
