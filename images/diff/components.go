package diff

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// components compares the bills of materials that are attached to the images; without one on both sides there is nothing to
// say. Components are told apart by their package URL without version, else by name; their text is the version.
func (c *comparison) components() ([]Item, error) {
	a, err := c.a.components(c.store)
	if err != nil {
		return nil, err
	}
	b, err := c.b.components(c.store)
	if err != nil {
		return nil, err
	}
	if a == nil || b == nil {
		return []Item{}, nil
	}
	return items(a, b), nil
}

// components reads the newest bill of materials of an image; nil when there is none.
func (x side) components(s *images.Store) (map[string]string, error) {
	for _, kind := range []string{images.ArtifactSPDX, images.ArtifactCycloneDX} {
		list, err := s.Referrers(x.digest, kind)
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			continue
		}
		a, err := s.OpenArtifact(list[len(list)-1].Digest)
		if err != nil {
			return nil, err
		}
		if len(a.Blobs) == 0 {
			continue
		}
		found, err := parseComponents(a.Blobs[0].Data)
		if err != nil {
			return nil, fault.New(fault.Invalid, "image %s: read its bill of materials %s: %w", x.digest.Short(), list[len(list)-1].Digest.Short(), err)
		}
		return found, nil
	}
	return nil, nil
}

// bill is what SPDX and CycloneDX documents say of components.
type bill struct {
	Relations []struct { // SPDX
		Type string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	} `json:"relationships"`
	Packages []struct { // SPDX
		ID           string `json:"SPDXID"`
		Name         string `json:"name"`
		Version      string `json:"versionInfo"`
		ExternalRefs []struct {
			Type    string `json:"referenceType"`
			Locator string `json:"referenceLocator"`
		} `json:"externalRefs"`
	} `json:"packages"`
	Components []struct { // CycloneDX
		Type    string `json:"type"`
		Name    string `json:"name"`
		Version string `json:"version"`
		PURL    string `json:"purl"`
	} `json:"components"`
}

// about says whether an SPDX package is what the document is about, the image itself, and no component of it.
func (b *bill) about(id string) bool {
	for _, r := range b.Relations {
		if r.Type == "DESCRIBES" && r.To == id {
			return true
		}
	}
	return false
}

// parseComponents gives the versions of each component. Debian packages are left out: they are compared as packages; so is the image itself.
func parseComponents(data []byte) (map[string]string, error) {
	var b bill
	if err := json.Unmarshal(data, &b); err != nil {
		return nil, fmt.Errorf("no JSON of SPDX or CycloneDX: %w", err)
	}
	versions := map[string][]string{}
	add := func(name, version, purl string) {
		if strings.HasPrefix(purl, "pkg:deb/") || name == "" || version == "" && purl == "" {
			return
		}
		bare, _, _ := strings.Cut(purl, "?")
		bare, _, _ = strings.Cut(bare, "#")
		if i := strings.LastIndex(bare, "@"); i > strings.LastIndex(bare, "/") {
			bare = bare[:i]
		}
		key := cmp.Or(bare, name)
		if !slices.Contains(versions[key], version) {
			versions[key] = append(versions[key], version)
		}
	}
	for _, p := range b.Packages {
		if b.about(p.ID) {
			continue
		}
		purl := ""
		for _, r := range p.ExternalRefs {
			if r.Type == "purl" {
				purl = r.Locator
			}
		}
		add(p.Name, p.Version, purl)
	}
	for _, c := range b.Components {
		if c.Type != "file" {
			add(c.Name, c.Version, c.PURL)
		}
	}
	found := map[string]string{}
	for key, list := range versions {
		slices.Sort(list)
		found[key] = strings.Join(list, ", ")
	}
	return found, nil
}
