package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"path"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

// Source is one suite of an archive.
type Source struct {
	Name       string   // what people call the archive, such as debian; sources of one name share the guard against replays
	Mirrors    []string // base addresses, http or https, in the order in which they are asked; dists lies below
	Suite      string   // as below dists; one that ends in "/" is a flat archive: release file and index lie in that folder
	Components []string // none for a flat archive
	Keyring    []byte   // the OpenPGP keys, binary or armored, whose signature counts
	Security   bool     // what it offers are security updates
}

// aliases are names that another suite has after the next release of Debian.
var aliases = []string{"stable", "oldstable", "oldoldstable", "testing", "unstable", "experimental"}

// Suites are the sources of a Debian release: CODENAME, CODENAME-updates and CODENAME-security, component main, in this order.
// sid is a suite alone.
func Suites(codename string, main, security []string, keyring []byte) ([]Source, error) {
	if err := checkCodename(codename); err != nil {
		return nil, err
	}
	source := func(suite string, mirrors []string) Source {
		return Source{Name: "debian", Mirrors: mirrors, Suite: suite, Components: []string{"main"}, Keyring: keyring}
	}
	if codename == "sid" {
		return []Source{source("sid", main)}, nil
	}
	updates := source(codename+"-security", security)
	updates.Security = true
	return []Source{source(codename, main), source(codename+"-updates", main), updates}, nil
}

func checkCodename(codename string) error {
	for _, alias := range aliases {
		if codename == alias {
			return fault.New(fault.Invalid, "the Debian release %s is another one every few years", codename).
				WithHint("write its codename, such as bookworm; unstable is sid")
		}
	}
	if codename == "" || strings.Trim(codename, "abcdefghijklmnopqrstuvwxyz") != "" {
		return fault.New(fault.Invalid, "%q is no codename of a Debian release", codename).
			WithHint("write the codename alone, such as bookworm: its updates and security suites come with it")
	}
	return nil
}

// check says what is wrong with a source.
func (s *Source) check() error {
	switch {
	case s.Suite == "" || !cleanPath(strings.TrimSuffix(s.Suite, "/")) && s.Suite != "/":
		return fault.New(fault.Invalid, "use package source %s: %q is no suite", s, s.Suite)
	case !s.flat() && len(s.Components) == 0:
		return fault.New(fault.Invalid, "use package source %s: it has no components", s).WithHint("say which, such as main")
	case s.flat() && len(s.Components) > 0:
		return fault.New(fault.Invalid, "use package source %s: a suite that ends in / has no components", s)
	case len(s.Keyring) == 0:
		return fault.New(fault.Invalid, "use package source %s: it has no keyring to check signatures with", s).
			WithHint("give the file with the archive's public keys")
	case len(s.Mirrors) == 0:
		return fault.New(fault.Invalid, "use package source %s: it has no mirror", s)
	}
	for _, component := range s.Components {
		if !cleanPath(component) {
			return fault.New(fault.Invalid, "use package source %s: %q is no component", s, component)
		}
	}
	for _, mirror := range s.Mirrors {
		if err := checkMirror(mirror); err != nil {
			return err
		}
	}
	return nil
}

// checkMirror takes http and https addresses.
func checkMirror(mirror string) error {
	u, err := url.Parse(mirror)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return fault.New(fault.Invalid, "use mirror %q: it is no http or https address", mirror).
			WithHint("write the folder's address below which dists lies")
	}
	return nil
}

// flat reports whether the archive has no dists folder.
func (s *Source) flat() bool { return strings.HasSuffix(s.Suite, "/") }

// folder is where the release file lies, below a mirror.
func (s *Source) folder() string {
	if s.flat() {
		return strings.Trim(s.Suite, "/")
	}
	return "dists/" + s.Suite
}

// String is the source for people.
func (s *Source) String() string {
	if s.Name == "" {
		return s.Suite
	}
	return s.Name + " " + s.Suite
}

// key names the source's release file in the cache.
func (s *Source) key() string {
	return hashOf(append([]string{s.Name, s.Suite, string(s.Keyring)}, s.Mirrors...)...)
}

// guardKey names what replays are looked for in. The mirrors are not part of it, so that a mirror cannot be used to go
// back behind another; without a name they are all there is to tell archives apart.
func (s *Source) guardKey() string {
	if s.Name == "" {
		return s.key()
	}
	return hashOf(s.Name, s.Suite, string(s.Keyring))
}

func hashOf(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		sum := sha256.Sum256([]byte(part))
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}

// join is an address below a mirror.
func join(mirror string, elem ...string) string {
	parts := []string{strings.TrimRight(mirror, "/")}
	for _, e := range elem {
		if e = strings.Trim(e, "/"); e != "" {
			parts = append(parts, (&url.URL{Path: e}).EscapedPath())
		}
	}
	return strings.Join(parts, "/")
}

// cleanPath takes relative paths that stay where they are.
func cleanPath(p string) bool {
	return p != "" && path.Clean(p) == p && !path.IsAbs(p) && p != ".." && !strings.HasPrefix(p, "../") && !strings.ContainsAny(p, "\\\x00")
}
