package archive

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/bootandshoot/release/debian/archive/archivetest"
	"github.com/bootandshoot/release/internal/fault"
)

const indexPath = "dists/test/main/binary-amd64/Packages.gz"

func TestUpdate(t *testing.T) {
	for name, set := range map[string]func(*site){
		"by hash":            func(*site) {},
		"by name":            func(s *site) { s.ByHash = false },
		"not packed":         func(s *site) { s.Packed = "" },
		"detached signature": func(s *site) { s.Detached = true },
		"without end":        func(s *site) { s.Until = time.Time{} },
		"no index for all":   func(s *site) { s.Silent = true },
		"announced by hash, not there": func(s *site) {
			s.Answer(func(w http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, "by-hash") {
					http.NotFound(w, r)
					return true
				}
				return false
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			set(s)
			s.publish()
			c := client(t, Options{})
			x := mustUpdate(t, c, s.source())
			if len(x.Packages) != 2 || x.Packages[0].Name != "hello" || x.Packages[0].Suite != 0 {
				t.Errorf("%+v", x.Packages)
			}
			if got := x.Suites[0]; got.Codename != "test" || !got.Date.Equal(s.Date) || len(got.Signers) != 1 || got.Mirrors[0] != s.URL {
				t.Errorf("%+v", got)
			}
			s.Requests()
			again := mustUpdate(t, c, s.source())
			if asked := s.Requests(); slices.ContainsFunc(asked, func(name string) bool { return strings.Contains(name, "Packages") || strings.Contains(name, "by-hash") }) {
				t.Errorf("asked again for %v", asked)
			}
			if len(again.Packages) != 2 {
				t.Errorf("%+v", again.Packages)
			}
		})
	}
}

func TestUpdateAsksForWhatChanged(t *testing.T) {
	s := newSite(t)
	c := client(t, Options{})
	mustUpdate(t, c, s.source())
	old := sum(s.packages())
	s.debs["more"] = []byte("more")
	s.Date = s.Date.Add(time.Minute)
	s.publish()
	if x := mustUpdate(t, c, s.source()); len(x.Packages) != 3 {
		t.Errorf("%+v", x.Packages)
	}
	if _, err := os.Stat(c.indexes.Path(old)); !os.IsNotExist(err) {
		t.Errorf("the old index is kept: %v", err)
	}
	s.Requests()
	mustUpdate(t, c, s.source())
	if asked := s.Requests(); !slices.Equal(asked, []string{"dists/test/InRelease"}) {
		t.Errorf("asked for %v", asked)
	}
}

