package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/internal/fault"
)

// harms are what may happen to the file of a blob.
func harms() map[string]func(data []byte) []byte {
	flip := func(at int) func([]byte) []byte {
		return func(data []byte) []byte { data[at] ^= 0x20; return data }
	}
	return map[string]func([]byte) []byte{
		"header":    flip(110), // within the first header: no checksum of it fits any more
		"content":   flip(700),
		"end":       func(data []byte) []byte { data[len(data)-1] ^= 1; return data },
		"truncated": func(data []byte) []byte { return data[:900] },
		"between":   func(data []byte) []byte { return data[:1024] }, // a whole tar for who does not look at the end
		"empty":     func([]byte) []byte { return nil },
		"longer":    func(data []byte) []byte { return append(data, 0) },
	}
}

// largeLayer has more than one buffer of copies holds, so that not all of it is checked before some is given out.
func largeLayer(t testing.TB, s *Store) Layer {
	return fileLayer(t, s, "large", strings.Repeat("release", copyBuffer/5))
}

// Wherever a layer is read, a damaged one is said to be damaged: which layer, of which image, where it lies and what to do. It
// is put aside, and made anew by whoever makes it.
func TestDamagedLayer(t *testing.T) {
	ctx := context.Background()
	readers := map[string]func(s *Store, d Digest, l Layer) error{
		"unpack":       func(s *Store, d Digest, _ Layer) error { return must2(s.Rootfs(ctx, d)) },
		"unpack layer": func(s *Store, _ Digest, l Layer) error { return must2(s.LayerRoot(ctx, l)) },
		"look":         func(s *Store, _ Digest, l Layer) error { return must2(s.LayerFacts(ctx, l)) },
		"check":        func(s *Store, _ Digest, l Layer) error { return s.CheckBlob(ctx, l.Descriptor) },
		"compress":     func(s *Store, _ Digest, l Layer) error { return must2(s.gzipped(ctx, l.Descriptor)) },
		"export":       func(s *Store, d Digest, _ Layer) error { return s.ExportOCI(ctx, d, filepath.Join(s.Dir(), "out")) },
		"push": func(s *Store, _ Digest, l Layer) error {
			r, err := s.openPushed(l.Digest)
			if err != nil {
				return err
			}
			defer r.Close()
			return must2(io.ReadAll(r))
		},
	}
	for harm, change := range harms() {
		for name, read := range readers {
			t.Run(harm+"/"+name, func(t *testing.T) {
				s := newStore(t)
				l := largeLayer(t, s)
				d := putImage(t, s, "shop", l)
				harmBlob(t, s, l.Digest, change)
				err := read(s, d, l)
				if !errors.Is(err, ErrDamaged) || !fault.Is(err, fault.Failed) {
					t.Fatalf("got %v", err)
				}
				for _, want := range []string{l.Digest.Short(), "image shop " + d.Short(), "damaged", s.asidePath(l.Digest)} {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("says nothing of %q: %v", want, err)
					}
				}
				if hint := fault.All(err)[0].Hint; !strings.Contains(hint, "bake the image again") || !strings.Contains(hint, "images verify") {
					t.Errorf("hint %q", hint)
				}
				if s.Has(l.Digest) {
					t.Error("the damaged blob is still taken for the layer")
				}
				if err := read(s, d, l); !errors.Is(err, ErrDamaged) || !fault.Is(err, fault.NotFound) {
					t.Errorf("read again: %v", err)
				}
				if again := largeLayer(t, s); again.Digest != l.Digest {
					t.Fatalf("made anew it is %s", again.Digest)
				}
				if err := read(s, d, l); err != nil {
					t.Errorf("after it was made anew: %v", err)
				}
			})
		}
	}
}

func harmBlob(t testing.TB, s *Store, d Digest, change func([]byte) []byte) {
	t.Helper()
	data := change([]byte(readFile(t, s.blobPath(d))))
	check(t, os.WriteFile(s.blobPath(d), data, 0o644))
}

// A file of an image whose layer was damaged after it was looked into.
func TestDamagedFile(t *testing.T) {
	s := newStore(t)
	l := largeLayer(t, s)
	d := putImage(t, s, "shop", l)
	files := must[*Files](t)(s.Files(t.Context(), d))
	n := must[*ImageFile](t)(files.Resolve("large"))
	harmBlob(t, s, l.Digest, harms()["content"])
	r := must[io.ReadCloser](t)(files.Open(n))
	defer r.Close()
	if _, err := io.ReadAll(r); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "/large") {
		t.Errorf("read a damaged file: %v", err)
	}
}

