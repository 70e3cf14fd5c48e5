package embedded

import (
	"net"
	"strings"

	"github.com/bootandshoot/release/router/embedded/certs"
	"github.com/bootandshoot/release/router/embedded/http1"
)

// redirected answers a plain request whose route is HTTPS, at the address that the route names for it.
func (x *exchange) redirected() bool {
	if !x.route.redirects {
		return false
	}
	if strings.HasPrefix(x.urlPath, certs.ChallengePrefix) {
		if proof, ok := x.e.certs.HTTPChallenge(x.ctx, x.host, x.urlPath); ok {
			x.front.reply(x, 200, proof)
			return true
		}
	}
	target := "https://" + x.host
	if _, port, err := net.SplitHostPort(x.route.route.Listen); err == nil && port != "443" {
		target = "https://" + net.JoinHostPort(x.host, port)
	}
	target = string(x.req.AppendTarget([]byte(target)))
	x.front.reply(x, 308, "this is served by HTTPS", http1.Field{Name: []byte("Location"), Value: []byte(target)})
	return true
}
