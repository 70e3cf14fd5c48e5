package dockerapi

import (
	"os"
	"path/filepath"

	"github.com/docker/docker/client"

	"github.com/bootandshoot/release/internal/fault"
)

// NewClient makes a client that agrees with the engine on the API's version. It does not connect yet.
func NewClient(opts ...client.Opt) (*client.Client, error) {
	return client.NewClientWithOpts(append(opts, client.WithAPIVersionNegotiation(), client.WithUserAgent("release"))...)
}

// ByTLS connects to host by TCP with the certificates of a folder for both sides: whoever reaches an engine without them is root there.
// certs "" is DOCKER_CERT_PATH; without that either, the error says that engine has none, with the hint.
func ByTLS(engine, host, certs, hint string) ([]client.Opt, error) {
	if certs == "" {
		certs = os.Getenv(client.EnvOverrideCertPath)
	}
	if certs == "" {
		return nil, fault.New(fault.Invalid, "connect to %s: there are no certificates for it, and without TLS everybody on the network would be root there", engine).
			WithHint("%s", hint)
	}
	file := func(name string) string { return filepath.Join(certs, name) }
	return []client.Opt{client.WithHost(host), client.WithTLSClientConfig(file("ca.pem"), file("cert.pem"), file("key.pem"))}, nil
}
