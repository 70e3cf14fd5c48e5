package images

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/bootandshoot/release/internal/fault"
)

// Transfer is one step of a push or pull, for showing progress.
type Transfer struct {
	Blob  Digest
	Size  int64  // bytes of the blob as it moves
	Moved int64  // of them so far
	State string // moving, moved; there: it was there already; mounted: the registry took it from another repository
}

// Remote is how a registry is spoken to. Credentials come from the Docker configuration, its helpers included.
type Remote struct {
	Reference string         // registry/name:tag; for a pull also registry/name@sha256:…
	PlainHTTP bool           // also without TLS; registries on loopback addresses may always be
	Progress  func(Transfer) // may be nil; called from several goroutines, one at a time
	Pause     time.Duration  // before the first retry, then three times as long each; 0 is a second
}

// tries is how often one request or blob is tried when the network or the registry fails in a way that may pass.
const tries = 4

func (r Remote) parse() (name.Reference, error) {
	ref, err := name.ParseReference(r.Reference)
	if err != nil {
		return nil, fault.New(fault.Invalid, "read reference: %w", err).
			WithHint("want registry/name:tag or registry/name@sha256:…")
	}
	host, _, err := net.SplitHostPort(ref.Context().RegistryStr())
	if err != nil {
		host = ref.Context().RegistryStr()
	}
	if ip := net.ParseIP(strings.Trim(host, "[]")); !r.PlainHTTP && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return ref, nil
	}
	return name.ParseReference(r.Reference, name.Insecure)
}

// options are those of every request; t sees them all.
func (r Remote) options(ctx context.Context, t http.RoundTripper) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithTransport(boundedRedirects{t}), remote.WithJobs(transferJobs),
		remote.WithUserAgent("release"),
		remote.WithRetryBackoff(remote.Backoff{Duration: r.pause(), Factor: 3, Jitter: 0.1, Steps: tries}),
	}
}

// transferJobs is how many blobs move at the same time.
const transferJobs = 4

func (r Remote) pause() time.Duration {
	if r.Pause == 0 {
		return time.Second
	}
	return r.Pause
}

// reporter hands progress on, one call at a time.
type reporter struct {
	mu   sync.Mutex
	call func(Transfer)
}

func (p *reporter) report(t Transfer) {
	if p.call == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.call(t)
}

// reader reports what is read through it.
func (p *reporter) reader(r io.Reader, d Descriptor, from int64) io.Reader {
	return &reportingReader{r: r, to: p, t: Transfer{Blob: d.Digest, Size: d.Size, Moved: from, State: "moving"}}
}

type reportingReader struct {
	r  io.Reader
	to *reporter
	t  Transfer
}

func (r *reportingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if n > 0 {
		r.t.Moved += int64(n)
		r.to.report(r.t)
	}
	return n, err
}

// meter watches the requests of a push and notes what became of each blob.
type meter struct {
	next   http.RoundTripper
	mu     sync.Mutex
	states map[Digest]string
}

// RoundTrip notes answers that say that a blob need not move.
func (m *meter) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := m.next.RoundTrip(r)
	if err != nil {
		return resp, err
	}
	_, last, _ := cutLast(r.URL.Path, "/blobs/")
	switch d := Digest(last); {
	case r.Method == http.MethodHead && d.Valid() && resp.StatusCode == http.StatusOK:
		m.note(d, "there")
	case r.Method == http.MethodPost && resp.StatusCode == http.StatusCreated && strings.HasSuffix(r.URL.Path, "/blobs/uploads/"):
		m.note(Digest(r.URL.Query().Get("mount")), "mounted")
	case r.Method == http.MethodPut && resp.StatusCode == http.StatusCreated:
		if q, err := url.ParseQuery(r.URL.RawQuery); err == nil && q.Get("digest") != "" {
			m.note(Digest(q.Get("digest")), "moved")
		}
	}
	return resp, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func (m *meter) note(d Digest, state string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.states[d] = state
}

func (m *meter) state(d Digest) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.states[d]
}
