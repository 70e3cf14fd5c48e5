package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

// CheckFiles looks at the files that the route's TLS names: that they are there, are PEM, and that the key is the
// certificate's. Load does not: who only asks for the status needs none of them.
func (a *App) CheckFiles() fault.List {
	t := a.Route.TLS
	if t == nil {
		return nil
	}
	c := &tlsFiles{app: a}
	cert := c.read("cert", t.Cert, "CERTIFICATE")
	key := c.read("key", t.Key, "PRIVATE KEY")
	if cert != nil && key != nil {
		c.pair(cert, key)
	}
	c.authorities("client_ca", t.ClientCA)
	if t.ACME != nil {
		c.authorities("acme", t.ACME.RootCA, "root_ca")
	}
	return c.errs
}

type tlsFiles struct {
	app  *App
	errs fault.List
}

func (c *tlsFiles) fail(path []any, format string, args ...any) *fault.Error {
	name := "route.tls"
	for _, p := range path {
		name += fmt.Sprintf(".%v", p)
	}
	e := c.app.At(append([]any{"route", "tls"}, path...)...).Errorf("%s: %s", name, fmt.Sprintf(format, args...))
	c.errs = append(c.errs, e)
	return e
}

// read gives a file that has a PEM block whose type ends so; nil when there is none, which is reported.
func (c *tlsFiles) read(key, path, kind string, more ...any) []byte {
	if path == "" {
		return nil
	}
	at := append([]any{key}, more...)
	data, err := readKey(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		_ = c.fail(at, "there is no file %s", path).WithHint("paths are relative to %s", FileName)
		return nil
	case err != nil:
		c.fail(at, "%v", err)
		return nil
	}
	var have []string
	for rest := data; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if strings.HasSuffix(b.Type, kind) {
			return data
		}
		have = append(have, b.Type)
	}
	if len(have) == 0 {
		c.fail(at, "%s is no PEM file, or a truncated one", path)
		return nil
	}
	c.fail(at, "%s holds a %s, not a %s", path, strings.Join(have, " and a "), kind)
	return nil
}

// pair checks that certificate and key belong together.
func (c *tlsFiles) pair(cert, key []byte) {
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		why := strings.TrimPrefix(err.Error(), "tls: ")
		_ = c.fail([]any{"key"}, "%s and %s do not go together: %s", c.app.Route.TLS.Cert, c.app.Route.TLS.Key, why).
			WithHint("the certificate's own comes first in its file, then those of the authorities above it")
	}
}

func (c *tlsFiles) authorities(key, path string, more ...any) {
	data := c.read(key, path, "CERTIFICATE", more...)
	if data != nil && !x509.NewCertPool().AppendCertsFromPEM(data) {
		c.fail(append([]any{key}, more...), "%s holds no certificate that can be read", path)
	}
}
