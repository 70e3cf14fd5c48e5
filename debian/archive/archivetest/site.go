// Package archivetest is an archive of Debian packages for tests: a server on this machine, keys that sign, and suites that a
// test fills and changes. Packages may be real ones or made up.
//
//	s := archivetest.New(t, time.Now())
//	u := s.Suite("bookworm")
//	u.Packages = append(u.Packages, archivetest.Made("hello", "1.0", "Depends: world\n"))
//	u.Publish()
//	… s.URL, s.Keyring() …
package archivetest

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
)

// Site is an archive and the server that has it.
type Site struct {
	URL  string            // base address: dists and pool lie below
	Keys []*openpgp.Entity // that sign release files; the first alone where the signature is a file of its own

	t      testing.TB
	now    time.Time
	server *httptest.Server

	mu      sync.Mutex
	files   map[string]file
	asked   []string                                          // paths, in the order of the requests
	instead func(w http.ResponseWriter, r *http.Request) bool // answers itself and says so
}

type file struct {
	data     []byte
	modified time.Time // zero is told to nobody
}

// New starts an archive without suites, with a fresh key. now is the day of the test.
func New(t testing.TB, now time.Time) *Site {
	t.Helper()
	s := &Site{t: t, now: now, Keys: []*openpgp.Entity{Key(t, now.AddDate(-1, 0, 0))}, files: map[string]file{}}
	s.server = httptest.NewServer(s)
	t.Cleanup(s.server.Close)
	s.URL = s.server.URL + "/debian"
	return s
}

// Close stops the server, as a mirror that is gone.
func (s *Site) Close() { s.server.Close() }

// ServeHTTP answers as a mirror does.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/debian/")
	s.mu.Lock()
	s.asked = append(s.asked, name)
	f, ok := s.files[name]
	instead := s.instead
	s.mu.Unlock()
	if instead != nil && instead(w, r) {
		return
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, path.Base(name), f.modified, bytes.NewReader(f.data))
}

// Answer replaces the server's answers by those of f, unless that is nil or says false.
func (s *Site) Answer(f func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instead = f
}

// Requests are the paths asked for since the last call.
func (s *Site) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

// File is what lies at a path below the archive's address; the test fails when there is nothing.
func (s *Site) File(name string) []byte {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.files[name]
	if !ok {
		s.t.Fatalf("the archive has no %s", name)
	}
	return bytes.Clone(f.data)
}

// Put lays a file down, until a suite that has it is published.
func (s *Site) Put(name string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[name] = file{data: data}
}

// Remove takes a file away; none is fine.
func (s *Site) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, name)
}

// Change replaces a file by what f makes of it. Its date stays.
func (s *Site) Change(name string, f func([]byte) []byte) {
	s.t.Helper()
	data := f(s.File(name))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[name] = file{data, s.files[name].modified}
}
