package images

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/fault"
)

// Codes of the OCI distribution specification.
const (
	codeUnauthorized    = "UNAUTHORIZED"
	codeUnsupported     = "UNSUPPORTED"
	codeNameInvalid     = "NAME_INVALID"
	codeNameUnknown     = "NAME_UNKNOWN"
	codeDigestInvalid   = "DIGEST_INVALID"
	codeManifestUnknown = "MANIFEST_UNKNOWN"
	codeBlobUnknown     = "BLOB_UNKNOWN"
	codeUnknown         = "UNKNOWN"
)

// repositoryPattern is the grammar of repository names in the OCI distribution specification.
var repositoryPattern = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

// registry serves the store as a read-only registry.
type registry struct {
	store *Store
	token string
}

// Registry serves the store's images to engines: the pull part of the OCI distribution API, read-only. Every request
// needs the token, as the password of any user (Basic) or as Bearer; an empty token lets nobody in. Repository names
// must be well-formed and mean nothing for digests: a blob is the same in all. A tag is looked up as the image named
// "<repository>:<tag>", then, for "latest", as "<repository>", then as any reference that Resolve knows. Artifacts are
// found by the referrers endpoint and by the tags of ArtifactTag. A damaged blob is as good as none: it is read before
// it is sent, so that an engine is told at once instead of trying again and again.
func (s *Store) Registry(token string) http.Handler { return registry{store: s, token: token} }

func (g registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	if !g.allowed(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="release"`)
		refuse(w, http.StatusUnauthorized, codeUnauthorized, "the token of this installation is needed")
		return
	}
	rest, ok := strings.CutPrefix(r.URL.Path+"/", "/v2/")
	rest = strings.TrimSuffix(rest, "/")
	switch {
	case !ok:
		refuse(w, http.StatusNotFound, codeNameUnknown, "only /v2/ is here")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, codeUnsupported, "this registry is read-only")
	case rest == "":
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("{}"))
	default:
		g.serve(w, r, rest)
	}
}

// serve answers <repository>/manifests/<reference>, <repository>/blobs/<digest> and <repository>/referrers/<digest>.
func (g registry) serve(w http.ResponseWriter, r *http.Request, rest string) {
	parts := strings.Split(rest, "/")
	if len(parts) < 3 {
		refuse(w, http.StatusNotFound, codeNameUnknown, "want <repository>/manifests/<reference> or <repository>/blobs/<digest>")
		return
	}
	repository, kind, ref := strings.Join(parts[:len(parts)-2], "/"), parts[len(parts)-2], parts[len(parts)-1]
	if len(repository) > 255 || !repositoryPattern.MatchString(repository) {
		refuse(w, http.StatusBadRequest, codeNameInvalid, "the repository name is malformed")
		return
	}
	switch kind {
	case "manifests":
		g.manifest(w, r, repository, ref)
	case "blobs":
		g.blob(w, r, ref)
	case "referrers":
		g.referrers(w, r, ref)
	default:
		refuse(w, http.StatusNotFound, codeUnsupported, "only manifests, blobs and referrers are here")
	}
}

// allowed compares the token in constant time.
func (g registry) allowed(r *http.Request) bool {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if _, password, basic := r.BasicAuth(); basic {
		given, ok = password, true
	}
	return ok && g.token != "" && subtle.ConstantTimeCompare([]byte(given), []byte(g.token)) == 1
}

func (g registry) manifest(w http.ResponseWriter, r *http.Request, repository, ref string) {
	d, err := g.find(repository, ref)
	if err != nil {
		g.fail(w, err, codeManifestUnknown)
		return
	}
	m, raw, err := g.store.readManifest(d)
	if err != nil {
		g.fail(w, err, codeManifestUnknown)
		return
	}
	w.Header().Set("Content-Type", m.MediaType)
	w.Header().Set("Docker-Content-Digest", string(d))
	w.Header().Set("Etag", `"`+string(d)+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(raw))
}

// find resolves a digest or a tag.
func (g registry) find(repository, ref string) (Digest, error) {
	if strings.Contains(ref, ":") {
		return ParseDigest(ref)
	}
	if d, ok, err := g.store.artifactByTag(ref); ok || err != nil {
		return d, err
	}
	d, err := g.store.Resolve(repository + ":" + ref)
	if fault.Is(err, fault.NotFound) && ref == "latest" {
		d, err = g.store.Resolve(repository)
	}
	if fault.Is(err, fault.NotFound) {
		d, err = g.store.Resolve(ref)
	}
	return d, err
}

func (g registry) blob(w http.ResponseWriter, r *http.Request, ref string) {
	d, err := ParseDigest(ref)
	if err != nil {
		g.fail(w, err, codeBlobUnknown)
		return
	}
	f, err := g.store.OpenBlob(d)
	if err != nil {
		g.fail(w, err, codeBlobUnknown)
		return
	}
	defer f.Close()
	if r.Method == http.MethodGet && r.Header.Get("Range") == "" { // who asks for the rest of a blob checks the whole
		if err := g.store.CheckBlob(r.Context(), Descriptor{Digest: d, Size: -1}); err != nil {
			g.fail(w, err, codeBlobUnknown)
			return
		}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", string(d))
	w.Header().Set("Etag", `"`+string(d)+`"`)
	http.ServeContent(w, r, "", time.Time{}, f)
}

// referrers answers with the index of an image's artifacts; an image without any has an empty one.
func (g registry) referrers(w http.ResponseWriter, r *http.Request, ref string) {
	subject, err := ParseDigest(ref)
	if err != nil {
		g.fail(w, err, codeDigestInvalid)
		return
	}
	index, err := g.store.readReferrers(subject)
	if err != nil {
		g.fail(w, err, codeUnknown)
		return
	}
	if want := r.URL.Query().Get("artifactType"); want != "" {
		index.Manifests = slices.DeleteFunc(index.Manifests, func(d ocispec.Descriptor) bool { return d.ArtifactType != want })
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	body, err := json.Marshal(index)
	if err != nil {
		g.fail(w, err, codeUnknown)
		return
	}
	w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// fail answers with the status that fits the error; unknown is the code for what is not there.
func (g registry) fail(w http.ResponseWriter, err error, unknown string) {
	switch {
	case fault.Is(err, fault.NotFound) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrDamaged):
		refuse(w, http.StatusNotFound, unknown, err.Error())
	case fault.Is(err, fault.Invalid):
		refuse(w, http.StatusBadRequest, codeDigestInvalid, err.Error())
	default:
		refuse(w, http.StatusInternalServerError, codeUnknown, err.Error())
	}
}

// refusal is the error body of the specification.
type refusal struct {
	Errors []refusalError `json:"errors"`
}

type refusalError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	body, err := json.Marshal(refusal{Errors: []refusalError{{Code: code, Message: message}}})
	if err != nil {
		status, body = http.StatusInternalServerError, nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
