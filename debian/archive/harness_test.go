package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/cenkalti/backoff/v4"
	"github.com/klauspost/compress/gzip"

	"github.com/bootandshoot/release/internal/fault"
)

// today is the time of all tests.
var today = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func at(t time.Time) *packet.Config {
	return &packet.Config{Time: func() time.Time { return t }, Algorithm: packet.PubKeyAlgoEdDSA}
}

func newKey(t *testing.T, made time.Time) *openpgp.Entity {
	t.Helper()
	key, err := openpgp.NewEntity("Archive", "", "archive@mirror.example", at(made))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func public(t *testing.T, keys ...*openpgp.Entity) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, key := range keys {
		if err := key.Serialize(&out); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func signer() (*openpgp.Entity, error) {
	return openpgp.NewEntity("Archive", "", "archive@mirror.example", at(today.AddDate(-1, 0, 0)))
}

// site is an archive and the server that has it.
type site struct {
	t     *testing.T
	url   string
	suite string
	keys  []*openpgp.Entity

	codename string // what the release file says
	date     time.Time
	signed   time.Time // by its signature; zero is date
	until    time.Time // Valid-Until; zero leaves it out
	byHash   bool
	detached bool
	silent   bool   // does not say where packages of architecture all are listed
	packed   string // "", .gz
	debs     map[string][]byte

	mu       sync.Mutex
	files    map[string][]byte
	asked    []string                                          // paths, in the order of the requests
	instead  func(w http.ResponseWriter, r *http.Request) bool // answers itself and says so
	modified time.Time
}

// newSite is an archive of suite test with two packages, signed by a fresh key.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, suite: "test", codename: "test", keys: []*openpgp.Entity{newKey(t, today.AddDate(-1, 0, 0))}, packed: ".gz", byHash: true,
		date: today.Add(-time.Hour), until: today.AddDate(0, 0, 7),
		debs: map[string][]byte{"hello": bytes.Repeat([]byte("hello "), 40000), "world": []byte("world")}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL + "/debian"
	s.publish()
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/debian/")
	s.mu.Lock()
	s.asked = append(s.asked, name)
	data, ok := s.files[name]
	instead, modified := s.instead, s.modified
	s.mu.Unlock()
	if instead != nil && instead(w, r) {
		return
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, path.Base(name), modified, bytes.NewReader(data))
}

func (s *site) signing() time.Time {
	if s.signed.IsZero() {
		return s.date
	}
	return s.signed
}

// answer replaces the server's answers.
func (s *site) answer(f func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instead = f
}

// requests are the paths asked for since the last call.
func (s *site) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

func sum(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}

// packages is the index.
func (s *site) packages() []byte {
	var out bytes.Buffer
	names := make([]string, 0, len(s.debs))
	for name := range s.debs {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&out, "Package: %s\nVersion: 1.0-1\nArchitecture: amd64\nFilename: pool/main/%s_1.0-1_amd64.deb\nSize: %d\nSHA256: %s\n\n",
			name, name, len(s.debs[name]), sum(s.debs[name]))
	}
	return out.Bytes()
}

// publish makes all files anew from the fields.
func (s *site) publish() {
	s.t.Helper()
	index := s.packages()
	packed := index
	if s.packed == ".gz" {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		_, _ = z.Write(index)
		_ = z.Close()
		packed = out.Bytes()
	}
	files := map[string][]byte{}
	folder := "dists/" + s.suite + "/"
	files[folder+"main/binary-amd64/Packages"+s.packed] = packed
	if s.byHash {
		files[folder+"main/binary-amd64/by-hash/SHA256/"+sum(packed)] = packed
	}
	for name, deb := range s.debs {
		files["pool/main/"+name+"_1.0-1_amd64.deb"] = deb
	}
	var rel bytes.Buffer
	fmt.Fprintf(&rel, "Origin: Test\nLabel: Test\nSuite: stable\nCodename: %s\nDate: %s\n", s.codename, s.date.Format(time.RFC1123))
	if !s.until.IsZero() {
		fmt.Fprintf(&rel, "Valid-Until: %s\n", s.until.Format(time.RFC1123))
	}
	if s.byHash {
		fmt.Fprintf(&rel, "Acquire-By-Hash: yes\n")
	}
	fmt.Fprintf(&rel, "Architectures: all amd64\n")
	if !s.silent {
		fmt.Fprintf(&rel, "No-Support-for-Architecture-all: Packages\n")
	}
	fmt.Fprintf(&rel, "Components: main\nSHA256:\n %s %d main/binary-amd64/Packages\n", sum(index), len(index))
	if s.packed != "" {
		fmt.Fprintf(&rel, " %s %d main/binary-amd64/Packages%s\n", sum(packed), len(packed), s.packed)
	}
	s.sign(files, folder, rel.Bytes())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files, s.modified = files, s.date
}

func (s *site) sign(files map[string][]byte, folder string, rel []byte) {
	if s.detached {
		var signature bytes.Buffer
		if err := openpgp.ArmoredDetachSign(&signature, s.keys[0], bytes.NewReader(rel), at(s.signing())); err != nil {
			s.t.Fatal(err)
		}
		files[folder+"Release"], files[folder+"Release.gpg"] = rel, signature.Bytes()
		return
	}
	files[folder+"InRelease"] = s.inRelease(rel)
}

func (s *site) inRelease(rel []byte) []byte {
	private := make([]*packet.PrivateKey, len(s.keys))
	for i, key := range s.keys {
		private[i] = key.PrivateKey
	}
	var out bytes.Buffer
	w, err := clearsign.EncodeMulti(&out, private, at(s.signing()))
	if err != nil {
		s.t.Fatal(err)
	}
	_, _ = w.Write(rel)
	if err := w.Close(); err != nil {
		s.t.Fatal(err)
	}
	return out.Bytes()
}

// source is the site's source, with more mirrors before it.
func (s *site) source(before ...string) Source {
	return Source{Name: "test", Mirrors: append(before, s.url), Suite: s.suite, Components: []string{"main"}, Keyring: public(s.t, s.keys...)}
}

// change replaces a file by what f makes of it.
func (s *site) change(name string, f func([]byte) []byte) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.files[name]
	if !ok {
		s.t.Fatalf("there is no %s", name)
	}
	s.files[name] = f(bytes.Clone(old))
}

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
