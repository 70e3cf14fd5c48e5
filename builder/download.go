package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/cenkalti/backoff/v4"
	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
)

// downloaded describes a file of the download cache. On disk it lies beside the file.
type downloaded struct {
	SHA256 string               `json:"sha256"`
	Size   int64                `json:"size"`
	Dates  map[string]time.Time `json:"dates"` // by URL: when it changed last, as the server said; zero if it did not
}

// partial describes a download under way: what must still hold for it to be continued.
type partial struct {
	URL      string `json:"url"`
	Validate string `json:"validate"` // strong ETag or Last-Modified; "" cannot be continued
}

// download is one file on its way into the cache.
type download struct {
	b    *bake
	step string // for progress
	url  string
	want string // sha256; "" takes what comes
	from string // who says so: "the recipe" or "the lockfile"
}

// maxDownload bounds a file whose size no one has promised.
const maxDownload = 64 << 30

// stall is how long a server may send nothing.
const stall = time.Minute

// get gives the file's description; the file is in the cache then. What is there already is not asked for again.
func (d *download) get(ctx context.Context) (downloaded, error) {
	if known, ok := d.cached(); ok {
		return known, nil
	}
	if d.b.o.Offline {
		return downloaded{}, offline("download " + d.url)
	}
	path := d.b.cache.path("downloads", "partial", keyOf("url", d.url)[:32])
	f, err := lockedFile(ctx, path)
	if err != nil {
		return downloaded{}, err
	}
	defer f.Close()
	if known, ok := d.cached(); ok {
		return known, nil // another bake has brought it meanwhile
	}
	return d.retry(ctx, f)
}

// cached looks for a file whose hash is known. Whether it came from this URL matters only for its date, and not offline.
func (d *download) cached() (downloaded, bool) {
	var known downloaded
	if d.want == "" || !d.b.cache.load(d.b.cache.path("downloads", d.want+".json"), &known) {
		return downloaded{}, false
	}
	if _, here := known.Dates[d.url]; !here && !d.b.o.Offline {
		return downloaded{}, false
	}
	fi, err := os.Stat(d.b.cache.path("downloads", d.want))
	return known, err == nil && fi.Size() == known.Size
}

// lockedFile opens a file that is ours alone as long as it is open.
func lockedFile(ctx context.Context, path string) (*os.File, error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", path, err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && stillThere(f, path) {
			return f, nil
		}
		_ = f.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for another bake that has %s: %w", path, ctx.Err())
		case <-time.After(wait):
		}
	}
}

// stillThere reports whether an open file is still the one at path: who had it locked may have moved it.
func stillThere(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(mine, there)
}

