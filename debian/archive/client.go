package archive

import (
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/bootandshoot/release/internal/download"
	"github.com/bootandshoot/release/internal/fault"
)

// Skew is how much the clocks of this machine and of the archive may differ.
const Skew = 5 * time.Minute

// How long mirrors are waited for.
const (
	stall    = 30 * time.Second // that one sends nothing, or as good as nothing
	notice   = 10 * time.Second // until it is told, and told again
	patience = 90 * time.Second // that all tries for one file may take without a byte
)

// Options say how a Client works. Only Cache is needed.
type Options struct {
	Cache        string           // folder
	HTTP         *http.Client     // nil: one that honours the proxy variables
	Now          func() time.Time // nil: time.Now; what dates of release files and signatures are compared with
	Offline      bool             // use the cache only
	AllowExpired bool             // take release files past their Valid-Until
	AllowOlder   bool             // take a release file that is older than one seen before
	Progress     func(Progress)   // nil: none; never called twice at once
	Waiting      func(Waiting)    // nil: none; never called twice at once
	Log          *slog.Logger     // nil: none; retries and mirrors that fail
}

// Progress says how far an Update or Fetch is. All values belong to one call of these.
type Progress struct {
	Name  string // of the file that moved on, for people
	Bytes int64  // of that file so far
	Size  int64  // of that file

	AllBytes int64 // of all files that had to be downloaded, so far
	AllSize  int64 // of all files that have to be downloaded, as far as it is known
	Done     int   // files
	Count    int   // files
}

// Waiting says that a mirror sends nothing.
type Waiting struct {
	Mirror string        // its address, without a password
	Since  time.Duration // how long so far
}

// Client is one run's access to archives: what it learns about mirrors holds as long as it. It may be used by several
// goroutines.
type Client struct {
	o         Options
	downloads *download.Cache
	indexes   *download.Cache
	mirrors   *mirrors
	pauses    func() backoff.BackOff
	packings  []string // forms of an index, best first
	reporting sync.Mutex
	told      map[string]time.Time // by mirror: when it was told last that it sends nothing

	stall, notice, patience time.Duration
}

// New makes a client and the cache's folders.
func New(o Options) (*Client, error) {
	if o.Cache == "" {
		return nil, fault.New(fault.Internal, "open package archives: no cache folder is given")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.HTTP == nil {
		o.HTTP = &http.Client{Transport: download.Transport()}
	}
	c := &Client{o: o, mirrors: newMirrors(), pauses: pauses, packings: []string{".xz", ".gz", "", ".bz2"}, told: map[string]time.Time{},
		stall: stall, notice: notice, patience: patience}
	var err error
	if c.downloads, err = download.Open(filepath.Join(o.Cache, "downloads")); err != nil {
		return nil, err
	}
	if c.indexes, err = download.Open(c.path("indexes")); err != nil {
		return nil, err
	}
	for _, folder := range []string{"releases", "newest"} {
		if err := os.MkdirAll(c.path(folder), 0o700); err != nil {
			return nil, fault.New(fault.CodeOf(err), "open package archives: %w", err)
		}
	}
	return c, nil
}

// Close lets idle connections go. The client may be used on.
func (c *Client) Close() { c.o.HTTP.CloseIdleConnections() }

func (c *Client) path(elem ...string) string {
	return filepath.Join(append([]string{c.o.Cache, "archive"}, elem...)...)
}

// pauses between the tries of one file: four more tries within some seconds.
func pauses() backoff.BackOff {
	return backoff.WithMaxRetries(backoff.NewExponentialBackOff(backoff.WithInitialInterval(200*time.Millisecond),
		backoff.WithMaxInterval(5*time.Second)), 4)
}

// watch is for a request to a mirror. Of all requests that wait for it at the same time, one tells so.
func (c *Client) watch(mirror string, got *atomic.Int64) download.Watch {
	w := download.Watch{Stall: c.stall, Every: c.notice, Got: got}
	if c.o.Waiting != nil {
		w.Tell = func(since time.Duration) { c.waiting(mirror, since) }
	}
	return w
}

func (c *Client) waiting(mirror string, since time.Duration) {
	c.reporting.Lock()
	defer c.reporting.Unlock()
	if last, ok := c.told[mirror]; ok && time.Since(last) < c.notice/2 {
		return
	}
	c.told[mirror] = time.Now()
	c.o.Waiting(Waiting{Mirror: redact(mirror), Since: since})
}

// progress adds up the files of one call.
type progress struct {
	c    *Client
	last Progress
	got  map[string]int64
}

func (c *Client) newProgress() *progress { return &progress{c: c, got: map[string]int64{}} }

// expect adds a file that has to be downloaded.
func (p *progress) expect(size int64) {
	p.c.reporting.Lock()
	defer p.c.reporting.Unlock()
	p.last.AllSize += size
	p.last.Count++
}

// at reports how far a file is, by its key.
func (p *progress) at(key, name string, got, size int64, done bool) {
	p.c.reporting.Lock()
	defer p.c.reporting.Unlock()
	p.last.AllBytes += got - p.got[key]
	p.got[key] = got
	p.last.Name, p.last.Bytes, p.last.Size = name, got, size
	if done {
		p.last.Done++
	}
	if p.c.o.Progress != nil {
		p.c.o.Progress(p.last)
	}
}
