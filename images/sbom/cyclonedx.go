package sbom

import (
	"fmt"
	"time"
)

// The types follow the JSON schema of CycloneDX 1.6 (CycloneDX/specification, schema/bom-1.6.schema.json).
type cdxDocument struct {
	Format     string         `json:"bomFormat"`
	Version    string         `json:"specVersion"`
	Serial     string         `json:"serialNumber"`
	Revision   int            `json:"version"`
	Metadata   cdxMetadata    `json:"metadata"`
	Components []cdxComponent `json:"components"`
}

type cdxMetadata struct {
	Time      string       `json:"timestamp"`
	Tools     cdxTools     `json:"tools"`
	Component cdxComponent `json:"component"`
}

type cdxTools struct {
	Components []cdxComponent `json:"components"`
}

type cdxComponent struct {
	Type       string        `json:"type"`
	Ref        string        `json:"bom-ref,omitempty"`
	Supplier   *cdxSupplier  `json:"supplier,omitempty"`
	Name       string        `json:"name"`
	Version    string        `json:"version,omitempty"`
	Hashes     []cdxHash     `json:"hashes,omitempty"`
	Licenses   []cdxLicense  `json:"licenses,omitempty"`
	PURL       string        `json:"purl,omitempty"`
	External   []cdxExternal `json:"externalReferences,omitempty"`
	Properties []cdxProperty `json:"properties,omitempty"`
}

type cdxSupplier struct {
	Name string `json:"name"`
}

type cdxHash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type cdxLicense struct {
	Expression string `json:"expression"`
}

type cdxExternal struct {
	Type string `json:"type"`
	URL  string `json:"url"`
}

type cdxProperty struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Names of the properties that this package writes.
const (
	propertyPath   = "release:path"
	propertySource = "release:source"
	propertyCommit = "release:commit"
	propertyKind   = "release:kind"
)

// CycloneDX is the document as CycloneDX 1.6 in JSON, with a final newline.
func (d *Document) CycloneDX() ([]byte, error) {
	doc := cdxDocument{
		Format: "CycloneDX", Version: "1.6", Serial: "urn:uuid:" + d.uuid(), Revision: 1,
		Metadata: cdxMetadata{
			Time:  d.Created.Format(time.RFC3339),
			Tools: cdxTools{[]cdxComponent{{Type: "application", Name: "release"}}},
			Component: cdxComponent{Type: "container", Ref: "image", Name: d.Name, Version: string(d.Image),
				Hashes: []cdxHash{{"SHA-256", d.Image.Hex()}}, PURL: d.purl()},
		},
		Components: make([]cdxComponent, 0, len(d.Components)+len(d.Files)),
	}
	for _, c := range d.Components {
		doc.Components = append(doc.Components, c.cyclonedx())
	}
	for _, f := range d.Files {
		doc.Components = append(doc.Components, cdxComponent{Type: "file", Ref: "file:" + f.Path, Name: f.Path,
			Hashes: []cdxHash{{"SHA-1", f.SHA1}, {"SHA-256", f.SHA256}}})
	}
	return encode(doc)
}

// uuid is a UUID made of the document's key: version 8 of RFC 9562, "custom".
func (d *Document) uuid() string {
	h := []byte(d.Key.Hex()[:32])
	h[12] = '8'
	h[16] = "89ab"[h[16]&3]
	return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}

func (c Component) cyclonedx() cdxComponent {
	out := cdxComponent{Type: c.cdxType(), Ref: c.id(), Name: c.Name, Version: c.Version, PURL: c.PURL}
	if c.Supplier != "" {
		out.Supplier = &cdxSupplier{c.Supplier}
	}
	if c.SHA256 != "" {
		out.Hashes = []cdxHash{{"SHA-256", c.SHA256}}
	}
	if c.License != "" {
		out.Licenses = []cdxLicense{{c.License}}
	}
	if c.Homepage != "" {
		out.External = append(out.External, cdxExternal{"website", c.Homepage})
	}
	switch {
	case c.Commit != "":
		out.External = append(out.External, cdxExternal{"vcs", c.Source})
	case c.Source != "" && c.Kind != Debian:
		out.External = append(out.External, cdxExternal{"distribution", c.Source})
	}
	out.Properties = append(out.Properties, cdxProperty{propertyKind, c.Kind})
	if c.Kind == Debian {
		out.Properties = append(out.Properties, cdxProperty{propertySource, c.Source})
	}
	if c.Commit != "" {
		out.Properties = append(out.Properties, cdxProperty{propertyCommit, c.Commit})
	}
	for _, p := range c.Paths {
		out.Properties = append(out.Properties, cdxProperty{propertyPath, p})
	}
	return out
}

func (c Component) cdxType() string {
	switch c.Kind {
	case Operating:
		return "operating-system"
	case Download:
		return "file"
	case Plugin:
		return "application"
	}
	return "library"
}
