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
	if x.host == "" {
		x.front.reply(x, 400, "this is served by HTTPS, and the request has no host to say where")
		return true
	}
	host := x.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if _, port, err := net.SplitHostPort(x.route.route.Listen); err == nil && port != "443" {
		host = net.JoinHostPort(x.host, port)
	}
	target := "https://" + host
	if x.req.Form == http1.Asterisk {
		target += "/"
	} else {
		target = string(x.req.AppendTarget([]byte(target)))
	}
	x.front.reply(x, 308, "this is served by HTTPS", http1.Field{Name: []byte("Location"), Value: []byte(target)})
	return true
}
