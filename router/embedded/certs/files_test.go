package certs

import (
	"bytes"
	"crypto/tls"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

func later() time.Time { return time.Now().Add(60 * 24 * time.Hour) }

func TestServerNames(t *testing.T) {
	m := New(Options{})
	defer m.Close()
	make := func(n int64) *router.TLS { return issue(t, nil, n, later(), "x.example").write(t, t.TempDir()) }
	s := use(t, m,
		route("first", make(1), "shop.example"),
		route("wild", make(2), "*.shop.example"),
		route("wilder", make(3), "*.example"),
		route("again", make(4), "shop.example"), // the same host with another path and certificate
		route("every", make(5)),
	)
	for name, want := range map[string]int64{
		"shop.example": 1, "SHOP.example": 1, "a.shop.example": 2, "a.b.shop.example": 2, "other.example": 3, "example": 5, "192.0.2.7": 5, "": 5,
	} {
		if got := serial(t, s, name); got != want {
			t.Errorf("%q: certificate %d, want %d", name, got, want)
		}
	}
	s = use(t, m, route("first", make(6), "shop.example"), route("second", make(7), "other.example"))
	for name, want := range map[string]int64{"shop.example": 6, "other.example": 7, "none.example": 6, "": 6} {
		if got := serial(t, s, name); got != want {
			t.Errorf("%q: certificate %d, want %d", name, got, want)
		}
	}
	if s.TLSConfig("127.0.0.1:80") != nil {
		t.Error("TLS where no route has it")
	}
}

func TestProtocols(t *testing.T) {
	m := New(Options{})
	defer m.Close()
	s := use(t, m, route("a", issue(t, nil, 1, later(), "shop.example").write(t, t.TempDir()), "shop.example"))
	for _, test := range []struct {
		client []string
		want   string
		fails  bool
	}{
		{nil, "", false},
		{[]string{"h2", "http/1.1"}, "h2", false},
		{[]string{"http/1.1"}, "http/1.1", false},
		{[]string{"acme-tls/1"}, "", true},
		{[]string{"spdy/3"}, "", true},
	} {
		got, _, err := shake(s.TLSConfig(address), &tls.Config{ServerName: "shop.example", InsecureSkipVerify: true, NextProtos: test.client})
		if (err != nil) != test.fails || got.NegotiatedProtocol != test.want {
			t.Errorf("%v: %q, %v; want %q", test.client, got.NegotiatedProtocol, err, test.want)
		}
	}
	_, _, err := shake(s.TLSConfig(address), &tls.Config{ServerName: "shop.example", InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
	if err == nil {
		t.Error("TLS 1.1 is accepted")
	}
}

// TestReload changes the files in good and bad ways. The clock moves, so that they are looked at.
func TestReload(t *testing.T) {
	log, said := newLog(t)
	now := newClock()
	m := New(Options{Log: log, Now: now.now})
	defer m.Close()
	dir := t.TempDir()
	first, second, third := issue(t, nil, 1, later(), "shop.example"), issue(t, nil, 2, later(), "shop.example"), issue(t, nil, 3, later(), "shop.example")
	files := first.write(t, dir)
	s := use(t, m, route("a", files, "shop.example"))
	is := func(want int64, what string) {
		t.Helper()
		now.pass(recheck)
		if got := serial(t, s, "shop.example"); got != want {
			t.Errorf("%s: certificate %d, want %d", what, got, want)
		}
	}
	is(1, "at first")
	put(t, files.Cert, second.certPEM())
	is(1, "certificate before its key")
	if got := m.Problems()[address]; !strings.Contains(got, "does not reload") || !strings.Contains(got, files.Cert) {
		t.Errorf("problems: %q", got)
	}
	put(t, files.Key, second.keyPEM(t))
	is(2, "both")
	if got := m.Problems(); len(got) != 0 {
		t.Errorf("problems: %v", got)
	}
	chain := append(third.certPEM(), first.certPEM()...)
	put(t, files.Key, third.keyPEM(t))
	for _, cut := range []int{0, 10, len(third.certPEM()) / 2, len(third.certPEM()) + 40, len(chain) - 10} {
		put(t, files.Cert, chain[:cut])
		is(2, "half written")
	}
	warned := said.count("does not reload")
	is(2, "still half written")
	is(2, "still half written")
	if said.count("does not reload") != warned {
		t.Error("the same is logged again and again")
	}
	put(t, files.Cert, chain)
	is(3, "whole")
	if err := os.Remove(files.Key); err != nil {
		t.Fatal(err)
	}
	is(3, "without key")
	put(t, files.Key, first.keyPEM(t))
	is(3, "key of another")
	put(t, files.Key, third.keyPEM(t))
	is(3, "the right key again")
	if got := m.Problems(); len(got) != 0 {
		t.Errorf("problems: %v", got)
	}
	if err := os.WriteFile(files.Cert, first.certPEM(), 0o600); err != nil { // in place, keeping the inode
		t.Fatal(err)
	}
	if err := os.WriteFile(files.Key, first.keyPEM(t), 0o600); err != nil {
		t.Fatal(err)
	}
	is(1, "written in place")
}

// TestSameStamp: files that change twice within a tick of the clock that stamps them are read again.
func TestSameStamp(t *testing.T) {
	now := newClock()
	m := New(Options{Now: now.now})
	defer m.Close()
	dir := t.TempDir()
	first, second := issue(t, nil, 1, later(), "shop.example"), issue(t, nil, 2, later(), "shop.example")
	files := first.write(t, dir)
	s := use(t, m, route("a", files, "shop.example"))
	w := s.pairs[pairFiles{files.Cert, files.Key}].watched
	second.write(t, dir)
	stamp, _, err := stampOf(w.files)
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	w.stamp = stamp // as if the change had not shown
	w.mu.Unlock()
	now.pass(recheck)
	if got := serial(t, s, "shop.example"); got != 2 {
		t.Errorf("certificate %d, want 2", got)
	}
}

// TestReloadUnderLoad exchanges the files while there are handshakes: each gets a certificate whose key the server has, and none fails.
func TestReloadUnderLoad(t *testing.T) {
	now := newClock()
	m := New(Options{Now: now.now})
	defer m.Close()
	dir := t.TempDir()
	var all []*issued
	for i := range 8 {
		all = append(all, issue(t, nil, int64(i+1), later(), "shop.example"))
	}
	files := all[0].write(t, dir)
	s := use(t, m, route("a", files, "shop.example"))
	var stop atomic.Bool
	var seen sync.Map
	var shakes, failures atomic.Int64
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for !stop.Load() {
				got, serverErr, err := shake(s.TLSConfig(address), &tls.Config{ServerName: "shop.example", InsecureSkipVerify: true})
				shakes.Add(1)
				if err != nil {
					failures.Add(1)
					t.Errorf("handshake: %v, %v", serverErr, err)
					return
				}
				seen.Store(got.PeerCertificates[0].SerialNumber.Int64(), true)
			}
		})
	}
	for round := range 40 {
		pair := all[round%len(all)]
		half := pair.certPEM()[:300]
		put(t, files.Cert, half)
		now.pass(recheck)
		put(t, files.Key, pair.keyPEM(t))
		now.pass(recheck)
		put(t, files.Cert, pair.certPEM())
		before := shakes.Load()
		eventually(t, 10*time.Second, "the new certificate", func() bool {
			now.pass(recheck)
			_, ok := seen.Load(pair.cert.SerialNumber.Int64())
			return ok && shakes.Load() > before
		})
		seen.Clear()
		if round%4 == 0 {
			use(t, m, route("a", files, "shop.example"))
		}
	}
	stop.Store(true)
	wait.Wait()
	if shakes.Load() == 0 || failures.Load() > 0 {
		t.Errorf("%d handshakes, %d failed", shakes.Load(), failures.Load())
	}
}

