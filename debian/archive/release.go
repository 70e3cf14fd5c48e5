package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/internal/download"
	"github.com/bootandshoot/release/internal/fault"
)

// maxRelease bounds release files and their signatures. Debian's have 200 KiB.
const maxRelease = 16 << 20

// checked is a release file that was found good.
type checked struct {
	source  *Source
	mirrors []string // the one that it came from is first
	rel     *debian.Release
	signers []string // fingerprints
}

// release gets the source's release file, from a mirror or from the cache.
func (c *Client) release(ctx context.Context, s *Source) (*checked, error) {
	keys, err := parseKeyring(s.Keyring)
	if err != nil {
		return nil, fmt.Errorf("use package source %s: %w", s, err)
	}
	kept, known := c.loadRelease(s)
	if c.o.Offline {
		return c.offlineRelease(s, keys, kept, known)
	}
	var got *checked
	var fresh *record
	t := &tour{c: c, what: releaseOf(s), mirrors: s.Mirrors,
		gone:  meant(s.Suite),
		wrong: "use another mirror",
		ask: func(ctx context.Context, mirror string, watch download.Watch) error {
			if fresh, err = c.askRelease(ctx, s, mirror, watch, kept); err != nil {
				return err
			}
			got, err = c.check(s, keys, fresh)
			return err
		}}
	winner, err := t.run(ctx)
	if err != nil {
		return nil, err
	}
	got.mirrors = []string{winner}
	for _, mirror := range s.Mirrors {
		if mirror != winner {
			got.mirrors = append(got.mirrors, mirror)
		}
	}
	return got, c.keepRelease(ctx, s, got.rel.Date, kept, fresh)
}

func releaseOf(s *Source) string { return "fetch release file of " + s.String() }

func (c *Client) offlineRelease(s *Source, keys openpgp.EntityList, kept *record, known bool) (*checked, error) {
	if !known {
		return nil, fault.New(fault.NotFound, "read release file of %s offline: it was never fetched from these mirrors", s).
			WithHint("run it once with the network")
	}
	got, err := c.check(s, keys, kept)
	if err != nil {
		var own *fault.Error
		if errors.As(err, &own) {
			return nil, fault.New(own.Code, "read release file of %s offline: %w", s, err).WithHint("%s", own.Hint)
		}
		return nil, err
	}
	got.mirrors = s.Mirrors
	return got, nil
}

// askRelease asks a mirror for the release file; one that has not changed is the kept one.
func (c *Client) askRelease(ctx context.Context, s *Source, mirror string, watch download.Watch, kept *record) (*record, error) {
	address := join(mirror, s.folder(), "InRelease")
	fresh := &record{Schema: recordSchema, URL: address}
	if kept.URL != address {
		kept = &record{}
	}
	text, err := c.small(ctx, address, watch, &fresh.Validator, kept.Validator)
	if errors.Is(err, errUnchanged) {
		return kept, nil
	}
	var status *download.StatusError
	if errors.As(err, &status) && status.Code == http.StatusNotFound {
		return c.askDetached(ctx, s, mirror, watch, err)
	}
	fresh.Text = text
	return fresh, err
}

// askDetached asks for a release file with its signature in another, as old archives have it.
func (c *Client) askDetached(ctx context.Context, s *Source, mirror string, watch download.Watch, missing error) (*record, error) {
	fresh := &record{Schema: recordSchema, URL: join(mirror, s.folder(), "Release")}
	var err error
	if fresh.Text, err = c.small(ctx, fresh.URL, watch, nil, ""); err != nil {
		var status *download.StatusError
		if errors.As(err, &status) && !status.Temporary() {
			return nil, missing
		}
		return nil, err
	}
	fresh.Signature, err = c.small(ctx, fresh.URL+".gpg", watch, nil, "")
	var status *download.StatusError
	if errors.As(err, &status) && !status.Temporary() {
		return nil, fault.New(fault.Denied, "its release file is not signed").WithHint("use another mirror; unsigned archives are not taken")
	}
	return fresh, err
}

