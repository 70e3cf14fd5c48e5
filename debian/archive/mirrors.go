package archive

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/bootandshoot/release/internal/download"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
)

// perHost is how many connections one host gets at a time.
const perHost = 6

// mirrors is what a run knows about mirrors.
type mirrors struct {
	mu    sync.Mutex
	down  map[string]error         // by mirror: why it is not asked again
	hosts map[string]chan struct{} // by host: a place for each connection
}

func newMirrors() *mirrors {
	return &mirrors{down: map[string]error{}, hosts: map[string]chan struct{}{}}
}

func (m *mirrors) failed(mirror string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.down[mirror]
}

func (m *mirrors) giveUp(mirror string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down[mirror] = err
}

// enter waits for a place at the mirror's host; leave gives it back.
func (m *mirrors) enter(ctx context.Context, mirror string) (leave func(), err error) {
	host := mirror
	if u, err := url.Parse(mirror); err == nil {
		host = u.Host
	}
	m.mu.Lock()
	places, ok := m.hosts[host]
	if !ok {
		places = make(chan struct{}, perHost)
		m.hosts[host] = places
	}
	m.mu.Unlock()
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// tour is one thing that is asked of mirrors until one of them has it.
type tour struct {
	c       *Client
	what    string // "fetch nginx 1.22": the beginning of the error
	mirrors []string
	ask     func(ctx context.Context, mirror string, watch download.Watch) error
	gone    string // the hint when all mirrors answer that they have it not
	wrong   string // the hint when what they have is not the right thing

	final  map[string]error // by mirror: it will not do better
	last   map[string]error // by mirror: what it did last
	silent time.Duration    // how long tries took in which nothing came, one after the other
}

// run asks until one mirror succeeds, in rounds with growing pauses between them. The winner is given back.
func (t *tour) run(ctx context.Context) (winner string, err error) {
	t.final, t.last = map[string]error{}, map[string]error{}
	round := func() error {
		winner, err = t.round(ctx)
		return err
	}
	err = backoff.Retry(round, backoff.WithContext(t.c.pauses(), ctx))
	switch {
	case err == nil:
		return winner, nil
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s: %w", t.what, context.Cause(ctx))
	}
	for _, mirror := range t.mirrors {
		if t.final[mirror] == nil && unreachable(t.last[mirror]) {
			t.c.mirrors.giveUp(mirror, t.last[mirror])
		}
	}
	return "", t.failure()
}

// round asks every mirror once that may have it.
func (t *tour) round(ctx context.Context) (string, error) {
	hope := false
	for _, mirror := range t.mirrors {
		if t.final[mirror] != nil {
			continue
		}
		if err := t.c.mirrors.failed(mirror); err != nil {
			t.last[mirror] = err
			continue
		}
		err := t.once(ctx, mirror)
		if err == nil {
			return mirror, nil
		}
		t.last[mirror] = err
		switch {
		case ctx.Err() != nil || fault.Is(err, fault.NoSpace):
			return "", backoff.Permanent(err)
		case isFinal(err):
			t.final[mirror] = err
		case unreachable(err) && t.another(mirror):
			t.c.mirrors.giveUp(mirror, err)
		default:
			hope = true
		}
		t.c.o.Log.Info("mirror failed", "doing", t.what, "mirror", redact(mirror), "error", err)
	}
	if !hope || t.silent >= t.c.patience {
		return "", backoff.Permanent(errors.New("no mirror has it"))
	}
	return "", errors.New("no mirror had it in this round")
}

func (t *tour) once(ctx context.Context, mirror string) error {
	leave, err := t.c.mirrors.enter(ctx, mirror)
	if err != nil {
		return err
	}
	defer leave()
	var got atomic.Int64
	began := time.Now()
	if err = t.ask(ctx, mirror, t.c.watch(mirror, &got)); got.Load() > 0 {
		t.silent = 0
	} else {
		t.silent += time.Since(began)
	}
	return err
}

// another reports whether a mirror is left besides this one.
func (t *tour) another(mirror string) bool {
	for _, other := range t.mirrors {
		if other != mirror && t.final[other] == nil && t.c.mirrors.failed(other) == nil {
			return true
		}
	}
	return false
}

// isFinal reports whether a mirror will not do better soon.
func isFinal(err error) bool {
	var status *download.StatusError
	var content *download.ContentError
	var own *fault.Error
	return errors.As(err, &status) && !status.Temporary() || errors.As(err, &content) || errors.As(err, &own)
}

// unreachable reports whether a mirror does not work at all, for this file or another.
func unreachable(err error) bool {
	var ask *url.Error // there was no answer
	var status *download.StatusError
	return errors.As(err, &ask) || errors.Is(err, download.ErrStalled) || errors.As(err, &status) && status.Code >= 500
}

// failure is what all mirrors said, with the class and hint that fit best.
func (t *tour) failure() error {
	var said []string
	var own *fault.Error
	var content *download.ContentError
	notFound := true
	for _, mirror := range t.mirrors {
		err := t.last[mirror]
		if err == nil {
			continue
		}
		var status *download.StatusError
		notFound = notFound && errors.As(err, &status) && (status.Code == http.StatusNotFound || status.Code == http.StatusGone)
		if own == nil {
			errors.As(err, &own)
		}
		if content == nil {
			errors.As(err, &content)
		}
		said = append(said, redact(mirror)+": "+plain(err))
	}
	text := t.what + ": " + strings.Join(said, "; ")
	switch {
	case own != nil:
		return fault.New(own.Code, "%s", text).WithHint("%s", own.Hint)
	case content != nil:
		return fault.New(fault.Failed, "%s", text).WithHint("%s", t.wrong)
	case notFound:
		return fault.New(fault.NotFound, "%s", text).WithHint("%s", t.gone)
	}
	if t.silent >= t.c.patience {
		text += fmt.Sprintf(" (given up after %s without a byte)", human.Span(t.silent.Round(time.Second)))
	}
	return fault.New(fault.Unavailable, "%s", text).
		WithHint("check the network, or give another mirror with %s; what has come is kept and continued", MirrorVariable)
}

// plain is an error without the address in front of it.
func plain(err error) string {
	var ask *url.Error
	if errors.As(err, &ask) {
		err = ask.Err
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// redact hides a password.
func redact(mirror string) string {
	if u, err := url.Parse(mirror); err == nil {
		return u.Redacted()
	}
	return mirror
}