// retry downloads, and continues where it stopped after a failure that may pass.
func (d *download) retry(ctx context.Context, f *os.File) (downloaded, error) {
	var done downloaded
	policy := backoff.NewExponentialBackOff(backoff.WithInitialInterval(200*time.Millisecond), backoff.WithMaxInterval(5*time.Second))
	try := func() error {
		var err error
		done, err = d.once(ctx, f)
		return err
	}
	again := func(err error, wait time.Duration) {
		d.b.note(d.step, "%v; trying again in %s", err, wait.Round(100*time.Millisecond))
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
func (d *download) once(ctx context.Context, f *os.File) (downloaded, error) {
	at, _ := url.Parse(d.url)
	if at != nil && at.Scheme == "file" {
		return d.local(ctx, f, at.Path)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url, nil)
	if err != nil {
		return downloaded{}, backoff.Permanent(fault.New(fault.Invalid, "download %s: %w", d.url, err))
	}
	have, err := d.continueFrom(req, f)
	if err != nil {
		return downloaded{}, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true // the file is hashed as it is
	transport.ResponseHeaderTimeout = stall
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return downloaded{}, err
	}
	defer resp.Body.Close()
	if have, err = d.accept(resp, f, have); err != nil {
		return downloaded{}, err
	}
	timer := time.AfterFunc(stall, func() { cancel(fmt.Errorf("the server sent nothing for %s", stall)) })
	defer timer.Stop()
	body := &watched{r: resp.Body, timer: timer}
	date, _ := http.ParseTime(resp.Header.Get("Last-Modified"))
	size := int64(-1)
	if resp.ContentLength >= 0 {
		size = have + resp.ContentLength
	}
	done, err := d.take(f, body, have, size, date)
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return done, err
}

// watched puts off the stall timer with every read.
type watched struct {
	r     io.Reader
	timer *time.Timer
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.timer.Reset(stall)
	return n, err
}

// continueFrom asks for the rest of what f has, if it is known to be the same file still.
func (d *download) continueFrom(req *http.Request, f *os.File) (int64, error) {
	req.Header.Set("Accept-Encoding", "identity")
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	var p partial
	if fi.Size() == 0 || !d.b.cache.load(f.Name()+".json", &p) || p.URL != d.url || p.Validate == "" {
		return 0, nil
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-", fi.Size()))
	req.Header.Set("If-Range", p.Validate)
	return fi.Size(), nil
}

// accept judges the answer and gives how many bytes of f hold.
func (d *download) accept(resp *http.Response, f *os.File, have int64) (int64, error) {
	switch code := resp.StatusCode; {
	case code == http.StatusPartialContent && have > 0:
		return have, nil
	case code == http.StatusOK:
	case code == http.StatusRequestedRangeNotSatisfiable:
		return 0, errors.Join(f.Truncate(0), errors.New("the server's file is shorter than what has come of it"))
	case code == http.StatusRequestTimeout || code == http.StatusTooManyRequests || code >= 500:
		return 0, fmt.Errorf("the server answers %s", resp.Status)
	default:
		return 0, backoff.Permanent(fault.New(fault.NotFound, "download %s: the server answers %s", d.url, resp.Status).
			WithHint("check the address"))
	}
	if err := f.Truncate(0); err != nil {
		return 0, err
	}
	p := partial{URL: d.url, Validate: resp.Header.Get("Last-Modified")}
	if tag := resp.Header.Get("ETag"); len(tag) > 1 && tag[0] == '"' {
		p.Validate = tag
	}
	return 0, d.b.cache.save(f.Name()+".json", p)
}

// take appends the content to the first have bytes of f, checks the whole and puts it into the cache.
func (d *download) take(f *os.File, body io.Reader, have, size int64, date time.Time) (downloaded, error) {
	sum := sha256.New()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return downloaded{}, err
	}
	if n, err := io.Copy(sum, io.LimitReader(f, have)); err != nil || n != have {
		return downloaded{}, errors.Join(err, fmt.Errorf("read %s", f.Name()))
	}
	p := &progress{d: d, sum: sum, got: have, size: size}
	n, err := io.Copy(io.MultiWriter(f, p), io.LimitReader(body, maxDownload-have))
	if err != nil {
		return downloaded{}, err
	}
	if size >= 0 && have+n != size {
		return downloaded{}, fmt.Errorf("%d of %d bytes came: %w", have+n, size, io.ErrUnexpectedEOF)
	}
	got := hex.EncodeToString(sum.Sum(nil))
	if d.want != "" && got != d.want {
		if err := f.Truncate(0); err != nil {
			return downloaded{}, err
		}
		if have > 0 {
			return downloaded{}, fmt.Errorf("the continued file has sha256 %s, wanted is %s", got, d.want)
		}
		return downloaded{}, backoff.Permanent(d.mismatch(got))
	}
	return d.keep(f, got, have+n, date)
}

func (d *download) mismatch(got string) error {
	err := fault.New(fault.Invalid, "download %s: its sha256 is %s, %s says %s", d.url, got, d.from, d.want)
	if d.from == "the recipe" {
		return err.WithHint("if the new file is the right one, write its sha256 into the recipe")
	}
	return err.WithHint("if the new file is the right one, remove its entry from the lockfile and bake again")
}

// keep moves the checked file to its name in the cache.
func (d *download) keep(f *os.File, sum string, size int64, date time.Time) (downloaded, error) {
	if err := f.Sync(); err != nil {
		return downloaded{}, err
	}
	path := d.b.cache.path("downloads", sum)
	known := downloaded{}
	if !d.b.cache.load(path+".json", &known) || known.SHA256 != sum {
		known = downloaded{SHA256: sum, Size: size}
	}
	if known.Dates == nil {
		known.Dates = map[string]time.Time{}
	}
	known.Dates[d.url] = date.UTC()
	if err := os.Rename(f.Name(), path); err != nil {
		return downloaded{}, err
	}
	if err := atomicfile.SyncDir(d.b.cache.path("downloads")); err != nil {
		return downloaded{}, err
	}
	_ = os.Remove(f.Name() + ".json")
	return known, d.b.cache.save(path+".json", known)
}

// local takes a file of this machine.
func (d *download) local(ctx context.Context, f *os.File, path string) (downloaded, error) {
	in, err := os.Open(path)
	if err != nil {
		return downloaded{}, backoff.Permanent(fault.New(fault.NotFound, "download %s: %w", d.url, err))
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		return downloaded{}, backoff.Permanent(fault.New(fault.Invalid, "download %s: no regular file", d.url))
	}
	if err := errors.Join(ctx.Err(), f.Truncate(0)); err != nil {
		return downloaded{}, err
	}
	return d.take(f, in, 0, fi.Size(), time.Time{})
}

// progress hashes what comes and reports it, at most every 64 KiB and tenth of a second.
type progress struct {
	d         *download
	sum       hash.Hash
	got, size int64
	last      time.Time
}

func (p *progress) Write(b []byte) (int, error) {
	p.sum.Write(b)
	p.got += int64(len(b))
	if now := p.d.b.now(); now.Sub(p.last) >= 100*time.Millisecond || p.got == p.size {
		p.last = now
		p.d.b.report.emit(Event{Kind: Bytes, Step: p.d.step, Bytes: p.got, Size: max(p.size, 0)})
	}
	return len(b), nil
}
