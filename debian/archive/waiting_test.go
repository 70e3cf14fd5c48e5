package archive

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/fault"
)

// hanging takes connections and never answers.
func hanging(t *testing.T) string {
	t.Helper()
	ended := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-ended:
		}
	}))
	t.Cleanup(func() { close(ended); server.Close() })
	return server.URL
}

// hurried waits for mirrors as others do, a hundred times faster.
func hurried(t *testing.T, o Options) *Client {
	t.Helper()
	c := client(t, o)
	c.stall, c.notice, c.patience = stall/100, notice/100, patience/100
	return c
}

// A mirror that hangs is told while it does; the only one is given up after some tries, with another one it is passed over.
func TestHangingMirror(t *testing.T) {
	s, bad := newSite(t), hanging(t)
	var told []Waiting
	tell := func(w Waiting) { told = append(told, w) }
	source := s.source()
	source.Mirrors = []string{bad}
	began := time.Now()
	_, err := update(hurried(t, Options{Waiting: tell}), source)
	refused(t, err, fault.Unavailable, bad, "nothing came for", "given up after")
	if took := time.Since(began); took < patience/100 || took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	if len(told) == 0 || told[0].Mirror != bad || told[0].Since < notice/100 {
		t.Errorf("told was %v", told)
	}
	told = nil
	c := hurried(t, Options{Waiting: tell})
	x := mustUpdate(t, c, s.source(bad))
	if _, err := c.Fetch(t.Context(), downloads(t, x)); err != nil {
		t.Fatal(err)
	}
	if len(told) == 0 || told[0].Mirror != bad {
		t.Errorf("told was %v", told)
	}
}

// What comes slowly but comes is not given up, however many tries it takes.
func TestMirrorThatStopsInBetween(t *testing.T) {
	s, c, d := hello(t, Options{})
	c.stall, c.patience = 50*time.Millisecond, 100*time.Millisecond
	var tries atomic.Int64
	s.Answer(func(w http.ResponseWriter, r *http.Request) bool {
		if tries.Add(1) == 4 {
			return false
		}
		var from int
		_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		if from > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, d.Size-1, d.Size))
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(s.debs["hello"][from : from+50000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	})
	if _, err := c.Fetch(t.Context(), []Download{d}); err != nil {
		t.Fatalf("after %d tries: %v", tries.Load(), err)
	}
}