func TestKeyrings(t *testing.T) {
	s := newSite(t)
	other := newKey(t, today.AddDate(-1, 0, 0))
	for name, keyring := range map[string][]byte{
		"several": public(t, other, s.Keys[0]), "armored": []byte(armoredKey(t, s.Keys[0])), "armored blocks": []byte(armoredKey(t, other) + armoredKey(t, s.Keys[0])),
	} {
		source := s.source()
		source.Keyring = keyring
		if _, err := update(client(t, Options{}), source); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, keyring := range map[string][]byte{"text": []byte("no key"), "cut armor": []byte(armoredKey(t, other)[:200]), "keybox": []byte("\x00\x00\x00\x20\x01\x01\x00\x02KBXf0000")} {
		source := s.source()
		source.Keyring = keyring
		if _, err := update(client(t, Options{}), source); err == nil || !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSignatures(t *testing.T) {
	long := today.AddDate(-1, 0, 0)
	t.Run("unknown key", func(t *testing.T) {
		s := newSite(t)
		source := s.source()
		source.Keyring = public(t, newKey(t, long))
		_, err := update(client(t, Options{}), source)
		refused(t, err, fault.Denied, s.Keys[0].PrimaryKey.KeyIdString(), "none of which is in the keyring", "test")
	})
	t.Run("one key of two known", func(t *testing.T) {
		s := newSite(t)
		source := s.source()
		s.Keys = []*openpgp.Entity{newKey(t, long), s.Keys[0]}
		s.publish()
		if x := mustUpdate(t, client(t, Options{}), source); len(x.Suites[0].Signers) != 1 {
			t.Error(x.Suites[0].Signers)
		}
	})
	t.Run("expired key", func(t *testing.T) {
		s := newSite(t)
		config := archivetest.At(long)
		config.KeyLifetimeSecs = 24 * 3600
		key, err := openpgp.NewEntity("Old", "", "old@mirror.example", config)
		if err != nil {
			t.Fatal(err)
		}
		good := s.Keys[0]
		s.Keys = []*openpgp.Entity{key}
		s.publish()
		_, err = update(client(t, Options{}), s.source())
		refused(t, err, fault.Denied, "is expired", key.PrimaryKey.KeyIdString())
		s.Keys = []*openpgp.Entity{key, good}
		s.publish()
		mustUpdate(t, client(t, Options{}), s.source()) // the other signature counts
	})
	t.Run("revoked key", func(t *testing.T) {
		s := newSite(t)
		if err := s.Keys[0].RevokeKey(packet.KeyCompromised, "lost", archivetest.At(long)); err != nil {
			t.Fatal(err)
		}
		_, err := update(client(t, Options{}), s.source())
		refused(t, err, fault.Denied, "was revoked")
	})
	t.Run("weak key", func(t *testing.T) {
		s := newSite(t)
		config := archivetest.At(long)
		config.Algorithm, config.RSABits = packet.PubKeyAlgoRSA, 1024
		key, err := openpgp.NewEntity("Weak", "", "weak@mirror.example", config)
		if err != nil {
			t.Fatal(err)
		}
		s.Keys = []*openpgp.Entity{key}
		s.publish()
		_, err = update(client(t, Options{}), s.source())
		refused(t, err, fault.Denied, "1024 bits")
	})
	t.Run("weak hash", func(t *testing.T) {
		if why := weakness(&packet.Signature{SigType: packet.SigTypeText, Hash: 3}, nil); why == "" { // SHA-1
			t.Error("SHA-1 is taken")
		}
	})
}

func TestTamperedReleaseFiles(t *testing.T) {
	page := []byte("<html>please log in</html>")
	for name, test := range map[string]struct {
		change func([]byte) []byte
		word   string
	}{
		"changed":          {func(b []byte) []byte { return bytes.Replace(b, []byte("Label: Test"), []byte("Label: Fake"), 1) }, "does not fit its content"},
		"text before":      {func(b []byte) []byte { return append([]byte("Codename: evil\n"), b...) }, "no signed release file"},
		"text after":       {func(b []byte) []byte { return append(b, "Codename: evil\n"...) }, "something follows"},
		"not signed":       {func(b []byte) []byte { return []byte("Codename: test\n") }, "no signed release file"},
		"a page":           {func([]byte) []byte { return page }, "no signed release file"},
		"truncated":        {func(b []byte) []byte { return b[:len(b)/2] }, "no signed release file"},
		"empty":            {func([]byte) []byte { return nil }, "no signed release file"},
		"broken signature": {func(b []byte) []byte { return b[:len(b)-60] }, "no signed release file"},
		"huge":             {func([]byte) []byte { return make([]byte, maxRelease+1) }, "more than the"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.Change("dists/test/InRelease", test.change)
			c := client(t, Options{})
			_, err := update(c, s.source())
			if err == nil || !strings.Contains(err.Error(), test.word) {
				t.Fatalf("%v, want %q", err, test.word)
			}
			if kept, _ := os.ReadDir(c.path("releases")); len(kept) > 0 {
				t.Error("it is in the cache")
			}
		})
	}
	t.Run("detached, changed", func(t *testing.T) {
		s := newSite(t)
		s.Detached = true
		s.publish()
		s.Change("dists/test/Release", func(b []byte) []byte { return append(b, '\n') })
		_, err := update(client(t, Options{}), s.source())
		refused(t, err, fault.Denied, "does not fit its content")
	})
	t.Run("detached, without signature", func(t *testing.T) {
		s := newSite(t)
		s.Detached = true
		s.publish()
		s.Remove("dists/test/Release.gpg")
		_, err := update(client(t, Options{}), s.source())
		refused(t, err, fault.Denied, "not signed")
	})
}

func TestDates(t *testing.T) {
	tests := map[string]struct {
		date, until, signed time.Time
		o                   Options
		word                string // of the error; "" is none
	}{
		"in time":               {today.AddDate(0, 0, -6), today.Add(time.Hour), time.Time{}, Options{}, ""},
		"just expired":          {today.AddDate(0, 0, -7), today.Add(-Skew / 2), time.Time{}, Options{}, ""},
		"expired":               {today.AddDate(0, 0, -8), today.Add(-24 * time.Hour), time.Time{}, Options{}, "valid until 2026-11-20 12:00 UTC"},
		"expired, allowed":      {today.AddDate(0, 0, -8), today.Add(-24 * time.Hour), time.Time{}, Options{AllowExpired: true}, ""},
		"a clock that is ahead": {today.Add(Skew / 2), today.Add(time.Hour), time.Time{}, Options{}, ""},
		"of the future":         {today.Add(time.Hour), today.Add(2 * time.Hour), today, Options{}, "of the future: 2026-11-21 13:00 UTC"},
		"signed in the future":  {today, today.Add(2 * time.Hour), today.Add(time.Hour), Options{}, "this machine's time"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.Date, s.Until, s.Signed = test.date, test.until, test.signed
			s.publish()
			_, err := update(client(t, test.o), s.source())
			if test.word == "" && err != nil {
				t.Fatal(err)
			}
			if test.word != "" {
				refused(t, err, fault.Denied, test.word)
			}
		})
	}
}

func TestSuiteSwap(t *testing.T) {
	s := newSite(t)
	s.Codename = "other"
	s.publish()
	_, err := update(client(t, Options{}), s.source())
	refused(t, err, fault.Denied, "suite other", "asked for is test")
}

func TestReplay(t *testing.T) {
	s := newSite(t)
	o := Options{Cache: t.TempDir()}
	old := s.File("dists/test/InRelease")
	s.Date = s.Date.Add(30 * time.Minute)
	s.debs["more"] = []byte("more")
	s.publish()
	mustUpdate(t, client(t, o), s.source())

	replayed := newSite(t) // another mirror of the archive, with an old state of it
	replayed.Keys = s.Keys
	replayed.publish()
	source := s.source()
	source.Mirrors = []string{replayed.URL}
	_, err := update(client(t, o), source)
	refused(t, err, fault.Denied, "2026-11-21 11:00", "2026-11-21 11:30")

	source.Mirrors = []string{replayed.URL, s.URL}
	if x := mustUpdate(t, client(t, o), source); len(x.Packages) != 3 || x.Suites[0].Mirrors[0] != s.URL {
		t.Errorf("%+v", x)
	}
	source.Mirrors = []string{replayed.URL}
	older := o
	older.AllowOlder = true
	mustUpdate(t, client(t, older), source)
	_, err = update(client(t, o), source)
	refused(t, err, fault.Denied)

	s.Put("dists/test/InRelease", old)
	_, err = update(client(t, o), s.source())
	refused(t, err, fault.Denied)
}

func TestWrongIndexes(t *testing.T) {
	t.Run("other content", func(t *testing.T) {
		s := newSite(t)
		s.ByHash = false
		s.publish()
		s.Change(indexPath, func(b []byte) []byte { b[20] ^= 1; return b })
		_, err := update(client(t, Options{}), s.source())
		refused(t, err, fault.Failed, "Packages.gz", "sha256")
	})
	t.Run("truncated", func(t *testing.T) {
		s := newSite(t)
		s.ByHash = false
		s.publish()
		s.Change(indexPath, func(b []byte) []byte { return b[:len(b)-9] })
		_, err := update(client(t, Options{}), s.source())
		refused(t, err, fault.Failed, "bytes")
	})
	t.Run("unpacks to something else", func(t *testing.T) {
		s := newSite(t)
		s.Change("dists/test/InRelease", func(b []byte) []byte {
			_, rel, _ := bytes.Cut(b, []byte("\n\n"))
			rel, _, _ = bytes.Cut(rel, []byte("\n-----BEGIN"))
			return s.InRelease(bytes.Replace(rel, []byte(sum(s.packages())), []byte(strings.Repeat("0", 64)), 1))
		})
		c := client(t, Options{})
		_, err := update(c, s.source())
		refused(t, err, fault.Failed, "sha256 is not")
		if left, _ := filepath.Glob(c.path("indexes", "*[0-9a-f]")); len(left) > 0 {
			t.Errorf("%v is left", left)
		}
	})
	t.Run("a bomb", func(t *testing.T) {
		s := newSite(t)
		s.Change("dists/test/InRelease", func(b []byte) []byte {
			_, rel, _ := bytes.Cut(b, []byte("\n\n"))
			rel, _, _ = bytes.Cut(rel, []byte("\n-----BEGIN"))
			return s.InRelease(bytes.Replace(rel, []byte(sum(s.packages())+" "), []byte(sum(s.packages())+" 9999999999"), 1))
		})
		_, err := update(client(t, Options{}), s.source())
		if err == nil || !strings.Contains(err.Error(), "more than the") {
			t.Error(err)
		}
	})
	t.Run("damaged in the cache", func(t *testing.T) {
		s := newSite(t)
		c := client(t, Options{})
		mustUpdate(t, c, s.source())
		if err := os.WriteFile(c.indexes.Path(sum(s.packages())), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if x := mustUpdate(t, c, s.source()); len(x.Packages) != 2 {
			t.Error(x.Packages)
		}
	})
	t.Run("no such component, architecture, suite", func(t *testing.T) {
		s := newSite(t)
		source := s.source()
		source.Components = []string{"contrib"}
		_, err := update(client(t, Options{}), source)
		refused(t, err, fault.NotFound, "contrib", "main")
		_, err = client(t, Options{}).Update(t.Context(), []Source{s.source()}, "arm64")
		refused(t, err, fault.NotFound, "arm64", "amd64")
		source = s.source()
		source.Suite = "nosuch"
		_, err = update(client(t, Options{}), source)
		refused(t, err, fault.NotFound, "nosuch", "404")
	})
}

func TestOffline(t *testing.T) {
	s := newSite(t)
	o := Options{Cache: t.TempDir()}
	offline := o
	offline.Offline = true
	_, err := update(client(t, offline), s.source())
	refused(t, err, fault.NotFound, "test", "offline", "never fetched")

	x := mustUpdate(t, client(t, o), s.source())
	s.Requests()
	y := mustUpdate(t, client(t, offline), s.source())
	if len(y.Packages) != len(x.Packages) || len(s.Requests()) > 0 {
		t.Error("offline it asks, or has something else")
	}
	_, err = client(t, offline).Fetch(t.Context(), downloads(t, y))
	refused(t, err, fault.NotFound, "hello 1.0-1", "world 1.0-1")
	if _, err = client(t, o).Fetch(t.Context(), downloads(t, x)); err != nil {
		t.Fatal(err)
	}
	s.Requests()
	if _, err = client(t, offline).Fetch(t.Context(), downloads(t, y)); err != nil || len(s.Requests()) > 0 {
		t.Error(err)
	}
	if err := os.Remove(client(t, offline).indexes.Path(sum(s.packages()))); err != nil {
		t.Fatal(err)
	}
	_, err = update(client(t, offline), s.source())
	refused(t, err, fault.NotFound, "Packages", "not in the cache")
}

func TestFlatArchive(t *testing.T) {
	s := newSite(t)
	index := s.packages()
	rel := []byte("Date: " + s.Date.Format(time.RFC1123) + "\nSHA256:\n " + sum(index) + " " + strconv.Itoa(len(index)) + " Packages\n")
	s.Put("flat/InRelease", s.InRelease(rel))
	s.Put("flat/Packages", index)
	source := s.source()
	source.Suite, source.Components = "flat/", nil
	x := mustUpdate(t, client(t, Options{}), source)
	if len(x.Packages) != 2 {
		t.Error(x.Packages)
	}
}

func TestTwoUpdatesAtOnce(t *testing.T) {
	s := newSite(t)
	o := Options{Cache: t.TempDir()}
	var wg sync.WaitGroup
	for range 6 {
		c := client(t, o)
		wg.Go(func() {
			x, err := update(c, s.source())
			if err != nil {
				t.Error(err)
				return
			}
			var all []Download
			for _, p := range x.Packages {
				d, err := x.Download(p)
				if err != nil {
					t.Error(err)
				}
				all = append(all, d)
			}
			if _, err := c.Fetch(t.Context(), all); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	asked := s.Requests()
	for _, deb := range []string{"pool/main/hello_1.0-1_amd64.deb", "pool/main/world_1.0-1_amd64.deb"} {
		if n := len(asked) - len(slices.DeleteFunc(slices.Clone(asked), func(a string) bool { return a == deb })); n != 1 {
			t.Errorf("%s was downloaded %d times", deb, n)
		}
	}
}