func TestPrepareRefuses(t *testing.T) {
	dir := t.TempDir()
	good := issue(t, nil, 1, later(), "shop.example").write(t, dir)
	other := issue(t, nil, 2, later(), "shop.example").write(t, t.TempDir())
	text := filepath.Join(dir, "text")
	put(t, text, []byte("no PEM"))
	tests := map[string]struct {
		tls  router.TLS
		file string
	}{
		"no such file":           {router.TLS{Cert: dir + "/none", Key: good.Key}, dir + "/none"},
		"no PEM":                 {router.TLS{Cert: text, Key: good.Key}, text},
		"key of another":         {router.TLS{Cert: good.Cert, Key: other.Key}, good.Cert},
		"certificate for key":    {router.TLS{Cert: good.Cert, Key: good.Cert}, good.Cert},
		"folder":                 {router.TLS{Cert: dir, Key: good.Key}, dir},
		"client CA is missing":   {router.TLS{Cert: good.Cert, Key: good.Key, ClientCA: dir + "/none"}, dir + "/none"},
		"client CA is a key":     {router.TLS{Cert: good.Cert, Key: good.Key, ClientCA: good.Key}, good.Key},
		"client CA is no PEM":    {router.TLS{Cert: good.Cert, Key: good.Key, ClientCA: text}, text},
		"ACME root is missing":   {router.TLS{ACME: &router.ACME{Directory: "https://127.0.0.1:1/dir", RootCA: dir + "/none"}}, dir + "/none"},
		"ACME root is not PEM":   {router.TLS{ACME: &router.ACME{Directory: "https://127.0.0.1:1/dir", RootCA: text}}, text},
		"ACME root is cut short": {router.TLS{ACME: &router.ACME{Directory: "https://127.0.0.1:1/dir", RootCA: cutFile(t, good.Cert)}}, "cut"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := New(Options{Dir: t.TempDir()})
			defer m.Close()
			before := use(t, m, route("before", good, "shop.example"))
			s, err := m.Prepare([]router.Route{route("good", good, "shop.example"), {Name: "shop/live/web", Listen: "127.0.0.1:444", Hosts: []string{"a.example"}, TLS: &test.tls}})
			if s == nil || !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "shop/live/web") || !strings.Contains(err.Error(), test.file) {
				t.Fatalf("error %v", err)
			}
			for _, e := range fault.All(err) {
				if e.Hint == "" {
					t.Errorf("no hint: %v", e)
				}
			}
			if got := serial(t, before, "shop.example"); got != 1 {
				t.Errorf("the set in use shows %d", got)
			}
		})
	}
}

func cutFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut")
	put(t, cut, b[:len(b)/2])
	return cut
}

// TestUseInSpite starts with a table whose certificate does not load: its handshakes fail until it does, others' do not.
func TestUseInSpite(t *testing.T) {
	now := newClock()
	m := New(Options{Now: now.now})
	defer m.Close()
	good := issue(t, nil, 1, later(), "shop.example").write(t, t.TempDir())
	dir := t.TempDir()
	late := issue(t, nil, 2, later(), "late.example")
	files := &router.TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	s, err := m.Prepare([]router.Route{route("good", good, "shop.example"), route("late", files, "late.example")})
	if err == nil {
		t.Fatal("files that are not there load")
	}
	m.Use(s)
	if a, b := serial(t, s, "shop.example"), serial(t, s, "late.example"); a != 1 || b != 0 {
		t.Fatalf("certificates %d and %d", a, b)
	}
	if got := m.Problems()[address]; !strings.Contains(got, files.Cert+" does not load") {
		t.Errorf("problems: %q", got)
	}
	late.write(t, dir)
	now.pass(recheck)
	if got := serial(t, s, "late.example"); got != 2 {
		t.Errorf("certificate %d, want 2", got)
	}
	if got := m.Problems(); len(got) != 0 {
		t.Errorf("problems: %v", got)
	}
}

func TestTimes(t *testing.T) {
	tests := map[string]struct {
		until time.Duration
		want  string
	}{
		"well":       {15 * 24 * time.Hour, ""},
		"soon":       {13 * 24 * time.Hour, "expires"},
		"expired":    {-time.Hour, "expired"},
		"not yet":    {91 * 24 * time.Hour, "is not valid before"},
		"just ended": {-time.Second, "expired"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			log, said := newLog(t)
			now := newClock()
			m := New(Options{Log: log, Now: now.now})
			defer m.Close()
			s := use(t, m, route("a", issue(t, nil, 1, now.now().Add(test.until), "shop.example").write(t, t.TempDir()), "shop.example"))
			for range 3 {
				if serial(t, s, "shop.example") != 1 {
					t.Error("it is not shown")
				}
			}
			got := m.Problems()[address]
			if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("problems: %q, want %q", got, test.want)
			}
			want := min(len(test.want), 1)
			if n := said.count("must be replaced"); n != want {
				t.Errorf("logged %d times", n)
			}
			now.pass(25 * time.Hour)
			serial(t, s, "shop.example")
			if n := said.count("must be replaced"); n != 2*want && name != "well" && name != "not yet" {
				t.Errorf("logged %d times after a day", n)
			}
		})
	}
}

