package archive

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/internal/fault"
)

// MirrorVariable names the environment variable that says where Debian's mirrors are, before the machine's apt sources. It
// takes one or more addresses with blanks between: plain ones are mirrors of the main archive, those after security= of the
// security archive, each in the order in which they are asked:
//
//	RELEASE_DEBIAN_MIRROR="http://mirror.example/debian security=http://mirror.example/debian-security"
//
// The archive that it does not name is looked for in the apt sources.
const MirrorVariable = "RELEASE_DEBIAN_MIRROR"

// MachineSources are the sources of a Debian release at the mirrors that the machine uses. root is its root folder, "/" for
// this one; mirrors is the value of MirrorVariable; keyring are the keys of Debian's archive, nil for the machine's own.
//
// Of the machine's apt sources (sources.list, and .list and .sources files of sources.list.d) only the http and https
// addresses of Debian's archives are taken. Debian's are those with Signed-By naming keys of the keyring only. Without
// Signed-By it is those whose release file in /var/lib/apt/lists verifies with the keyring; if neither gives a mirror, those
// with a suite of the machine's or the wanted release, since Update checks the signature before it believes a mirror. An entry
// is of the security archive when its suite ends in -security.
func MachineSources(root, codename, mirrors string, keyring []byte) ([]Source, error) {
	if err := checkCodename(codename); err != nil {
		return nil, err
	}
	if len(keyring) == 0 {
		var err error
		if keyring, err = MachineKeyring(root); err != nil {
			return nil, err
		}
	}
	main, security, err := parseMirrors(mirrors)
	if err != nil {
		return nil, err
	}
	needSecurity := codename != "sid"
	if len(main) == 0 || needSecurity && len(security) == 0 {
		m := machine{root: root, codename: codename}
		if m.keys, err = parseKeyring(keyring); err != nil {
			return nil, err
		}
		found, err := m.mirrors()
		if err != nil {
			return nil, err
		}
		if len(main) == 0 {
			main = found[mainArchive]
		}
		if len(security) == 0 {
			security = found[securityArchive]
		}
		if len(main) == 0 {
			return nil, m.noMirror(mainArchive, "archive", "http://MIRROR/debian")
		}
		if needSecurity && len(security) == 0 {
			return nil, m.noMirror(securityArchive, "security archive", "http://MIRROR/debian security=http://MIRROR/debian-security")
		}
	}
	return Suites(codename, main, security, keyring)
}

func (m *machine) noMirror(kind archiveKind, what, example string) error {
	if at := m.foreign[kind]; at != "" {
		return fault.New(fault.NotFound, "look for a mirror of Debian's %s: the apt sources of this machine, such as %s, are signed by other keys than those of the keyring", what, at).
			WithHint("give the mirror that fits keyring: in the recipe, or in the environment with %s=%q; without keyring: the keys are those of Debian", MirrorVariable, example)
	}
	return fault.New(fault.NotFound, "look for a mirror of Debian's %s: this machine names none", what).
		WithHint("give one in the recipe, or in the environment with %s=%q, or as an apt source of this machine in /etc/apt/sources.list.d", MirrorVariable, example)
}

// parseMirrors reads the value of MirrorVariable.
func parseMirrors(value string) (main, security []string, err error) {
	for _, word := range strings.Fields(value) {
		address, isSecurity := strings.CutPrefix(word, "security=")
		if err := checkMirror(address); err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", MirrorVariable, err)
		}
		if isSecurity {
			security = append(security, address)
		} else {
			main = append(main, address)
		}
	}
	return main, security, nil
}

// archiveKind tells Debian's archives apart.
type archiveKind int

const (
	otherArchive archiveKind = iota
	mainArchive
	securityArchive
)

// machine is a root folder whose apt sources are read.
type machine struct {
	root     string
	codename string // of the release that is wanted
	keys     openpgp.EntityList
	foreign  map[archiveKind]string // an address of a suite of Debian's that other keys sign
}

// mirrors are the addresses of Debian's archives, in the order of the machine's files.
func (m *machine) mirrors() (map[archiveKind][]string, error) {
	entries, err := readAptSources(m.root)
	if err != nil {
		return nil, err
	}
	own := m.ownCodename()
	m.foreign = map[archiveKind]string{}
	sure, maybe := map[archiveKind][]string{}, map[archiveKind][]string{}
	for _, e := range entries {
		trusted := m.signedByDebian(e)
		if !slices.Contains(e.components, "main") {
			continue
		}
		for _, address := range e.addresses {
			for _, suite := range e.suites {
				kind, base := classify(suite)
				switch {
				case checkMirror(address) != nil || kind == otherArchive || strings.Contains(address, "$("):
				case trusted == no:
					if m.foreign[kind] == "" && (base == own || base == m.codename) {
						m.foreign[kind] = address
					}
				case trusted == yes || m.listVerifies(address, suite):
					add(sure, kind, address)
				case base == own || base == m.codename || base == "sid" || slices.Contains(aliases, base):
					add(maybe, kind, address)
				}
			}
		}
	}
	for kind, addresses := range maybe {
		if len(sure[kind]) == 0 {
			sure[kind] = addresses
		}
	}
	return sure, nil
}