// The registry endpoint does not give out a damaged blob as if it were one.
func TestRegistryKeepsDamageBack(t *testing.T) {
	for _, large := range []bool{false, true} {
		t.Run(fmt.Sprint(large), func(t *testing.T) {
			s := newStore(t)
			l := fileLayer(t, s, "small", "hello")
			if large {
				l = largeLayer(t, s)
			}
			putImage(t, s, "shop", l)
			srv := httptest.NewServer(s.Registry("token"))
			defer srv.Close()
			get := func() (*http.Response, []byte, error) {
				req := must[*http.Request](t)(http.NewRequest(http.MethodGet, srv.URL+"/v2/shop/blobs/"+string(l.Digest), nil))
				req.SetBasicAuth("release", "token")
				resp := must[*http.Response](t)(srv.Client().Do(req))
				defer resp.Body.Close()
				data, err := io.ReadAll(resp.Body)
				return resp, data, err
			}
			whole := readFile(t, s.blobPath(l.Digest))
			if resp, data, err := get(); err != nil || string(data) != whole || resp.ContentLength != int64(len(whole)) {
				t.Fatalf("a whole blob: %d bytes of %d, %v", len(data), resp.ContentLength, err)
			}
			harmBlob(t, s, l.Digest, harms()["end"])
			for range 2 {
				if resp, data, _ := get(); resp.StatusCode != http.StatusNotFound || !strings.Contains(string(data), "damaged") {
					t.Errorf("a damaged blob is served: %s, %d bytes", resp.Status, len(data))
				}
			}
		})
	}
}

// Manifest and configuration stay in their place when they are damaged: a collection must not take what they name for
// unneeded. Whoever makes them writes them anew.
func TestDamagedDocument(t *testing.T) {
	s := newStore(t)
	l := fileLayer(t, s, "a", "hello")
	d := putImage(t, s, "shop", l)
	config := must[[]Descriptor](t)(s.Blobs(d))[0].Digest
	for _, document := range []Digest{config, d} {
		harmBlob(t, s, document, func(data []byte) []byte { return bytes.Replace(data, []byte("2"), []byte("3"), 1) })
		_, err := s.Get(d)
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), s.blobPath(document)) || !s.Has(document) {
			t.Errorf("read a damaged document: %v", err)
		}
		check(t, ignoreDamage(s.CheckBlob(t.Context(), Descriptor{Digest: document, Size: -1})))
		if !s.Has(document) {
			t.Error("it was put aside")
		}
		if document == d {
			if _, err := s.GC(t.Context(), GCOptions{Grace: -1, CacheLimit: -1}); err == nil || !s.Has(l.Digest) {
				t.Errorf("a collection with a damaged manifest: %v", err)
			}
		}
		if again := putImage(t, s, "shop", l); again != d {
			t.Fatalf("put again it is %s", again)
		}
		must[Image](t)(s.Get(d))
	}
}

func ignoreDamage(err error) error {
	if errors.Is(err, ErrDamaged) {
		return nil
	}
	return err
}

// A manifest that lies about the length of a blob does the blob no harm.
func TestWrongSizeIsNoDamage(t *testing.T) {
	s := newStore(t)
	l := fileLayer(t, s, "a", "hello")
	err := s.CheckBlob(t.Context(), Descriptor{Digest: l.Digest, Size: l.Size + 512})
	if err == nil || errors.Is(err, ErrDamaged) || !s.Has(l.Digest) {
		t.Errorf("got %v", err)
	}
}

// A blob that was written anew since the damaged one was opened stays.
func TestPutAsideSparesTheNew(t *testing.T) {
	s := newStore(t)
	l := fileLayer(t, s, "a", "hello")
	harmBlob(t, s, l.Digest, harms()["end"])
	old := must[*os.File](t)(s.OpenBlob(l.Digest))
	defer old.Close()
	check(t, os.Remove(s.blobPath(l.Digest)))
	fileLayer(t, s, "a", "hello")
	err := s.damage(l.Digest, old, "for a test")
	if !errors.Is(err, ErrDamaged) || !s.Has(l.Digest) {
		t.Errorf("the new blob is gone: %v", err)
	}
	check(t, s.CheckBlob(t.Context(), l.Descriptor))
}

// What was put aside goes with the next collection.
func TestCollectDamaged(t *testing.T) {
	s := newStore(t)
	l := fileLayer(t, s, "a", "hello")
	putImage(t, s, "shop", l)
	harmBlob(t, s, l.Digest, harms()["end"])
	if err := s.CheckBlob(t.Context(), l.Descriptor); !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
	fileLayer(t, s, "a", "hello")
	res := must[Collected](t)(s.GC(t.Context(), GCOptions{Grace: -1, CacheLimit: -1}))
	found := false
	for _, dec := range res.Decisions {
		found = found || dec.Kind == "damaged blob" && !dec.Keep && strings.Contains(dec.Reason, "digest")
	}
	if _, err := os.Lstat(s.asidePath(l.Digest)); err == nil || !found {
		t.Errorf("it stayed: %+v", res.Decisions)
	}
	check(t, s.CheckBlob(t.Context(), l.Descriptor))
}
