package sbom

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/bootandshoot/release/images"
)

// The types follow the JSON schema of SPDX 2.3 (spdx/spdx-spec, schemas/spdx-schema.json).
type spdxDocument struct {
	Version       string             `json:"spdxVersion"`
	DataLicense   string             `json:"dataLicense"`
	ID            string             `json:"SPDXID"`
	Name          string             `json:"name"`
	Namespace     string             `json:"documentNamespace"`
	Creation      spdxCreation       `json:"creationInfo"`
	Packages      []spdxPackage      `json:"packages"`
	Files         []spdxFile         `json:"files,omitempty"`
	Relationships []spdxRelationship `json:"relationships"`
}

type spdxCreation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	ID               string         `json:"SPDXID"`
	Name             string         `json:"name"`
	Version          string         `json:"versionInfo,omitempty"`
	Supplier         string         `json:"supplier,omitempty"`
	Location         string         `json:"downloadLocation"`
	FilesAnalyzed    bool           `json:"filesAnalyzed"`
	Homepage         string         `json:"homepage,omitempty"`
	SourceInfo       string         `json:"sourceInfo,omitempty"`
	LicenseConcluded string         `json:"licenseConcluded"`
	LicenseDeclared  string         `json:"licenseDeclared"`
	Copyright        string         `json:"copyrightText"`
	Purpose          string         `json:"primaryPackagePurpose,omitempty"`
	Checksums        []spdxChecksum `json:"checksums,omitempty"`
	External         []spdxExternal `json:"externalRefs,omitempty"`
}

type spdxChecksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type spdxExternal struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type spdxFile struct {
	ID               string         `json:"SPDXID"`
	Name             string         `json:"fileName"`
	Checksums        []spdxChecksum `json:"checksums"`
	LicenseConcluded string         `json:"licenseConcluded"`
	Copyright        string         `json:"copyrightText"`
}

type spdxRelationship struct {
	From string `json:"spdxElementId"`
	Kind string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

const (
	noAssertion  = "NOASSERTION"
	spdxDocID    = "SPDXRef-DOCUMENT"
	spdxImageID  = "SPDXRef-Image"
	spdxContains = "CONTAINS"
)

// SPDX is the document as SPDX 2.3 in JSON, with a final newline.
func (d *Document) SPDX() ([]byte, error) {
	doc := spdxDocument{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: spdxDocID, Name: d.Name,
		Namespace: "https://spdx.org/spdxdocs/release-" + d.Key.Hex(),
		Creation:  spdxCreation{Created: d.Created.Format(time.RFC3339), Creators: []string{"Tool: release"}},
		Packages:  make([]spdxPackage, 0, len(d.Components)+1), Files: make([]spdxFile, 0, len(d.Files)),
		Relationships: make([]spdxRelationship, 0, len(d.Components)+len(d.Files)+1),
	}
	doc.Packages = append(doc.Packages, d.spdxImage())
	doc.Relationships = append(doc.Relationships, spdxRelationship{spdxDocID, "DESCRIBES", spdxImageID})
	for _, c := range d.Components {
		p := c.spdx()
		doc.Packages = append(doc.Packages, p)
		doc.Relationships = append(doc.Relationships, spdxRelationship{spdxImageID, spdxContains, p.ID})
	}
	for _, f := range d.Files {
		id := "SPDXRef-File-" + images.DigestOf([]byte(f.Path)).Hex()[:20]
		doc.Files = append(doc.Files, spdxFile{ID: id, Name: "." + f.Path, LicenseConcluded: noAssertion, Copyright: noAssertion,
			Checksums: []spdxChecksum{{"SHA1", f.SHA1}, {"SHA256", f.SHA256}}})
		doc.Relationships = append(doc.Relationships, spdxRelationship{spdxImageID, spdxContains, id})
	}
	return encode(doc)
}

func encode(doc any) ([]byte, error) {
	data, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("write bill of materials: %w", err)
	}
	return append(data, '\n'), nil
}

func (d *Document) spdxImage() spdxPackage {
	return spdxPackage{
		ID: spdxImageID, Name: d.Name, Version: string(d.Image), Location: noAssertion, LicenseConcluded: noAssertion,
		LicenseDeclared: noAssertion, Copyright: noAssertion, Purpose: "CONTAINER",
		Checksums: []spdxChecksum{{"SHA256", d.Image.Hex()}},
		External:  []spdxExternal{{"PACKAGE-MANAGER", "purl", d.purl()}},
	}
}

// purl is the image as a package URL.
func (d *Document) purl() string { return purl("oci", "", strings.ToLower(d.Name), string(d.Image)) }

// id is the component's identifier within a document: no two have the same.
func (c Component) id() string {
	var name strings.Builder
	for _, b := range []byte(c.Name) {
		if b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '.' || b == '-' {
			name.WriteByte(b)
		} else {
			name.WriteByte('-')
		}
	}
	all := fmt.Sprintf("%q %q %q %q %q %q %q", c.Kind, c.Name, c.Version, c.PURL, c.Source, c.SHA256+c.Commit, c.key())
	return c.Kind + "-" + name.String() + "-" + images.DigestOf([]byte(all)).Hex()[:12]
}

// key tells components apart that were got from the same place.
func (c Component) key() string {
	if c.PURL != "" {
		return ""
	}
	return strings.Join(c.Paths, "\n")
}

func (c Component) spdx() spdxPackage {
	p := spdxPackage{
		ID: "SPDXRef-" + c.id(), Name: c.Name, Version: c.Version, Location: cmp.Or(c.location(), noAssertion),
		Homepage: c.Homepage, LicenseConcluded: noAssertion, LicenseDeclared: cmp.Or(c.License, noAssertion), Copyright: noAssertion,
		Purpose: c.spdxPurpose(),
	}
	switch {
	case c.Kind == Debian:
		p.SourceInfo = "built from: " + c.Source
	case len(c.Paths) > 0:
		p.SourceInfo = "found in: " + strings.Join(c.Paths, ", ")
	}
	if c.Supplier != "" {
		p.Supplier = "Organization: " + spdxAgent(c.Supplier)
	}
	if c.SHA256 != "" {
		p.Checksums = []spdxChecksum{{"SHA256", c.SHA256}}
	}
	if c.PURL != "" {
		p.External = []spdxExternal{{"PACKAGE-MANAGER", "purl", c.PURL}}
	}
	return p
}

// spdxAgent turns "Name <mail>" into SPDX's "Name (mail)".
func spdxAgent(text string) string {
	return strings.NewReplacer("<", "(", ">", ")").Replace(text)
}

// location is where a component was got from, in the form of SPDX for repositories.
func (c Component) location() string {
	switch {
	case c.Kind == Debian || c.Source == "":
		return ""
	case c.Commit != "" && strings.Contains(c.Source, "://"):
		return "git+" + c.Source + "@" + c.Commit
	case c.Commit != "":
		return "git+ssh://" + strings.Replace(c.Source, ":", "/", 1) + "@" + c.Commit
	}
	return c.Source
}

func (c Component) spdxPurpose() string {
	switch c.Kind {
	case Operating:
		return "OPERATING_SYSTEM"
	case Download:
		return "ARCHIVE"
	case Repo:
		return "SOURCE"
	case Go, Python, NPM:
		return "LIBRARY"
	}
	return ""
}
