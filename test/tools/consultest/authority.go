package consultest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority signs certificates into a folder.
type Authority struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority, whose own certificate is NAME.pem.
func NewAuthority(t testing.TB, name string) *Authority {
	a := &Authority{t: t, dir: t.TempDir()}
	a.Issue(name, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// File is the path of a file that Issue wrote.
func (a *Authority) File(name string) string { return filepath.Join(a.dir, name) }

// Issue writes NAME.pem and NAME.key for an hour; the first one is the authority's own.
func (a *Authority) Issue(name string, c *x509.Certificate) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if a.cert == nil {
		a.cert, a.key = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(a.File(file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
}

// Secure is configuration of members that speak HTTPS at port 8501, beside HTTP for the helper, with a certificate for the name
// consul.test, and ask clients for one; and the settings files of a client: CA, certificate and key.
func (a *Authority) Secure() (config, ca, cert, key string) {
	a.t.Helper()
	a.Issue("server", &x509.Certificate{DNSNames: []string{"consul.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}})
	a.Issue("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	config = fmt.Sprintf("ports { https = 8501 }\ntls { https { ca_file = %q cert_file = %q key_file = %q verify_incoming = true } }\n",
		a.File(a.cert.Subject.CommonName+".pem"), a.File("server.pem"), a.File("server.key"))
	return config, a.File(a.cert.Subject.CommonName + ".pem"), a.File("client.pem"), a.File("client.key")
}