var errUnchanged = errors.New("the file has not changed")

// small gets a small file into memory. validator takes what may be given as known the next time: errUnchanged if it still is
// the same file.
func (c *Client) small(ctx context.Context, address string, watch download.Watch, validator *string, known string) ([]byte, error) {
	ctx, watching := watch.Begin(ctx)
	data, err := c.readSmall(ctx, address, watching, validator, known)
	return data, watching.End(err)
}

func (c *Client) readSmall(ctx context.Context, address string, watching *download.Watching, validator *string, known string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, &download.ContentError{Why: err.Error()}
	}
	if known != "" {
		req.Header.Set(validatorHeader(known), known)
	}
	resp, err := c.o.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch {
	case known != "" && resp.StatusCode == http.StatusNotModified:
		return nil, errUnchanged
	case resp.StatusCode != http.StatusOK:
		return nil, &download.StatusError{Status: resp.Status, Code: resp.StatusCode}
	}
	data, err := io.ReadAll(io.LimitReader(watching.Reader(resp.Body), maxRelease+1))
	if err == nil && len(data) > maxRelease {
		err = &download.ContentError{Why: fmt.Sprintf("it has more than the %d bytes that are taken", maxRelease)}
	}
	if validator != nil {
		*validator = resp.Header.Get("ETag")
		if *validator == "" {
			*validator = resp.Header.Get("Last-Modified")
		}
	}
	return data, err
}

// validatorHeader tells an ETag, which is in quotes, from a date.
func validatorHeader(validator string) string {
	if validator[0] == '"' || validator[0] == 'W' && len(validator) > 2 && validator[1] == '/' {
		return "If-None-Match"
	}
	return "If-Modified-Since"
}

// check opens a release file and refuses one that must not be used.
func (c *Client) check(s *Source, keys openpgp.EntityList, r *record) (*checked, error) {
	now := c.o.Now()
	open := func() (string, []string, error) { return openInRelease(r.Text, keys, now) }
	if r.Signature != nil {
		open = func() (string, []string, error) { return openRelease(r.Text, r.Signature, keys, now) }
	}
	text, signers, err := open()
	if err != nil {
		return nil, err
	}
	rel, err := debian.ParseRelease(r.URL, text)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(sameSuite(s, rel), c.inTime(rel, now)); err != nil {
		return nil, err
	}
	if newest := c.newest(s); rel.Date.Before(newest) && !c.o.AllowOlder && !c.o.Offline {
		return nil, fault.New(fault.Denied, "its release file is of %s, but one of %s was seen before: the mirror lags behind, or someone shows an old state",
			day(rel.Date), day(newest)).WithHint("use another mirror, or allow older release files if you mean to go back")
	}
	return &checked{source: s, rel: rel, signers: signers}, nil
}

// sameSuite refuses the signed release file of another suite.
func sameSuite(s *Source, rel *debian.Release) error {
	if s.flat() || rel.Codename == s.Suite || rel.Suite == s.Suite {
		return nil
	}
	return fault.New(fault.Denied, "its release file is for the suite %s (%s), asked for is %s", rel.Codename, rel.Suite, s.Suite).
		WithHint("check the mirror's address; if it is right, the mirror is not to be trusted")
}

func (c *Client) inTime(rel *debian.Release, now time.Time) error {
	if rel.Date.After(now.Add(Skew)) {
		return fault.New(fault.Denied, "its release file is of the future: %s, now it is %s", day(rel.Date), day(now)).
			WithHint("set this machine's clock right")
	}
	if until := rel.ValidUntil; !until.IsZero() && until.Before(now.Add(-Skew)) && !c.o.AllowExpired {
		return fault.New(fault.Denied, "its release file was valid until %s, now it is %s", day(until), day(now)).
			WithHint("use a mirror that is up to date; for an old snapshot, allow expired release files")
	}
	return nil
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