func add(to map[archiveKind][]string, kind archiveKind, address string) {
	address = strings.TrimRight(address, "/")
	if !slices.Contains(to[kind], address) {
		to[kind] = append(to[kind], address)
	}
}

// classify tells which of Debian's archives has a suite, and of which release it is.
func classify(suite string) (kind archiveKind, base string) {
	for _, suffix := range []string{"-security", "/updates"} {
		if base, ok := strings.CutSuffix(suite, suffix); ok {
			return securityArchive, base
		}
	}
	for _, suffix := range []string{"-proposed-updates", "-updates", "-backports-sloppy", "-backports"} {
		if base, ok := strings.CutSuffix(suite, suffix); ok {
			return mainArchive, base
		}
	}
	if strings.ContainsAny(suite, "-/") {
		return otherArchive, ""
	}
	return mainArchive, suite
}

// ownCodename is the release that the machine runs; "" when it does not say.
func (m *machine) ownCodename() string {
	data, err := readBounded(filepath.Join(m.root, "etc/os-release"), maxKeyring)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "VERSION_CODENAME="); ok {
			return strings.Trim(value, "\"' \t\r\n")
		}
	}
	return ""
}

type answer int

const (
	unsure answer = iota
	yes
	no
)

// signedByDebian reads an entry's Signed-By: files, fingerprints, or keys in the entry itself.
func (m *machine) signedByDebian(e aptSource) answer {
	if e.signedBy == "" {
		return unsure
	}
	if strings.Contains(e.signedBy, armorStart) {
		return m.allOurs([]byte(strings.Join(debian.Lines(e.signedBy), "\n")))
	}
	for _, word := range strings.FieldsFunc(e.signedBy, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' }) {
		if !filepath.IsAbs(word) {
			if !m.hasFingerprint(strings.TrimSuffix(word, "!")) {
				return no
			}
			continue
		}
		data, err := readBounded(filepath.Join(m.root, word), maxKeyring)
		if err != nil || m.allOurs(data) != yes {
			return no
		}
	}
	return yes
}

// allOurs reports whether keys are Debian's, all of them.
func (m *machine) allOurs(data []byte) answer {
	keys, err := parseKeyring(data)
	if err != nil {
		return no
	}
	for _, key := range keys {
		if !m.hasFingerprint(fmt.Sprintf("%X", key.PrimaryKey.Fingerprint)) {
			return no
		}
	}
	return yes
}

func (m *machine) hasFingerprint(fingerprint string) bool {
	return slices.ContainsFunc(m.keys, func(key *openpgp.Entity) bool {
		return strings.EqualFold(fmt.Sprintf("%X", key.PrimaryKey.Fingerprint), fingerprint)
	})
}

// listVerifies reports whether apt has a release file of this source that Debian signed.
func (m *machine) listVerifies(address, suite string) bool {
	data, err := readBounded(filepath.Join(m.root, "var/lib/apt/lists", listName(address, suite)), maxRelease)
	if err != nil {
		return false
	}
	_, _, err = openInRelease(bytes.TrimLeft(data, "\n"), m.keys, time.Now())
	return err == nil
}

// listName is the name that apt gives to a release file: its address without the scheme, slashes and some signs written otherwise.
func listName(address, suite string) string {
	_, address, _ = strings.Cut(address, "://")
	var name strings.Builder
	for _, c := range []byte(strings.TrimRight(address, "/") + "/dists/" + suite + "/InRelease") {
		switch {
		case c == '/':
			name.WriteByte('_')
		case c <= ' ' || c > '~' || strings.IndexByte("\\|{}[]<>\"^~_=!@#$%&*", c) >= 0:
			fmt.Fprintf(&name, "%%%02x", c)
		default:
			name.WriteByte(c)
		}
	}
	return name.String()
}

// aptFiles are the files of apt's sources in apt's order.
func aptFiles(root string) ([]string, error) {
	folder := filepath.Join(root, "etc/apt/sources.list.d")
	entries, err := os.ReadDir(folder)
	if err != nil && !os.IsNotExist(err) {
		return nil, fault.New(fault.CodeOf(err), "read apt sources: %w", err)
	}
	files := []string{filepath.Join(root, "etc/apt/sources.list")}
	for _, entry := range entries {
		if ext := filepath.Ext(entry.Name()); ext == ".list" || ext == ".sources" {
			files = append(files, filepath.Join(folder, entry.Name()))
		}
	}
	return files, nil
}
