package sbom

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// Inputs is what whoever made an image knows and the image does not tell.
type Inputs struct {
	Name       string      `json:"name,omitempty"` // of the image
	Fetches    []Fetch     `json:"fetches,omitempty"`
	Git        []Git       `json:"git,omitempty"`
	Extensions []Extension `json:"extensions,omitempty"`
}

// Fetch is a download.
type Fetch struct {
	URL    string `json:"url"`
	SHA256 string `json:"sha256"` // hex
	To     string `json:"to"`     // file or folder in the image
}

// Git is a commit whose files are in the image.
type Git struct {
	URL    string `json:"url"`
	Ref    string `json:"ref,omitempty"`
	Commit string `json:"commit"`
	To     string `json:"to"`
}

// Extension is a plug-in of the app: an archive by SHA256, or a repository by Commit.
type Extension struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Source  string `json:"source"`
	SHA256  string `json:"sha256,omitempty"`
	Commit  string `json:"commit,omitempty"`
	Path    string `json:"path"`
}

// Clean is the inputs in a fixed order and without passwords in addresses.
func (in Inputs) Clean() Inputs {
	in.Fetches, in.Git, in.Extensions = slices.Clone(in.Fetches), slices.Clone(in.Git), slices.Clone(in.Extensions)
	for i := range in.Fetches {
		in.Fetches[i].URL = PublicURL(in.Fetches[i].URL)
	}
	for i := range in.Git {
		in.Git[i].URL = PublicURL(in.Git[i].URL)
	}
	for i := range in.Extensions {
		in.Extensions[i].Source = PublicURL(in.Extensions[i].Source)
	}
	slices.SortFunc(in.Fetches, func(a, b Fetch) int { return strings.Compare(a.URL+"\n"+a.To, b.URL+"\n"+b.To) })
	slices.SortFunc(in.Git, func(a, b Git) int { return strings.Compare(a.URL+"\n"+a.To, b.URL+"\n"+b.To) })
	slices.SortFunc(in.Extensions, func(a, b Extension) int { return strings.Compare(a.Name+"\n"+a.Path, b.Name+"\n"+b.Path) })
	return in
}

// withAnnotated adds the extensions that the image itself lists.
func (in Inputs) withAnnotated(img images.Image) ([]Extension, error) {
	text := img.Annotations[images.AnnotationExtensions]
	if text == "" {
		return in.Extensions, nil
	}
	var list []Extension
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fault.New(fault.Invalid, "read annotation %s: %w", images.AnnotationExtensions, err)
	}
	for _, e := range list {
		if !slices.Contains(in.Extensions, e) {
			in.Extensions = append(slices.Clone(in.Extensions), e)
		}
	}
	return in.Extensions, nil
}

// PublicURL is an address without user, password and query, where tokens are.
func PublicURL(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" {
		if _, rest, ok := strings.Cut(text, "@"); ok && !strings.Contains(text, "://") {
			return rest // git@host:path
		}
		return text
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// key names inputs and image together.
func key(d images.Digest, in Inputs) (images.Digest, error) {
	data, err := json.Marshal(in)
	if err != nil {
		return "", fmt.Errorf("make bill of materials: %w", err)
	}
	return images.DigestOf(append([]byte(d+"\n"), data...)), nil
}
