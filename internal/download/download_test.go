package download

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var text = bytes.Repeat([]byte("0123456789"), 10000)

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// serve answers with text; the server's first answer breaks after cut bytes.
func serve(t *testing.T, cut int, tag string) (url string, ranges *[]string) {
	t.Helper()
	ranges = new([]string)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*ranges = append(*ranges, r.Header.Get("Range"))
		w.Header().Set("ETag", tag)
		if cut > 0 && len(*ranges) == 1 {
			w.Header().Set("Content-Length", fmt.Sprint(len(text)))
			_, _ = w.Write(text[:cut])
			panic(http.ErrAbortHandler)
		}
		http.ServeContent(w, r, "", time.Unix(1700000000, 0), bytes.NewReader(text))
	}))
	t.Cleanup(server.Close)
	return server.URL + "/file", ranges
}

func open(t *testing.T) *Cache {
	t.Helper()
	c, err := Open(filepath.Join(t.TempDir(), "downloads"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func get(t *testing.T, c *Cache, r Request) (Record, error) {
	t.Helper()
	p, err := c.Begin(t.Context(), "name")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if r.Watch.Stall == 0 {
		r.Watch.Stall = time.Minute
	}
	if r.Max == 0 {
		r.Max = 1 << 20
	}
	return p.Get(t.Context(), http.DefaultClient, r)
}

func TestGet(t *testing.T) {
	url, _ := serve(t, 0, `"a"`)
	for name, r := range map[string]Request{
		"unknown": {}, "known sum": {SHA256: sumOf(text)}, "known size and sum": {SHA256: sumOf(text), Size: int64(len(text))},
	} {
		c := open(t)
		var got, size int64
		r.URL, r.Progress = url, func(g, s int64) { got, size = g, s }
		rec, err := get(t, c, r)
		if err != nil || rec.SHA256 != sumOf(text) || rec.Size != int64(len(text)) || rec.Dates[url].Unix() != 1700000000 {
			t.Errorf("%s: %+v %v", name, rec, err)
		}
		if got != rec.Size || size != rec.Size {
			t.Errorf("%s: progress %d of %d", name, got, size)
		}
		if known, ok := c.Lookup(rec.SHA256); !ok || known.Size != rec.Size {
			t.Errorf("%s: it is not in the cache", name)
		}
		if left, _ := os.ReadDir(filepath.Join(c.dir, "partial")); len(left) > 0 {
			t.Errorf("%s: %v is left", name, left)
		}
		if err := os.WriteFile(c.Path(rec.SHA256), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, ok := c.Lookup(rec.SHA256); ok {
			t.Errorf("%s: a truncated file counts", name)
		}
		if err := c.Remove(rec.SHA256); err != nil {
			t.Error(err)
		}
	}
}

func TestContinue(t *testing.T) {
	for name, test := range map[string]struct {
		sum, tag string
		parts    bool // the second request asks for the rest
	}{
		"by hash":           {sumOf(text), "", true},
		"by validator":      {"", `"a"`, true},
		"without validator": {"", `W/"weak"`, false}, // nothing says for sure that it is the same file still
	} {
		url, ranges := serve(t, 50000, test.tag)
		c := open(t)
		if _, err := get(t, c, Request{URL: url, SHA256: test.sum}); err == nil {
			t.Fatalf("%s: a cut file is taken", name)
		}
		rec, err := get(t, c, Request{URL: url, SHA256: test.sum})
		if err != nil || rec.SHA256 != sumOf(text) || ((*ranges)[1] != "") != test.parts {
			t.Errorf("%s: %v, ranges %q", name, err, *ranges)
		}
	}
}

func TestRefuse(t *testing.T) {
	url, _ := serve(t, 0, "")
	for name, r := range map[string]Request{
		"size": {SHA256: sumOf(text), Size: 99}, "sum": {SHA256: sumOf(nil)}, "too large": {Max: 1000},
	} {
		c := open(t)
		r.URL = url
		_, err := get(t, c, r)
		var content *ContentError
		if !errors.As(err, &content) {
			t.Errorf("%s: %v", name, err)
		}
		if left, _ := filepath.Glob(filepath.Join(c.dir, "*[0-9a-f]")); len(left) > 0 {
			t.Errorf("%s: %v is in the cache", name, left)
		}
	}
	missing := httptest.NewServer(http.NotFoundHandler())
	defer missing.Close()
	_, err := get(t, open(t), Request{URL: missing.URL})
	var status *StatusError
	if !errors.As(err, &status) || status.Code != 404 || status.Temporary() {
		t.Error(err)
	}
}

func TestStall(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(text)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer server.Close()
	if _, err := get(t, open(t), Request{URL: server.URL, Watch: Watch{Stall: 50 * time.Millisecond}}); !errors.Is(err, ErrStalled) {
		t.Error(err)
	}
}

func TestBeginWaits(t *testing.T) {
	c := open(t)
	p, err := c.Begin(t.Context(), "name")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Begin(ctx, "name"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	url, _ := serve(t, 0, "")
	var asked atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			p, err := c.Begin(t.Context(), "name")
			if err != nil {
				t.Error(err)
				return
			}
			defer p.Close()
			if _, ok := c.Lookup(sumOf(text)); ok {
				return
			}
			asked.Add(1)
			if _, err := p.Get(t.Context(), http.DefaultClient, Request{URL: url, SHA256: sumOf(text), Max: 1 << 20, Watch: Watch{Stall: time.Minute}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if asked.Load() != 1 {
		t.Errorf("downloaded %d times", asked.Load())
	}
}
