package builder

import (
	"os"
	"slices"
	"strings"

	"github.com/bootandshoot/release/debian/archive"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/plainfile"
	"github.com/bootandshoot/release/recipes"
)

// debianSource is an archive with the name that pins of its packages have.
type debianSource struct {
	archive.Source
	label string
}

// debianSources are the suites of the recipe's Debian release, then its repositories.
func (b *bake) debianSources() ([]debianSource, error) {
	list, err := suiteSources(b.recipe.Base.Debian)
	if err != nil {
		return nil, err
	}
	for _, r := range b.recipe.Repositories {
		keys, err := readKeyring(r.Keyring)
		if err != nil {
			return nil, inPart("repository "+r.Name, r.Pos, err)
		}
		list = append(list, debianSource{archive.Source{
			Name: r.Name, Mirrors: []string{r.URL}, Suite: r.Suite, Components: r.Components, Keyring: keys,
		}, r.Name})
	}
	return list, nil
}

// suiteSources are the suites of a Debian release.
func suiteSources(d *recipes.Debian) ([]debianSource, error) {
	keyring, err := debianKeyring(d)
	if err != nil {
		return nil, err
	}
	suites, err := debianSuites(d, keyring)
	if err != nil {
		return nil, err
	}
	var list []debianSource
	for _, s := range suites {
		list = append(list, debianSource{s, s.Suite})
	}
	return list, nil
}

func debianKeyring(d *recipes.Debian) ([]byte, error) {
	if d.Keyring != "" {
		return readKeyring(d.Keyring)
	}
	return archive.MachineKeyring("/")
}

// maxKeyring bounds a file of keys, in bytes.
const maxKeyring = 16 << 20

func readKeyring(path string) ([]byte, error) {
	keys, err := plainfile.Read(path, maxKeyring)
	if err != nil {
		return nil, fault.New(fault.Invalid, "read keyring: %w", err)
	}
	return keys, nil
}

// debianSuites takes the recipe's mirrors, then those of the environment, then the machine's, for each archive by itself.
func debianSuites(d *recipes.Debian, keyring []byte) ([]archive.Source, error) {
	words := slices.Clone(d.Mirrors)
	for _, m := range d.SecurityMirrors {
		words = append(words, securityMark+m)
	}
	for _, word := range strings.Fields(os.Getenv(archive.MirrorVariable)) {
		given := d.Mirrors
		if strings.HasPrefix(word, securityMark) {
			given = d.SecurityMirrors
		}
		if len(given) == 0 {
			words = append(words, word)
		}
	}
	return archive.MachineSources("/", d.Suite, strings.Join(words, " "), keyring)
}

// securityMark tells mirrors of the security archive in a list, as in archive.MirrorVariable.
const securityMark = "security="

// archives opens the mirrors' cache; what it does is progress of the step.
func (b *bake) archives(step string) (*archive.Client, error) {
	return b.archivesOf(b.recipe.Base.Debian, step)
}

// archivesOf is that for any Debian release.
func (b *bake) archivesOf(d *recipes.Debian, step string) (*archive.Client, error) {
	return archive.New(archive.Options{
		Cache: b.cache.dir, Now: b.now, Offline: b.o.Offline, Log: b.log,
		AllowExpired: d.AllowExpired, AllowOlder: d.AllowExpired,
		Waiting: func(w archive.Waiting) { b.waiting(step, w.Mirror, w.Since) },
		Progress: func(p archive.Progress) {
			b.report.emit(Event{Kind: Bytes, Step: step, Bytes: p.AllBytes, Size: p.AllSize})
		},
	})
}
