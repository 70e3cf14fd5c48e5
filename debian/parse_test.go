package debian

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bootandshoot/release/internal/fault"
)

const packagesText = `Package: bash
Source: bash-src (5.2.15-2)
Version: 5.2.15-2+b8
Essential: yes
Protected: no
Installed-Size: 7164
Maintainer: Matthias <x@example>
Architecture: amd64
Multi-Arch: foreign
Replaces: bash-completion (<< 20060301-0), bash-doc (<= 2.05-1)
Depends: base-files (>= 2.1.12), debianutils (>= 5.6-0.1)
Pre-Depends: libc6 (>= 2.36), libtinfo6 (>= 6)
Conflicts: bash-completion (<< 20060301-0)
Breaks: z
Recommends: bash-completion (>= 20060301-0)
Provides: sh
Suggests: bash-doc
Description: GNU Bourne Again SHell
 more
Homepage: http://tiswww.case.example/
Section: shells
priority: required
Filename: pool/main/b/bash/bash_5.2.15-2+b8_amd64.deb
Size: 1490868
MD5sum: x
SHA256: C00A72EC3F3F3B2B2ce6c2f20b22e5d0c11ba4d7e7d53de6a6e04fc2e6aa1b6b

Package: b
Multi-Arch: no
Version: 1
Architecture: all
`

func TestParsePackages(t *testing.T) {
	got, err := ParsePackages("Packages", packagesText, 2)
	if err != nil {
		t.Fatal(err)
	}
	want := []Package{{
		Name: "bash", Version: "5.2.15-2+b8", Arch: "amd64", MultiArch: "foreign", Source: "bash-src", SourceVersion: "5.2.15-2",
		Essential: true, Priority: "required", Section: "shells", PreDepends: "libc6 (>= 2.36), libtinfo6 (>= 6)",
		Depends: "base-files (>= 2.1.12), debianutils (>= 5.6-0.1)", Recommends: "bash-completion (>= 20060301-0)",
		Suggests:  "bash-doc",
		Conflicts: "bash-completion (<< 20060301-0)", Breaks: "z", Replaces: "bash-completion (<< 20060301-0), bash-doc (<= 2.05-1)",
		Provides: "sh", Description: "GNU Bourne Again SHell", Maintainer: "Matthias <x@example>", Homepage: "http://tiswww.case.example/",
		InstalledSize: 7164, Filename: "pool/main/b/bash/bash_5.2.15-2+b8_amd64.deb", Size: 1490868,
		SHA256: "c00a72ec3f3f3b2b2ce6c2f20b22e5d0c11ba4d7e7d53de6a6e04fc2e6aa1b6b", Suite: 2,
	}, {Name: "b", Version: "1", Arch: "all", Source: "b", SourceVersion: "1", Suite: 2}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParsePackagesNamesThePlace(t *testing.T) {
	head := "Package: a\nVersion: 1\nArchitecture: all\n"
	for text, want := range map[string]string{
		"Version: 1\n":                                  "P:1: field Package",
		"Package: a/b\nVersion: 1\n":                    "P:1: field Package",
		"Package: a\nArchitecture: all\n":               "P:1: field Version",
		"Package: a\nVersion: x\n":                      "P:2: field Version",
		"Package: a\nVersion: 1\n":                      "P:1: field Architecture",
		"Package: a\nVersion: 1\nArchitecture: ../x\n":  "P:3: field Architecture",
		head + "Size: 1e3\n":                            "P:4: field Size",
		head + "Size: -1\n":                             "P:4: field Size",
		head + "Installed-Size: 99999999999999999999\n": "P:4: field Installed-Size",
		head + "SHA256: 00\n":                           "P:4: field SHA256",
		head + "SHA256: " + strings.Repeat("g", 64):     "P:4: field SHA256",
		head + "Essential: maybe\n":                     "P:4: field Essential",
		head + "\n" + head + "version: 2\n":             "P:8: field version: it stands there twice",
	} {
		_, err := ParsePackages("P", text, 0)
		if err == nil || !strings.HasPrefix(err.Error(), want) || !fault.Is(err, fault.Failed) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

const releaseText = `Origin: Debian
Label: Debian-Security
Suite: oldstable-security
Codename: bookworm-security
Version: 12
Date: Sat, 21 Nov 2026 05:09:35 UTC
Valid-Until: Sat, 28 Nov 2026 05:09:35 +0000
Acquire-By-Hash: yes
No-Support-for-Architecture-all: Packages
Architectures: all amd64 arm64
Components: main updates/contrib
MD5Sum:
 0000 1 main/x
SHA256:
 c00a72ec3f3f3b2b2ce6c2f20b22e5d0c11ba4d7e7d53de6a6e04fc2e6aa1b6b  1066 main/binary-amd64/Packages
 d00a72ec3f3f3b2b2ce6c2f20b22e5d0c11ba4d7e7d53de6a6e04fc2e6aa1b6b 66 main/binary-amd64/Packages.xz
`

func TestParseRelease(t *testing.T) {
	got, err := ParseRelease("InRelease", releaseText)
	if err != nil {
		t.Fatal(err)
	}
	if got.Codename != "bookworm-security" || !got.ByHash || !got.NoAllArch || got.Date.Unix() != 1795237775 ||
		got.ValidUntil.Sub(got.Date).Hours() != 7*24 || len(got.Architectures) != 3 || len(got.Components) != 2 {
		t.Errorf("%+v", got)
	}
	want := File{"main/binary-amd64/Packages.xz", 66, "d00a72ec3f3f3b2b2ce6c2f20b22e5d0c11ba4d7e7d53de6a6e04fc2e6aa1b6b"}
	if got.Files[want.Path] != want || len(got.Files) != 2 {
		t.Errorf("%+v", got.Files)
	}
}

func TestParseReleaseNamesThePlace(t *testing.T) {
	for _, test := range []struct {
		from, to string
		line     int
	}{
		{"Sat, 21 Nov 2026 05:09:35 UTC", "yesterday", 6},
		{"05:09:35 UTC", "05:09:35 CET", 6},
		{"28 Nov", "31 Nov", 7},
		{" 66 ", " many ", 14},
		{" 66 main", " main", 14},
		{"SHA256", "SHA1", 1},
		{"Packages.xz", "Packages", 14},
		{releaseText, "", 0},
	} {
		_, err := ParseRelease("InRelease", strings.Replace(releaseText, test.from, test.to, 1))
		var e *fault.Error
		if !errors.As(err, &e) || e.File != "InRelease" || e.Line != test.line {
			t.Errorf("%q for %q: %v, want line %d", test.to, test.from, err, test.line)
		}
	}
}
