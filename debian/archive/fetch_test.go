package archive

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bootandshoot/release/internal/fault"
)

const helloPath = "/debian/pool/main/hello_1.0-1_amd64.deb"

// hello is the larger package of a fresh site, and a client that knows it.
func hello(t *testing.T, o Options, before ...string) (*site, *Client, Download) {
	t.Helper()
	s := newSite(t)
	c := client(t, o)
	d := downloads(t, mustUpdate(t, c, s.source()))[0]
	d.Mirrors = append(before, d.Mirrors...)
	s.Requests()
	return s, c, d
}

func content(t *testing.T, paths []string) []byte {
	t.Helper()
	data, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// closed is the address of a server that is gone.
func closed(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	return server.URL + "/debian"
}

func TestFetch(t *testing.T) {
	var last Progress
	s := newSite(t)
	c := client(t, Options{Progress: func(p Progress) { last = p }})
	all := downloads(t, mustUpdate(t, c, s.source()))
	paths, err := c.Fetch(t.Context(), append(all, all[0]))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(content(t, paths), s.debs["hello"]) || paths[2] != paths[0] || !c.Have(all[1]) {
		t.Error("another file")
	}
	want := int64(len(s.debs["hello"]) + len(s.debs["world"]))
	if last.Done != 2 || last.Count != 2 || last.AllBytes != want || last.AllSize != want {
		t.Errorf("%+v", last)
	}
	if left, _ := filepath.Glob(filepath.Join(c.o.Cache, "downloads/partial/*")); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	s.Requests()
	if _, err := c.Fetch(t.Context(), all); err != nil || len(s.Requests()) > 0 {
		t.Error("asked again", err)
	}
}

func TestFetchResumes(t *testing.T) {
	s, c, d := hello(t, Options{})
	var ranges []string
	s.Answer(func(w http.ResponseWriter, r *http.Request) bool {
		ranges = append(ranges, r.Header.Get("Range"))
		if len(ranges) > 1 {
			return false
		}
		w.Header().Set("Content-Length", "240000")
		_, _ = w.Write(s.debs["hello"][:100000])
		panic(http.ErrAbortHandler)
	})
	paths, err := c.Fetch(t.Context(), []Download{d})
	if err != nil || !bytes.Equal(content(t, paths), s.debs["hello"]) {
		t.Fatal(err)
	}
	if len(ranges) != 2 || !strings.HasPrefix(ranges[1], "bytes=") || ranges[1] == "bytes=0-" {
		t.Errorf("ranges asked for: %q", ranges)
	}
}

func TestFetchResumesInAnotherProcess(t *testing.T) {
	for name, kept := range map[string][]byte{"a part": bytes.Repeat([]byte("hello "), 20000), "all of it": bytes.Repeat([]byte("hello "), 40000),
		"something else": make([]byte, 1000), "too much": make([]byte, 240001), "all, wrong": make([]byte, 240000)} {
		t.Run(name, func(t *testing.T) {
			s, c, d := hello(t, Options{})
			if err := os.WriteFile(filepath.Join(c.o.Cache, "downloads/partial", d.SHA256), kept, 0o600); err != nil {
				t.Fatal(err)
			}
			paths, err := c.Fetch(t.Context(), []Download{d})
			if err != nil || !bytes.Equal(content(t, paths), s.debs["hello"]) {
				t.Fatal(err)
			}
			if asked := s.Requests(); name == "all of it" && len(asked) > 0 {
				t.Errorf("asked for %v", asked)
			}
		})
	}
}

func TestFetchRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		change func([]byte) []byte
		code   fault.Code
		words  []string
	}{
		"other content": {func(b []byte) []byte { b[7] ^= 1; return b }, fault.Failed, []string{"hello 1.0-1", "sha256"}},
		"truncated":     {func(b []byte) []byte { return b[:len(b)-1] }, fault.Failed, []string{"239999 bytes", "240000"}},
		"too long":      {func(b []byte) []byte { return append(b, 0) }, fault.Failed, []string{"240001"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, c, d := hello(t, Options{})
			s.Change(d.Path, test.change)
			_, err := c.Fetch(t.Context(), []Download{d})
			refused(t, err, test.code, test.words...)
			if c.Have(d) {
				t.Error("it is in the cache")
			}
			s.publish() // repaired
			if _, err := c.Fetch(t.Context(), []Download{d}); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("endless", func(t *testing.T) {
		s, c, d := hello(t, Options{})
		var sent atomic.Int64
		s.Answer(func(w http.ResponseWriter, r *http.Request) bool {
			for piece := make([]byte, 64<<10); r.Context().Err() == nil; {
				n, err := w.Write(piece)
				if sent.Add(int64(n)); err != nil {
					return true
				}
			}
			return true
		})
		_, err := c.Fetch(t.Context(), []Download{d})
		refused(t, err, fault.Failed, "more than the 240000 bytes")
		if n := sent.Load(); n > 64<<20 {
			t.Errorf("%d bytes were sent", n)
		}
	})
	t.Run("gone", func(t *testing.T) {
		s, c, d := hello(t, Options{})
		s.Remove(d.Path)
		_, err := c.Fetch(t.Context(), []Download{d})
		refused(t, err, fault.NotFound, "404", s.URL)
		if asked := s.Requests(); len(asked) != 1 {
			t.Errorf("asked %d times", len(asked))
		}
	})
	for name, test := range map[string]struct {
		change func(*Download)
		code   fault.Code
		say    string
	}{
		"path":    {func(d *Download) { d.Path = "../../etc/passwd" }, fault.Failed, "no path below a mirror"},
		"size":    {func(d *Download) { d.Size = 0 }, fault.Failed, "size is not known"},
		"sum":     {func(d *Download) { d.SHA256 = "../" + d.SHA256[3:] }, fault.Failed, "sha256 is not known"},
		"mirrors": {func(d *Download) { d.Mirrors = nil }, fault.Invalid, "no mirror is given"},
	} {
		t.Run(name, func(t *testing.T) {
			_, c, d := hello(t, Options{})
			test.change(&d)
			if _, err := c.Fetch(t.Context(), []Download{d}); !fault.Is(err, test.code) || !strings.Contains(err.Error(), test.say) {
				t.Error(err)
			}
		})
	}
}

func TestFailover(t *testing.T) {
	t.Run("a mirror that is down", func(t *testing.T) {
		down := closed(t)
		s := newSite(t)
		c := client(t, Options{})
		x := mustUpdate(t, c, s.source(down))
		if x.Suites[0].Mirrors[0] != s.URL || c.mirrors.failed(down) == nil {
			t.Errorf("%v", x.Suites[0].Mirrors)
		}
		if _, err := c.Fetch(t.Context(), downloads(t, x)); err != nil {
			t.Error(err)
		}
	})
	t.Run("one with errors is asked once", func(t *testing.T) {
		var asked atomic.Int64
		broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			w.WriteHeader(http.StatusServiceUnavailable)
		}))
		defer broken.Close()
		s := newSite(t)
		c := client(t, Options{})
		x := mustUpdate(t, c, s.source(broken.URL))
		if _, err := c.Fetch(t.Context(), downloads(t, x)); err != nil || asked.Load() != 1 {
			t.Error(err, asked.Load())
		}
	})
	t.Run("one that has other content", func(t *testing.T) {
		bad := newSite(t)
		bad.Change(strings.TrimPrefix(helloPath, "/debian/"), func(b []byte) []byte { b[7] ^= 1; return b })
		_, c, d := hello(t, Options{}, bad.URL)
		if _, err := c.Fetch(t.Context(), []Download{d}); err != nil {
			t.Error(err)
		}
		if c.mirrors.failed(bad.URL) != nil {
			t.Error("one wrong file makes a mirror no use for others")
		}
	})
	t.Run("one that stops amid a file", func(t *testing.T) {
		bad := newSite(t)
		bad.Answer(func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Length", "240000")
			_, _ = w.Write(bad.debs["hello"][:120000])
			panic(http.ErrAbortHandler)
		})
		s, c, d := hello(t, Options{}, bad.URL)
		var began string
		s.Answer(func(_ http.ResponseWriter, r *http.Request) bool { began = r.Header.Get("Range"); return false })
		if paths, err := c.Fetch(t.Context(), []Download{d}); err != nil || !bytes.Equal(content(t, paths), s.debs["hello"]) {
			t.Error(err)
		}
		if !strings.HasPrefix(began, "bytes=") {
			t.Errorf("not continued at the other mirror: %q", began)
		}
	})
	t.Run("one whose release file is refused", func(t *testing.T) {
		bad := newSite(t) // signed by another key
		s := newSite(t)
		if x := mustUpdate(t, client(t, Options{}), s.source(bad.URL)); x.Suites[0].Mirrors[0] != s.URL {
			t.Error(x.Suites[0].Mirrors)
		}
	})
	t.Run("all down", func(t *testing.T) {
		s := newSite(t)
		source := s.source(closed(t))
		source.Mirrors[1] = closed(t)
		_, err := update(client(t, Options{}), source)
		refused(t, err, fault.Unavailable, source.Mirrors[0], source.Mirrors[1], "connection refused")
		if !strings.Contains(fault.All(err)[0].Hint, MirrorVariable) {
			t.Error(fault.All(err)[0].Hint)
		}
	})
	t.Run("the only one comes back", func(t *testing.T) {
		s, c, d := hello(t, Options{})
		var asked int
		s.Answer(func(w http.ResponseWriter, r *http.Request) bool {
			if asked++; asked > 2 {
				return false
			}
			w.WriteHeader(http.StatusBadGateway)
			return true
		})
		if _, err := c.Fetch(t.Context(), []Download{d}); err != nil || asked != 3 {
			t.Error(err, asked)
		}
	})
	t.Run("passwords are not shown", func(t *testing.T) {
		source := newSite(t).source()
		source.Mirrors = []string{strings.Replace(closed(t), "http://", "http://user:verysecret@", 1)}
		if _, err := update(client(t, Options{}), source); err == nil || strings.Contains(err.Error(), "verysecret") {
			t.Error(err)
		}
	})
}

