package download

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"github.com/bootandshoot/release/internal/atomicfile"
)

// Copy takes the file from a reader instead of a server.
func (p *Partial) Copy(ctx context.Context, in io.Reader, r Request) (Record, error) {
	if err := errors.Join(ctx.Err(), p.f.Truncate(0)); err != nil {
		return Record{}, err
	}
	return p.take(in, r, 0, r.Size, time.Time{})
}

// take appends the content to the first have bytes under way, checks the whole and puts it into the cache. size is what the
// server announced, 0 for nothing.
func (p *Partial) take(body io.Reader, r Request, have, size int64, date time.Time) (Record, error) {
	sum := sha256.New()
	if _, err := p.f.Seek(0, io.SeekStart); err != nil {
		return Record{}, err
	}
	if n, err := io.Copy(sum, io.LimitReader(p.f, have)); err != nil || n != have {
		return Record{}, errors.Join(err, fmt.Errorf("read %s: %d of %d bytes", p.f.Name(), n, have))
	}
	limit := r.Max
	if r.Size > 0 {
		limit = r.Size
	}
	into := &counted{sum: sum, got: have, size: size, report: r.Progress}
	n, err := io.Copy(io.MultiWriter(p.f, into), io.LimitReader(body, limit-have+1))
	switch {
	case err != nil:
		return Record{}, noSpace(err)
	case have+n > limit:
		return Record{}, errors.Join(p.f.Truncate(0), &ContentError{Why: fmt.Sprintf("it has more than the %d bytes that are taken", limit)})
	case size > 0 && have+n != size:
		return Record{}, fmt.Errorf("%d of %d bytes came: %w", have+n, size, io.ErrUnexpectedEOF)
	}
	got := hex.EncodeToString(sum.Sum(nil))
	if r.SHA256 != "" && got != r.SHA256 {
		return Record{}, errors.Join(p.f.Truncate(0), p.mismatch(got, r, have))
	}
	return p.keep(r.URL, got, have+n, date)
}

// mismatch is final only for a file that came in one piece.
func (p *Partial) mismatch(got string, r Request, have int64) error {
	if have > 0 {
		return fmt.Errorf("the continued file has sha256 %s, wanted is %s", got, r.SHA256)
	}
	return &ContentError{Got: got, Why: fmt.Sprintf("its sha256 is %s, wanted is %s", got, r.SHA256)}
}

// keep moves the checked file to its name in the cache. The record goes first: with the rename the name under way is free, and
// who waits for it must find both.
func (p *Partial) keep(url, sum string, size int64, date time.Time) (Record, error) {
	if err := p.f.Sync(); err != nil {
		return Record{}, noSpace(err)
	}
	path := p.c.Path(sum)
	known := Record{}
	if !load(path+".json", &known) || known.SHA256 != sum {
		known = Record{SHA256: sum, Size: size}
	}
	if known.Dates == nil {
		known.Dates = map[string]time.Time{}
	}
	known.Dates[url] = date.UTC()
	if err := save(path+".json", known); err != nil {
		return Record{}, err
	}
	_ = os.Remove(p.f.Name() + ".json")
	if err := os.Rename(p.f.Name(), path); err != nil {
		return Record{}, err
	}
	return known, atomicfile.SyncDir(p.c.dir)
}

// counted hashes what comes and reports it, at most every tenth of a second.
type counted struct {
	sum       hash.Hash
	got, size int64
	report    func(got, size int64)
	last      time.Time
}

func (c *counted) Write(b []byte) (int, error) {
	c.sum.Write(b)
	c.got += int64(len(b))
	if now := time.Now(); c.report != nil && (now.Sub(c.last) >= 100*time.Millisecond || c.got == c.size) {
		c.last = now
		c.report(c.got, c.size)
	}
	return len(b), nil
}
