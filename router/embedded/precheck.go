package embedded

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

var _ router.Prechecker = (*Client)(nil)

// Precheck implements router.Prechecker. The router runs as the user who asks, so what can be listened on and read here can
// be there.
func (c *Client) Precheck(ctx context.Context, r router.Route) error {
	if err := loadFiles(&r); err != nil {
		return err
	}
	seen, err := c.Observe(ctx)
	if err != nil {
		return nil //nolint:nilerr // nobody knows which addresses are its own
	}
	own := map[string]bool{}
	for _, edge := range seen.Edges {
		for _, l := range edge.Listeners {
			if _, port, err := net.SplitHostPort(l.Listen); err == nil && l.Error == "" {
				own[port] = true
			}
		}
	}
	addresses := []string{r.Listen}
	if r.TLS != nil && r.TLS.Redirect != "" {
		addresses = append(addresses, r.TLS.Redirect)
	}
	for _, address := range addresses {
		if _, port, err := net.SplitHostPort(address); err != nil || own[port] {
			continue // a listener of ours may serve it, or give way to it
		}
		l, err := listenTCP(address)
		if err != nil {
			return listenFault(&r, address, err)
		}
		_ = l.Close()
	}
	return nil
}

// loadFiles reads what the route's TLS is from.
func loadFiles(r *router.Route) error {
	if r.TLS == nil {
		return nil
	}
	if r.TLS.Cert != "" {
		if _, err := tls.LoadX509KeyPair(r.TLS.Cert, r.TLS.Key); err != nil {
			return fault.New(fault.Invalid, "route %q: certificate %s with key %s: %w", r.Name, r.TLS.Cert, r.TLS.Key, err).
				WithHint("release validate says what is wrong with the files; the agent's user must be able to read them")
		}
	}
	if r.TLS.ClientCA == "" {
		return nil
	}
	data, err := os.ReadFile(r.TLS.ClientCA)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(data) {
		return fault.New(fault.Invalid, "route %q: client_ca %s has no certificate in PEM", r.Name, r.TLS.ClientCA)
	}
	if err != nil {
		return fault.New(fault.Invalid, "route %q: client_ca: %w", r.Name, err)
	}
	return nil
}
