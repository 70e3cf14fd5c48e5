package images

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestRegistryAnswers(t *testing.T) {
	s := newStore(t)
	l := fileLayer(t, s, "a", "hello")
	d := putImage(t, s, "team/shop", l)
	putImage(t, s, "shop:v1", l)
	missing := DigestOf([]byte("missing"))
	cases := []struct {
		method, path, auth, ranges string
		status                     int
		want                       string // error code, or text in the body
	}{
		{"GET", "/v2/", "", "", 401, "UNAUTHORIZED"},
		{"GET", "/v2/", "Bearer no", "", 401, "UNAUTHORIZED"},
		{"GET", "/v2/", "Bearer t0k", "", 200, "{}"},
		{"GET", "/v2", "basic", "", 200, "{}"},
		{"GET", "/", "basic", "", 404, "NAME_UNKNOWN"},
		{"GET", "/v2/_catalog", "basic", "", 404, "NAME_UNKNOWN"},
		{"GET", "/v2/x/manifests/" + string(d), "basic", "", 200, "layers"},
		{"HEAD", "/v2/x/manifests/" + string(d), "basic", "", 200, ""},
		{"GET", "/v2/team/shop/manifests/latest", "basic", "", 200, "layers"},
		{"GET", "/v2/shop/manifests/v1", "basic", "", 200, "layers"},
		{"GET", "/v2/x/manifests/" + d.Hex()[:10], "basic", "", 200, "layers"},
		{"GET", "/v2/x/manifests/nope", "basic", "", 404, "MANIFEST_UNKNOWN"},
		{"GET", "/v2/x/manifests/" + string(missing), "basic", "", 404, "MANIFEST_UNKNOWN"},
		{"GET", "/v2/x/manifests/sha256:12", "basic", "", 400, "DIGEST_INVALID"},
		{"GET", "/v2/x/manifests/" + string(l.Digest), "basic", "", 400, "DIGEST_INVALID"},
		{"GET", "/v2/UPPER/manifests/v1", "basic", "", 400, "NAME_INVALID"},
		{"GET", "/v2/../../etc/manifests/v1", "basic", "", 400, "NAME_INVALID"},
		{"GET", "/v2/x/blobs/" + string(l.Digest), "basic", "", 200, "hello"},
		{"GET", "/v2/x/blobs/" + string(l.Digest), "basic", "bytes=512-516", 206, "hello"},
		{"GET", "/v2/x/blobs/" + string(l.Digest), "basic", "bytes=99999-", 416, ""},
		{"GET", "/v2/x/blobs/" + string(missing), "basic", "", 404, "BLOB_UNKNOWN"},
		{"GET", "/v2/x/blobs/..%2f..%2findex.json", "basic", "", 400, "NAME_INVALID"},
		{"GET", "/v2/x/tags/list", "basic", "", 404, "UNSUPPORTED"},
		{"POST", "/v2/x/blobs/uploads/", "basic", "", 405, "UNSUPPORTED"},
		{"DELETE", "/v2/x/manifests/" + string(d), "basic", "", 405, "UNSUPPORTED"},
		{"DELETE", "/v2/x/manifests/" + string(d), "", "", 401, "UNAUTHORIZED"},
	}
	for _, c := range cases {
		r := httptest.NewRequest(c.method, c.path, nil)
		switch {
		case c.auth == "basic":
			r.SetBasicAuth("anyone", "t0k")
		case c.auth != "":
			r.Header.Set("Authorization", c.auth)
		}
		if c.ranges != "" {
			r.Header.Set("Range", c.ranges)
		}
		w := httptest.NewRecorder()
		s.Registry("t0k").ServeHTTP(w, r)
		body := w.Body.String()
		if w.Code != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s %s: %d %s", c.method, c.path, w.Code, body)
		}
		if c.status >= 400 && c.status != 416 {
			var e refusal
			if err := json.Unmarshal([]byte(body), &e); err != nil || len(e.Errors) != 1 || e.Errors[0].Code != c.want {
				t.Errorf("%s %s: error body %s", c.method, c.path, body)
			}
		}
		if c.status == 401 && w.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s %s: no WWW-Authenticate", c.method, c.path)
		}
		if c.method == "HEAD" && (w.Body.Len() > 0 || w.Header().Get("Docker-Content-Digest") != string(d) || w.Header().Get("Content-Length") == "") {
			t.Errorf("HEAD: %v %q", w.Header(), body)
		}
	}
}

func TestRegistryWithoutTokenLetsNobodyIn(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/v2/", nil)
	r.SetBasicAuth("x", "")
	w := httptest.NewRecorder()
	newStore(t).Registry("").ServeHTTP(w, r)
	if w.Code != 401 {
		t.Fatalf("status %d", w.Code)
	}
}

// The image that another implementation's client pulls is whole and valid.
func TestRegistryWithForeignClient(t *testing.T) {
	s := newStore(t)
	d := putImage(t, s, "shop", fileLayer(t, s, "a", "hello"), fileLayer(t, s, "b", "world"))
	server := httptest.NewServer(s.Registry("t0k"))
	defer server.Close()
	ref := must[name.Reference](t)(name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/shop"))
	auth := remote.WithAuth(&authn.Basic{Username: "u", Password: "t0k"})
	img := must[v1.Image](t)(remote.Image(ref, auth, remote.WithContext(context.Background())))
	for _, l := range must[[]v1.Layer](t)(img.Layers()) {
		plain := must[io.ReadCloser](t)(l.Uncompressed())
		if got, want := DigestOf(readAll(t, plain)), must[v1.Hash](t)(l.DiffID()); string(got) != want.String() {
			t.Errorf("layer %s has content %s", want, got)
		}
		check(t, plain.Close())
	}
	if got := must[v1.Hash](t)(img.Digest()); got.String() != string(d) {
		t.Fatalf("digest %s", got)
	}
}