func TestMismatch(t *testing.T) {
	log, said := newLog(t)
	m := New(Options{Log: log})
	defer m.Close()
	files := issue(t, nil, 1, later(), "shop.example", "*.wild.example").write(t, t.TempDir())
	routes := []router.Route{route("a", files, "shop.example", "*.wild.example", "x.wild.example"), route("b", files, "other.example", "*.example")}
	for range 3 {
		use(t, m, routes...)
	}
	got := m.Problems()[address]
	if !strings.HasSuffix(got, "is not for other.example, *.example") {
		t.Errorf("problems: %q", got)
	}
	if n := said.count("is not for a host"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

func TestClientCertificates(t *testing.T) {
	now := newClock()
	m := New(Options{Now: now.now})
	defer m.Close()
	dir := t.TempDir()
	ours, theirs := issue(t, nil, 10, later()), issue(t, nil, 11, later())
	friend, stranger := issue(t, ours, 12, later(), "friend"), issue(t, theirs, 13, later(), "stranger")
	expired := issue(t, ours, 14, time.Now().Add(-time.Hour), "friend")
	files := issue(t, nil, 1, later(), "shop.example").write(t, dir)
	files.ClientCA = filepath.Join(dir, "ca.pem")
	put(t, files.ClientCA, ours.certPEM())
	s := use(t, m, route("a", files, "shop.example"))
	cache := tls.NewLRUClientSessionCache(1)
	enter := func(want bool, what string, show ...*issued) {
		t.Helper()
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			client := &tls.Config{ServerName: "shop.example", InsecureSkipVerify: true, MaxVersion: version}
			if len(show) > 0 { // even if the server does not ask for it
				pair := show[0].tls()
				client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
			}
			if version == tls.VersionTLS13 {
				client.ClientSessionCache = cache
			}
			_, serverErr, err := shake(s.TLSConfig(address), client)
			if (serverErr == nil && err == nil) != want {
				t.Errorf("%s with %s: %v, %v", what, tls.VersionName(version), serverErr, err)
			}
		}
	}
	enter(false, "nobody")
	enter(false, "stranger", stranger)
	enter(false, "expired", expired)
	enter(true, "friend", friend)
	enter(true, "friend again", friend)
	put(t, files.ClientCA, append(theirs.certPEM(), "-----BEGIN CERTIFICATE-----\nM"...))
	now.pass(recheck)
	enter(true, "friend, with a broken file", friend)
	if got := m.Problems()[address]; !strings.Contains(got, files.ClientCA+" do not reload") {
		t.Errorf("problems: %q", got)
	}
	put(t, files.ClientCA, theirs.certPEM())
	now.pass(recheck)
	enter(false, "friend of before, also with the session", friend)
	enter(true, "stranger of before", stranger)
}

// TestTicketsOutlive resumes a session after other tables were used.
func TestTicketsOutlive(t *testing.T) {
	m := New(Options{})
	defer m.Close()
	files := issue(t, nil, 1, later(), "shop.example").write(t, t.TempDir())
	s := use(t, m, route("a", files, "shop.example"))
	client := &tls.Config{ServerName: "shop.example", InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client.MaxVersion = version
		client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		if got, _, err := shake(s.TLSConfig(address), client); err != nil || got.DidResume {
			t.Fatalf("first: %v, resumed %t", err, got.DidResume)
		}
		for range 3 {
			s = use(t, m, route("a", files, "shop.example"), route("b", files, "other.example"))
			if got, _, err := shake(s.TLSConfig(address), client); err != nil || !got.DidResume {
				t.Errorf("%s: %v, resumed %t", tls.VersionName(version), err, got.DidResume)
			}
		}
	}
	use(t, m)
	if len(m.bases) != 0 {
		t.Error("what is used no more is kept")
	}
	if _, serverErr, _ := shake(m.base(address), client); serverErr == nil {
		t.Error("a handshake without a route")
	}
}

// TestLetGo: pairs that no route uses are forgotten, those that stay are the same.
func TestLetGo(t *testing.T) {
	m := New(Options{})
	defer m.Close()
	a, b := issue(t, nil, 1, later(), "a.example").write(t, t.TempDir()), issue(t, nil, 2, later(), "b.example").write(t, t.TempDir())
	s := use(t, m, route("a", a, "a.example"), route("b", b, "b.example"))
	kept := s.pairs[pairFiles{a.Cert, a.Key}]
	s = use(t, m, route("a", a, "a.example"))
	if len(s.pairs) != 1 || s.pairs[pairFiles{a.Cert, a.Key}] != kept {
		t.Errorf("pairs: %v", s.pairs)
	}
}

func FuzzParsePair(f *testing.F) {
	pair := []byte("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
	f.Add(pair, pair)
	f.Add([]byte("-----BEGIN "), []byte(""))
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		c, err := parsePair([][]byte{cert, key})
		if (c == nil) == (err == nil) || c != nil && c.Leaf == nil {
			t.Fatalf("%v, %v", c, err)
		}
		if pool, err := parsePool(cert); (pool == nil) == (err == nil) {
			t.Fatalf("%v, %v", pool, err)
		}
	})
}

func TestWhole(t *testing.T) {
	block := issue(t, nil, 1, later()).certPEM()
	good := [][]byte{nil, []byte("# remark\n"), block, slices.Concat(block, block), slices.Concat([]byte("# remark\n"), block, []byte("\n\n"), block)}
	bad := [][]byte{block[:20], block[:len(block)-2], slices.Concat(block, block[:50]), slices.Concat(block[:50], block), bytes.Replace(block, []byte("\nM"), []byte("\n?"), 1)}
	for _, b := range good {
		if err := whole(b); err != nil {
			t.Errorf("%q: %v", b, err)
		}
	}
	for _, b := range bad {
		if whole(b) == nil {
			t.Errorf("accepted: %q", b)
		}
	}
}
