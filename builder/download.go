package builder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"

	fetched "github.com/bootandshoot/release/internal/download"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/filelock"
	"github.com/bootandshoot/release/internal/human"
)

// downloaded describes a file of the download cache.
type downloaded = fetched.Record

// download is one file on its way into the cache.
type download struct {
	b    *bake
	step string // for progress
	url  string
	want string // sha256; "" takes what comes
	from string // who says so: "the recipe" or "the lockfile"
	name string // of the pin, for release lock --update; "" is the last part of the URL
}

// maxDownload bounds a file whose size no one has promised.
const maxDownload = 64 << 30

// How long servers are waited for.
const (
	stall    = 30 * time.Second // that one sends nothing, or as good as nothing
	notice   = 10 * time.Second // until it is told, and told again
	patience = 90 * time.Second // that all tries for a file may take without a byte
)

// get gives the file's description; the file is in the cache then. What is there already is not asked for again.
func (d *download) get(ctx context.Context) (downloaded, error) {
	cache, err := fetched.Open(d.b.cache.path("downloads"))
	if err != nil {
		return downloaded{}, err
	}
	if known, ok := d.cached(cache); ok {
		return known, nil
	}
	if d.b.o.Offline {
		return downloaded{}, offline("download " + d.url)
	}
	p, err := cache.Begin(ctx, keyOf("url", d.url)[:32])
	if err != nil {
		return downloaded{}, err
	}
	defer p.Close()
	if known, ok := d.cached(cache); ok {
		return known, nil // another bake has brought it meanwhile
	}
	return d.retry(ctx, p)
}

// cached looks for a file whose hash is known. Whether it came from this URL matters only for its date, and not offline.
func (d *download) cached(cache *fetched.Cache) (downloaded, bool) {
	known, ok := cache.Lookup(d.want)
	if _, here := known.Dates[d.url]; !here && !d.b.o.Offline {
		return downloaded{}, false
	}
	return known, ok
}

// lockedFile opens a file that is ours alone as long as it is open.
func lockedFile(ctx context.Context, path string) (*os.File, error) {
	return filelock.Lock(ctx, path, 0o600, filelock.Exclusive)
}

// stillThere reports whether an open file is still the one at path: who had it locked may have moved it.
func stillThere(f *os.File, path string) bool { return filelock.StillThere(f, path) }

// retry downloads, and continues where it stopped after a failure that may pass.
func (d *download) retry(ctx context.Context, p *fetched.Partial) (downloaded, error) {
	transport := fetched.Transport()
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var done downloaded
	policy := backoff.NewExponentialBackOff(backoff.WithInitialInterval(200*time.Millisecond), backoff.WithMaxInterval(5*time.Second))
	var silent time.Duration
	try := func() error {
		var err error
		var got atomic.Int64
		began := time.Now()
		if done, err = d.once(ctx, client, p, &got); got.Load() > 0 {
			silent = 0
		} else if silent += time.Since(began); err != nil && silent >= patience {
			return backoff.Permanent(err)
		}
		return d.judge(err)
	}
	again := func(err error, wait time.Duration) {
		d.b.note(d.step, "%v; trying again in %s", err, human.Span(wait))
	}
	err := backoff.RetryNotify(try, backoff.WithContext(backoff.WithMaxRetries(policy, 4), ctx), again)
	if err == nil {
		return done, nil
	}
	if ctx.Err() != nil {
		return downloaded{}, fmt.Errorf("download %s: %w", d.url, ctx.Err())
	}
	var own *fault.Error
	if errors.As(err, &own) {
		return downloaded{}, err
	}
	return downloaded{}, fault.New(fault.Unavailable, "download %s: %w", d.url, err).
		WithHint("check the address and the network; what has come is kept and continued")
}

// once asks the server once.
func (d *download) once(ctx context.Context, client *http.Client, p *fetched.Partial, count *atomic.Int64) (downloaded, error) {
	at, err := url.Parse(d.url)
	if err != nil {
		return downloaded{}, fault.New(fault.Invalid, "download %s: %w", d.url, err)
	}
	r := fetched.Request{URL: d.url, SHA256: d.want, Max: maxDownload,
		Watch: fetched.Watch{Stall: stall, Every: notice, Got: count, Tell: func(since time.Duration) { d.b.waiting(d.step, at.Host, since) }},
		Progress: func(got, size int64) {
			d.b.report.emit(Event{Kind: Bytes, Step: d.step, Bytes: got, Size: size})
		}}
	if at.Scheme == "file" {
		return d.local(ctx, p, at.Path, r)
	}
	return p.Get(ctx, client, r)
}

// local takes a file of this machine.
func (d *download) local(ctx context.Context, p *fetched.Partial, path string, r fetched.Request) (downloaded, error) {
	in, err := os.Open(path)
	if err != nil {
		return downloaded{}, fault.New(fault.NotFound, "download %s: %w", d.url, err)
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		return downloaded{}, fault.New(fault.Invalid, "download %s: no regular file", d.url)
	}
	return p.Copy(ctx, in, r)
}

// judge says which errors another try cannot help, and what they mean.
func (d *download) judge(err error) error {
	var status *fetched.StatusError
	var content *fetched.ContentError
	var own *fault.Error
	switch {
	case errors.As(err, &status) && !status.Temporary():
		return backoff.Permanent(fault.New(fault.NotFound, "download %s: %w", d.url, err).WithHint("check the address"))
	case errors.As(err, &content) && content.Got != "":
		return backoff.Permanent(d.mismatch(content.Got))
	case errors.As(err, &content):
		return backoff.Permanent(fault.New(fault.Failed, "download %s: %w", d.url, err).WithHint("check the address"))
	case errors.As(err, &own):
		return backoff.Permanent(err)
	}
	return err
}

func (d *download) mismatch(got string) error {
	err := fault.New(fault.Failed, "download %s: its sha256 is %s, %s says %s", d.url, got, d.from, d.want)
	if d.from == "the recipe" {
		return err.WithHint("if the new file is the right one, write its sha256 into the recipe")
	}
	return err.WithHint("if the new file is the right one, make its pin anew: release lock --update %s", cmp.Or(d.name, path.Base(d.url)))
}
