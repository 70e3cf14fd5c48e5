package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/filelock"
)

// partialDir holds blobs on their way from a registry: <hex>, locked (flock) by who fetches it. What is there when a
// fetch is cut is where the next one goes on.
const partialDir = "partial"

// downloader fetches blobs of one repository.
type downloader struct {
	store  *Store
	repo   name.Repository
	client *http.Client
	pause  time.Duration
	report *reporter
}

func (s *Store) newDownloader(ctx context.Context, ref name.Reference, o Remote) (*downloader, error) {
	repo := ref.Context()
	auth, err := authn.Resolve(ctx, authn.DefaultKeychain, repo)
	if err != nil {
		return nil, registryError(ref, err)
	}
	t, err := transport.NewWithContext(ctx, repo.Registry, auth, transport.NewRetry(remote.DefaultTransport), []string{repo.Scope(transport.PullScope)})
	if err != nil {
		return nil, registryError(ref, err)
	}
	return &downloader{store: s, repo: repo, client: &http.Client{Transport: t}, pause: o.pause(), report: &reporter{call: o.Progress}}, nil
}

// open fetches a blob and opens it. What is read is the content of the digest, checked; the file goes when it is closed.
func (g *downloader) open(ctx context.Context, b Descriptor) (io.ReadCloser, error) {
	if !b.Digest.Valid() || b.Size < 0 || b.Size > g.store.limits.LayerBytes {
		return nil, fault.New(fault.Invalid, "refused: a blob %q of %d bytes", string(b.Digest), b.Size)
	}
	if err := os.MkdirAll(g.store.path(partialDir), 0o755); err != nil {
		return nil, diskError(err, "fetch blob %s", b.Digest.Short())
	}
	f, err := filelock.Lock(ctx, g.store.path(partialDir, b.Digest.Hex()), 0o644, filelock.Exclusive)
	if err != nil {
		return nil, diskError(err, "fetch blob %s", b.Digest.Short())
	}
	if err := g.fetch(ctx, f, b); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &fetched{f}, nil
}

// fetched is a whole blob in a temporary file.
type fetched struct{ *os.File }

// Close removes the file while it still has the lock.
func (f *fetched) Close() error { return errors.Join(os.Remove(f.Name()), f.File.Close()) }

// fetch completes the file, in several requests if need be, and checks it.
func (g *downloader) fetch(ctx context.Context, f *os.File, b Descriptor) error {
	policy := backoff.NewExponentialBackOff(backoff.WithInitialInterval(g.pause), backoff.WithMultiplier(3), backoff.WithMaxElapsedTime(0))
	var last int64
	retries := tries - 1
	try := func() error {
		err := g.request(ctx, f, b)
		if err == nil {
			return nil
		}
		if at, serr := f.Seek(0, io.SeekEnd); serr == nil && at > last { // it gets on, so it may go on trying
			last, retries = at, tries-1
			policy.Reset()
		}
		var answer *transport.Error
		if retries--; retries < 0 || fault.CodeOf(err) == fault.Invalid || errors.Is(err, unix.ENOSPC) ||
			errors.As(err, &answer) && answer.StatusCode < http.StatusInternalServerError && answer.StatusCode != http.StatusTooManyRequests {
			return backoff.Permanent(err)
		}
		return err
	}
	if err := backoff.Retry(try, backoff.WithContext(policy, ctx)); err != nil {
		return fmt.Errorf("fetch blob %s: %w", b.Digest.Short(), diskError(err, "fetch"))
	}
	g.report.report(Transfer{Blob: b.Digest, Size: b.Size, Moved: b.Size, State: "moved"})
	return nil
}

// request asks for what is missing of a blob.
func (g *downloader) request(ctx context.Context, f *os.File, b Descriptor) error {
	at, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if at > b.Size {
		if at, err = 0, startOver(f); err != nil {
			return err
		}
	}
	if at < b.Size || b.Size == 0 && at == 0 {
		if err := g.receive(ctx, f, b, at); err != nil {
			return err
		}
	}
	return g.verify(ctx, f, b)
}

func startOver(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.Seek(0, io.SeekStart)
	return err
}

func (g *downloader) receive(ctx context.Context, f *os.File, b Descriptor, at int64) error {
	url := fmt.Sprintf("%s://%s/v2/%s/blobs/%s", g.repo.Scheme(), g.repo.RegistryStr(), g.repo.RepositoryStr(), b.Digest)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	if at > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", at))
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, http.StatusOK, http.StatusPartialContent); err != nil {
		if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
			return errors.Join(errAgain, startOver(f))
		}
		return err
	}
	if resp.StatusCode == http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", at)) {
		if resp.StatusCode == http.StatusPartialContent {
			return errors.Join(errAgain, startOver(f))
		}
		if at, err = 0, startOver(f); err != nil { // a registry that knows no ranges sends all
			return err
		}
	}
	// One byte more than is wanted shows content that is too long.
	body := g.report.reader(io.LimitReader(contextReader{ctx, resp.Body}, b.Size-at+1), b, at)
	n, err := io.CopyBuffer(writerOnly{f}, body, make([]byte, copyBuffer))
	if err == nil && at+n < b.Size {
		err = io.ErrUnexpectedEOF
	}
	return err
}

var errAgain = errors.New("the registry gave another part than was asked for")

// verify checks a whole blob and leaves the file at its beginning. Wrong content is thrown away.
func (g *downloader) verify(ctx context.Context, f *os.File, b Descriptor) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	v := newVerifier(contextReader{ctx, f})
	n, err := io.CopyBuffer(io.Discard, onlyReader{v}, make([]byte, copyBuffer))
	if err != nil {
		return err
	}
	if got := digestFromSum(v.hash.Sum(nil)); got != b.Digest || n != b.Size {
		return errors.Join(fault.New(fault.Invalid, "registry %s serves other content for blob %s: %d bytes with digest %s",
			g.repo.RegistryStr(), b.Digest, n, got).WithHint("try again; if it stays so, the registry or what is between is broken"), startOver(f))
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}
