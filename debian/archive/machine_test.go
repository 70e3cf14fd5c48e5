package archive

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootandshoot/release/debian/archive/archivetest"
	"github.com/bootandshoot/release/internal/fault"
)

// machineRoot is a root folder with these files and Debian's keyring.
func machineRoot(t *testing.T, keyring []byte, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	all := map[string]string{"usr/share/keyrings/debian-archive-keyring.gpg": string(keyring), "etc/os-release": "ID=debian\nVERSION_CODENAME=bookworm\n"}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestMachineSources(t *testing.T) {
	made := today.AddDate(-1, 0, 0)
	debian, other := newKey(t, made), newKey(t, made)
	keyring := public(t, debian)
	fingerprint := fmt.Sprintf("%X", debian.PrimaryKey.Fingerprint)
	list := string(archivetest.InRelease(t, []byte("Suite: x\n"), time.Now().Add(-time.Hour), debian))
	both := "Types: deb\nURIs: http://m.example/debian/\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n" +
		"Types: deb deb-src\nURIs: http://m.example/debian-security\nSuites: bookworm-security\nComponents: main contrib\nSigned-By:\n /usr/share/keyrings/debian-archive-keyring.gpg\n"
	for name, test := range map[string]struct {
		files          map[string]string
		variable       string
		codename       string
		main, security []string
	}{
		"fields": {map[string]string{"etc/apt/sources.list.d/debian.sources": both}, "", "trixie",
			[]string{"http://m.example/debian"}, []string{"http://m.example/debian-security"}},
		"lines": {map[string]string{"etc/apt/sources.list": "# x\ndeb http://a.example/debian bookworm main contrib # y\ndeb-src http://src.example/debian bookworm main\n" +
			"deb [arch=amd64 Signed-By=/usr/share/keyrings/debian-archive-keyring.gpg]\thttps://b.example/debian  bookworm-updates main\ndeb http://c.example/s stable-security main\n" +
			"deb http://d.example/debian bookworm contrib\ndeb cdrom:[Debian]/ bookworm main\ndeb ftp://e.example/debian bookworm main\n"}, "", "bookworm",
			[]string{"https://b.example/debian"}, []string{"http://c.example/s"}},
		"fingerprints, others, not enabled": {map[string]string{
			"usr/share/keyrings/other.gpg":      string(public(t, other)),
			"usr/share/keyrings/mixed.gpg":      string(public(t, debian, other)),
			"etc/apt/sources.list.d/a.sources":  "Types: deb\nURIs: http://a.example\nSuites: bookworm bookworm-security\nComponents: main\nSigned-By: " + fingerprint + "\n",
			"etc/apt/sources.list.d/b.sources":  "Types: deb\nURIs: http://b.example\nSuites: bookworm\nComponents: main\nSigned-By: /usr/share/keyrings/other.gpg\n",
			"etc/apt/sources.list.d/c.list":     "deb [signed-by=/usr/share/keyrings/mixed.gpg] http://c.example bookworm main\n",
			"etc/apt/sources.list.d/d.sources":  "Types: deb\nEnabled: no\nURIs: http://d.example\nSuites: bookworm\nComponents: main\nSigned-By: " + fingerprint + "\n",
			"etc/apt/sources.list.d/e.list.off": "deb http://e.example bookworm main\n",
			"etc/apt/sources.list.d/f.list":     "deb http://f.example cloud-bookworm main\ndeb http://g.example nodistro main\n",
			"etc/apt/sources.list.d/g.sources":  "this is broken\n",
		}, "", "bookworm", []string{"http://a.example"}, []string{"http://a.example"}},
		"what apt has verified": {map[string]string{
			"etc/apt/sources.list": "deb http://no.example/debian bookworm main\ndeb http://yes.example/x_y/debian bookworm main\ndeb http://s.example/ bookworm/updates main\n",
			"var/lib/apt/lists/yes.example_x%5fy_debian_dists_bookworm_InRelease": list,
		}, "", "bookworm", []string{"http://yes.example/x_y/debian"}, []string{"http://s.example"}},
		"the variable": {map[string]string{"etc/apt/sources.list.d/debian.sources": both},
			" http://1.example/debian\nhttps://2.example/debian security=http://3.example/s security=http://4.example ", "bookworm",
			[]string{"http://1.example/debian", "https://2.example/debian"}, []string{"http://3.example/s", "http://4.example"}},
		"one variable": {map[string]string{"etc/apt/sources.list.d/debian.sources": both}, "http://1.example/debian", "bookworm",
			[]string{"http://1.example/debian"}, []string{"http://m.example/debian-security"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := MachineSources(machineRoot(t, keyring, test.files), test.codename, test.variable, nil)
			if err != nil {
				t.Fatal(err)
			}
			source := func(suite string, mirrors []string, security bool) Source {
				return Source{Name: "debian", Mirrors: mirrors, Suite: test.codename + suite, Components: []string{"main"}, Keyring: keyring, Security: security}
			}
			want := []Source{source("", test.main, false), source("-updates", test.main, false), source("-security", test.security, true)}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMachineSourcesRefuses(t *testing.T) {
	keyring := public(t, newKey(t, today))
	main := map[string]string{"etc/apt/sources.list": "deb http://a.example/debian bookworm main\n"}
	for name, test := range map[string]struct {
		files              map[string]string
		codename, variable string
		code               fault.Code
		word               string
	}{
		"no mirror":          {nil, "bookworm", "", fault.NotFound, "archive"},
		"no security mirror": {main, "bookworm", "", fault.NotFound, "security archive"},
		"an alias":           {main, "stable", "", fault.Invalid, "stable"},
		"a suite":            {main, "bookworm-updates", "", fault.Invalid, "bookworm-updates"},
		"nothing":            {main, "", "", fault.Invalid, "codename"},
		"a bad variable":     {main, "bookworm", "ftp://a.example", fault.Invalid, MirrorVariable},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := MachineSources(machineRoot(t, keyring, test.files), test.codename, test.variable, nil)
			refused(t, err, test.code, test.word)
			if hint := fault.All(err)[0].Hint; test.code == fault.NotFound && (!strings.Contains(hint, "recipe") || !strings.Contains(hint, MirrorVariable) || !strings.Contains(hint, "sources.list.d")) {
				t.Errorf("not all ways to give a mirror: %s", hint)
			}
		})
	}
	foreign := map[string]string{"etc/apt/sources.list.d/debian.sources": "Types: deb\nURIs: http://m.example/debian\nSuites: bookworm\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"}
	_, err := MachineSources(machineRoot(t, keyring, foreign), "bookworm", "", public(t, newKey(t, today)))
	refused(t, err, fault.NotFound, "such as http://m.example/debian, are signed by other keys than those of the keyring")
	sid, err := MachineSources(machineRoot(t, keyring, main), "sid", "", nil)
	if err != nil || len(sid) != 1 || sid[0].Suite != "sid" {
		t.Error(sid, err)
	}
	_, err = MachineSources(t.TempDir(), "bookworm", "", nil)
	refused(t, err, fault.NotFound, "keys")
}

func TestMachineKeyring(t *testing.T) {
	a, b := newKey(t, today), newKey(t, today)
	root := machineRoot(t, nil, map[string]string{"etc/apt/trusted.gpg.d/debian-archive-a.gpg": string(public(t, a)),
		"etc/apt/trusted.gpg.d/debian-archive-b.asc": armoredKey(t, b), "etc/apt/trusted.gpg.d/other.gpg": string(public(t, newKey(t, today)))})
	if err := os.Remove(filepath.Join(root, "usr/share/keyrings/debian-archive-keyring.gpg")); err != nil {
		t.Fatal(err)
	}
	got, err := MachineKeyring(root)
	if err != nil || !bytes.Equal(got, public(t, a, b)) {
		t.Error("other keys", err)
	}
}

func FuzzAptSources(f *testing.F) {
	f.Add("deb [arch=amd64 signed-by=/x] http://a.example/debian bookworm main # y\n")
	f.Add("Types: deb\nURIs: http://a.example\nSuites: x\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, e := range append(parseOneLineSources(text), parseDeb822Sources("x", text)...) {
			for _, suite := range e.suites {
				classify(suite)
			}
		}
		_, _ = dearmor([]byte(text))
	})
}
