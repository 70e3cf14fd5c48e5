package images

import (
	"net/http"

	"github.com/bootandshoot/release/internal/fault"
)

// maxRedirects is how often a registry may send a request elsewhere; net/http's own number, which go-containerregistry drops
// together with its check.
const maxRedirects = 10

// boundedRedirects ends requests that a registry sends in circles.
type boundedRedirects struct{ next http.RoundTripper }

func (b boundedRedirects) RoundTrip(req *http.Request) (*http.Response, error) {
	n := 0
	for from := req.Response; from != nil && from.Request != nil; from = from.Request.Response {
		if n++; n > maxRedirects {
			return nil, fault.New(fault.Unavailable, "registry %s redirects without end", req.URL.Host).
				WithHint("check the address; a proxy or login page may answer instead of the registry")
		}
	}
	return b.next.RoundTrip(req)
}
