package docker

import (
	"net/http"
	"path"
	"strings"

	"github.com/bootandshoot/release/images"
)

func registryOf(s *images.Store, token string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, p, _ := r.BasicAuth(); p != token {
			w.Header().Set("WWW-Authenticate", `Basic realm="release"`)
			w.WriteHeader(401)
			return
		}
		if r.URL.Path == "/v2/" {
			return
		}
		d := images.Digest(path.Base(r.URL.Path))
		f, err := s.OpenBlob(d)
		if err != nil {
			w.WriteHeader(404)
			return
		}
		defer f.Close()
		st, _ := f.Stat()
		if strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		}
		w.Header().Set("Docker-Content-Digest", string(d))
		http.ServeContent(w, r, "", st.ModTime(), f)
	})
}
