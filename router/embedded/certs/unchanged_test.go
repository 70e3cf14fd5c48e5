package certs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// Files that a route has named before and that are lost are a problem, and no reason to refuse; the same files are one for a
// route that names them anew.
func TestPrepareRefusesOnlyWhatIsNew(t *testing.T) {
	dir := t.TempDir()
	ca := issue(t, nil, 1, later(), "ca")
	roots, clients := filepath.Join(dir, "roots.pem"), filepath.Join(dir, "clients.pem")
	put(t, roots, ca.certPEM())
	put(t, clients, ca.certPEM())
	files := issue(t, nil, 2, later(), "shop.example").write(t, dir)
	files.ClientCA = clients
	byFiles := route("files", files, "shop.example")
	byACME := router.Route{
		Name: "acme", Listen: "127.0.0.1:444", Hosts: []string{"got.example"},
		TLS: &router.TLS{ACME: &router.ACME{Directory: "https://127.0.0.1:1/", RootCA: roots}},
	}
	both := []router.Route{byFiles, byACME}

	m := New(Options{Dir: t.TempDir()})
	defer closeWholly(m)
	s := use(t, m, both...)
	kept := s.roots[roots]
	for _, name := range []string{roots, clients, files.Cert} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if s = use(t, m, both...); kept == "" || s.roots[roots] != kept {
		t.Errorf("roots were %q and are %q", kept, s.roots[roots])
	}
	if got := m.Problems()[byACME.Listen]; !strings.Contains(got, roots+" does not load") {
		t.Errorf("problems: %q", got)
	}

	// A router that starts anew has none of them, and says so of each.
	m = New(Options{Dir: t.TempDir()})
	defer closeWholly(m)
	s, err := m.Prepare(both)
	if n := len(fault.All(err)); n != 3 {
		t.Errorf("%d problems: %v", n, err)
	}
	m.Use(s)
	for range 2 {
		use(t, m, both...)
	}
	problems := m.Problems()
	for listen, file := range map[string]string{byACME.Listen: roots, byFiles.Listen: files.Cert} {
		if !strings.Contains(problems[listen], file) {
			t.Errorf("problems: %q", problems[listen])
		}
	}
	for _, r := range both {
		other := r
		other.Name, other.Hosts = "other", []string{"other.example"}
		_, err := m.Prepare(append(both, other))
		for _, e := range fault.All(err) {
			if !strings.Contains(e.Error(), `"other"`) {
				t.Errorf("like %s: %v", r.Name, e)
			}
		}
		if err == nil {
			t.Errorf("like %s: not refused", r.Name)
		}
	}
}

// closeWholly returns when nothing writes to the manager's folder any more.
func closeWholly(m *Manager) {
	m.Close()
	for _, a := range m.current.Load().authorities {
		a.work.Wait()
	}
}
