package download

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// slow gives pieces of a size, each after a while, until its context ends or there are no more.
type slow struct {
	ctx   context.Context
	after time.Duration
	size  int
	left  int
}

func (s *slow) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	s.left--
	select {
	case <-time.After(s.after):
		return min(s.size, len(p)), nil
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	}
}

func TestWatch(t *testing.T) {
	for name, c := range map[string]struct {
		begin time.Duration // until the answer begins
		piece slow
		pause time.Duration // of who reads
		err   string        // "" for none
		took  time.Duration
		told  string // seconds
	}{
		"no answer":         {begin: time.Hour, err: "nothing came for 30 s", took: 30 * time.Second, told: "10 20"},
		"nothing follows":   {begin: time.Second, piece: slow{after: time.Hour, size: 1, left: 1}, err: "nothing came for 30 s", took: 31 * time.Second, told: "10 20"},
		"a trickle":         {piece: slow{after: 4 * time.Second, size: 10, left: 1000}, err: "only 70 bytes came for 30 s", took: 30 * time.Second, told: "10 20"},
		"slow":              {piece: slow{after: 12 * time.Second, size: 2048, left: 4}, took: 48 * time.Second, told: "10 10 10 10"},
		"a slow reader":     {piece: slow{after: time.Second, size: 10, left: 5}, pause: time.Hour, took: 5*time.Hour + 5*time.Second},
		"a trickle that is": {piece: slow{after: 9 * time.Second, size: 512, left: 20}, took: 180 * time.Second, told: strings.Repeat("10 ", 9) + "10"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told []string
				var got atomic.Int64
				w := Watch{Stall: 30 * time.Second, Every: 10 * time.Second, Got: &got, Tell: func(since time.Duration) { told = append(told, fmt.Sprint(since.Seconds())) }}
				began := time.Now()
				ctx, watching := w.Begin(t.Context())
				err := read(ctx, watching, c.begin, c.piece, c.pause)
				took := time.Since(began)
				if err = watching.End(err); err == nil && c.err != "" || err != nil && (c.err == "" || !errors.Is(err, ErrStalled) || !strings.Contains(err.Error(), c.err)) {
					t.Errorf("%v, want %q", err, c.err)
				}
				time.Sleep(time.Hour) // nothing is told after the end
				// At the very end both timers go off, and either may be first.
				if told = slices.DeleteFunc(told, func(s string) bool { return s == "30" }); strings.Join(told, " ") != c.told || took != c.took {
					t.Errorf("it took %s and was told at %v, want %s and %s", took, told, c.took, c.told)
				}
				if want := int64(c.piece.size * c.piece.left); c.err == "" && got.Load() != want {
					t.Errorf("%d bytes, want %d", got.Load(), want)
				}
			})
		})
	}
}

func read(ctx context.Context, w *Watching, begin time.Duration, s slow, pause time.Duration) error {
	select {
	case <-time.After(begin):
	case <-ctx.Done():
		return ctx.Err()
	}
	s.ctx = ctx
	r := w.Reader(&s)
	for buf := make([]byte, 4096); ; time.Sleep(pause) {
		if _, err := r.Read(buf); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// A server that takes the connection and never answers is given up, too.
func TestStallBeforeTheAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer server.Close()
	told := make(chan time.Duration, 100)
	w := Watch{Stall: time.Second, Every: 50 * time.Millisecond, Tell: func(since time.Duration) { told <- since }}
	if _, err := get(t, open(t), Request{URL: server.URL, Watch: w}); !errors.Is(err, ErrStalled) {
		t.Error(err)
	}
	if len(told) == 0 {
		t.Error("nothing was told")
	}
}
