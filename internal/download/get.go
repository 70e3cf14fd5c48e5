package download

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bootandshoot/release/internal/filelock"
)

// Request is one file from one server.
type Request struct {
	URL      string
	SHA256   string // "" takes what comes
	Size     int64  // bytes; 0 when it is not known
	Max      int64  // bytes that a file of unknown size may have
	Watch    Watch
	Progress func(got, size int64) // bytes; size 0 is unknown. At most ten times a second, and at the end; may be nil
}

// StatusError is an answer of a server that has not the file.
type StatusError struct {
	Status string
	Code   int
}

func (e *StatusError) Error() string { return "the server answers " + e.Status }

// Temporary reports whether the server may answer otherwise soon.
func (e *StatusError) Temporary() bool {
	return e.Code == http.StatusRequestTimeout || e.Code == http.StatusTooManyRequests || e.Code >= 500
}

// ContentError is a file that is not the one that was wanted.
type ContentError struct {
	Got string // its sha256; "" when it was not read to its end
	Why string
}

func (e *ContentError) Error() string { return e.Why }

// Transport is for downloads: what comes is hashed as it is.
func Transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableCompression = true
	t.MaxIdleConnsPerHost = 8
	return t
}

// Partial is a file under way that is ours alone until Close.
type Partial struct {
	c *Cache
	f *os.File
}

// Begin locks the file under way of this name, which must be the same for the same file: a hash. It waits for another
// process that has it: look into the cache again after Begin.
func (c *Cache) Begin(ctx context.Context, name string) (*Partial, error) {
	f, err := filelock.Lock(ctx, filepath.Join(c.dir, "partial", name), 0o600, filelock.Exclusive)
	if err != nil {
		return nil, noSpace(err)
	}
	return &Partial{c: c, f: f}, nil
}

// Close lets go of the file. What has come of it stays; nothing is left of one of which nothing came.
func (p *Partial) Close() error {
	if fi, err := p.f.Stat(); err == nil && fi.Size() == 0 && filelock.StillThere(p.f, p.f.Name()) {
		_ = os.Remove(p.f.Name())
		_ = os.Remove(p.f.Name() + ".json")
	}
	return p.f.Close()
}

// Get asks the server once for the file, or for the rest of it, and puts it into the cache when it is whole and right.
func (p *Partial) Get(ctx context.Context, client *http.Client, r Request) (Record, error) {
	have, err := p.have(r)
	if err != nil {
		return Record{}, err
	}
	if r.Size > 0 && have == r.Size { // it came whole, and who asked for it ended before it was checked
		return p.take(strings.NewReader(""), r, have, r.Size, time.Time{})
	}
	ctx, watching := r.Watch.Begin(ctx)
	done, err := p.request(ctx, client, r, have, watching)
	return done, watching.End(err)
}

func (p *Partial) request(ctx context.Context, client *http.Client, r Request, have int64, watching *Watching) (Record, error) {
	resp, err := p.ask(ctx, client, r, have)
	if err != nil {
		return Record{}, err
	}
	defer resp.Body.Close()
	if have, err = p.accept(resp, r, have); err != nil {
		return Record{}, err
	}
	size := r.Size
	if resp.ContentLength >= 0 {
		size = have + resp.ContentLength
	}
	if err := p.checkSize(r, size); err != nil {
		return Record{}, err
	}
	date, _ := http.ParseTime(resp.Header.Get("Last-Modified"))
	return p.take(watching.Reader(resp.Body), r, have, size, date)
}

// have is how many bytes are here already; more than the file has are none.
func (p *Partial) have(r Request) (int64, error) {
	fi, err := p.f.Stat()
	if err != nil {
		return 0, err
	}
	if r.Size > 0 && fi.Size() > r.Size {
		return 0, p.f.Truncate(0)
	}
	return fi.Size(), nil
}

func (p *Partial) ask(ctx context.Context, client *http.Client, r Request, have int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL, nil)
	if err != nil {
		return nil, &ContentError{Why: err.Error()}
	}
	req.Header.Set("Accept-Encoding", "identity")
	var v validator
	switch {
	case have == 0:
	case r.SHA256 != "":
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	case load(p.f.Name()+".json", &v) && v.URL == r.URL && v.Validate != "":
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
		req.Header.Set("If-Range", v.Validate)
	}
	return client.Do(req)
}

// accept judges the answer and gives how many bytes of the file under way hold.
func (p *Partial) accept(resp *http.Response, r Request, have int64) (int64, error) {
	switch code := resp.StatusCode; {
	case code == http.StatusPartialContent && have > 0:
		if at := resp.Header.Get("Content-Range"); !strings.HasPrefix(at, fmt.Sprintf("bytes %d-", have)) {
			return 0, errors.Join(p.f.Truncate(0), fmt.Errorf("the server sends another range than was asked for: %q", at))
		}
		return have, nil
	case code == http.StatusOK:
	case code == http.StatusRequestedRangeNotSatisfiable:
		return 0, errors.Join(p.f.Truncate(0), errors.New("the server's file is shorter than what has come of it"))
	default:
		return 0, &StatusError{Status: resp.Status, Code: code}
	}
	if err := p.f.Truncate(0); err != nil {
		return 0, err
	}
	if r.SHA256 != "" {
		return 0, nil
	}
	v := validator{URL: r.URL, Validate: resp.Header.Get("Last-Modified")}
	if tag := resp.Header.Get("ETag"); len(tag) > 1 && tag[0] == '"' {
		v.Validate = tag
	}
	return 0, save(p.f.Name()+".json", v)
}

// checkSize refuses a file of another size before it comes.
func (p *Partial) checkSize(r Request, size int64) error {
	switch {
	case r.Size > 0 && size != r.Size:
		return &ContentError{Why: fmt.Sprintf("it has %d bytes there, wanted are %d", size, r.Size)}
	case r.Size == 0 && size > r.Max:
		return &ContentError{Why: fmt.Sprintf("it has %d bytes, more than the %d that are taken", size, r.Max)}
	}
	return nil
}
