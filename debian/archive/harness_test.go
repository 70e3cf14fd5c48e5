package archive

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/cenkalti/backoff/v4"

	"github.com/bootandshoot/release/debian/archive/archivetest"
	"github.com/bootandshoot/release/internal/fault"
)

// today is the time of all tests.
var today = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func newKey(t *testing.T, made time.Time) *openpgp.Entity { return archivetest.Key(t, made) }

func public(t *testing.T, keys ...*openpgp.Entity) []byte { return archivetest.Public(t, keys...) }

// site is an archive with one suite.
type site struct {
	*archivetest.Site
	*archivetest.Suite
	debs map[string][]byte // by name
}

// newSite is an archive of suite test with two packages, signed by a fresh key.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{Site: archivetest.New(t, today), debs: map[string][]byte{"hello": bytes.Repeat([]byte("hello "), 40000), "world": []byte("world")}}
	s.Suite = s.Site.Suite("test")
	s.publish()
	return s
}

// packages is the index.
func (s *site) packages() []byte {
	s.Packages = nil
	for name, data := range s.debs {
		s.Packages = append(s.Packages, archivetest.Package{Control: fmt.Sprintf("Package: %s\nVersion: 1.0-1\nArchitecture: amd64\n", name), Deb: data})
	}
	return s.Index("amd64")
}

// publish makes all files anew from the fields.
func (s *site) publish() {
	s.packages()
	s.Publish()
}

// source is the site's source, with more mirrors before it.
func (s *site) source(before ...string) Source {
	return Source{Name: "test", Mirrors: append(before, s.URL), Suite: s.Name, Components: []string{"main"}, Keyring: s.Keyring()}
}

func sum(data []byte) string { return archivetest.Sum(data) }

// client has a fresh cache, or that of another.
func client(t *testing.T, o Options) *Client {
	t.Helper()
	if o.Cache == "" {
		o.Cache = t.TempDir()
	}
	if o.Now == nil {
		o.Now = func() time.Time { return today }
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	c.pauses = func() backoff.BackOff { return backoff.WithMaxRetries(backoff.NewConstantBackOff(time.Millisecond), 3) }
	return c
}

func update(c *Client, sources ...Source) (*Index, error) {
	return c.Update(context.Background(), sources, "amd64")
}

func mustUpdate(t *testing.T, c *Client, sources ...Source) *Index {
	t.Helper()
	x, err := update(c, sources...)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// downloads are all packages of an index.
func downloads(t *testing.T, x *Index) []Download {
	t.Helper()
	var all []Download
	for _, p := range x.Packages {
		d, err := x.Download(p)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

// refused checks an error's class, some of its words, and that it has a next step.
func refused(t *testing.T, err error, code fault.Code, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	all := fault.All(err)[0]
	if all.Code != code {
		t.Errorf("code %s, want %s: %v", all.Code, code, err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q is not in: %v", word, err)
		}
	}
	if all.Hint == "" {
		t.Errorf("no next step: %v", err)
	}
}

// armoredKey is a public key as text.
func armoredKey(t *testing.T, key *openpgp.Entity) string {
	t.Helper()
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(public(t, key))
	_ = w.Close()
	return out.String() + "\n\n"
}