func TestFetchIsCancelled(t *testing.T) {
	s, c, d := hello(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	s.Answer(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Length", "240000")
		_, _ = w.Write(s.debs["hello"][:120000])
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
		return true
	})
	_, err := c.Fetch(ctx, []Download{d})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	s.Answer(nil)
	if paths, err := c.Fetch(t.Context(), []Download{d}); err != nil || !bytes.Equal(content(t, paths), s.debs["hello"]) {
		t.Error(err)
	}
}

func TestSources(t *testing.T) {
	good := newSite(t).source()
	for name, change := range map[string]func(*Source){
		"no mirror":     func(s *Source) { s.Mirrors = nil },
		"ftp":           func(s *Source) { s.Mirrors = []string{"ftp://mirror.example/debian"} },
		"a file":        func(s *Source) { s.Mirrors = []string{"file:///etc"} },
		"no keyring":    func(s *Source) { s.Keyring = nil },
		"climbing":      func(s *Source) { s.Suite = "../x" },
		"no suite":      func(s *Source) { s.Suite = "" },
		"no components": func(s *Source) { s.Components = nil },
		"flat with":     func(s *Source) { s.Suite = "x/" },
		"component":     func(s *Source) { s.Components = []string{"/main"} },
	} {
		s := good
		change(&s)
		if _, err := update(client(t, Options{}), s); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, arch := range []string{"", "all", "source", "../x", "a/b"} {
		if _, err := client(t, Options{}).Update(t.Context(), []Source{good}, arch); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", arch, err)
		}
	}
}
