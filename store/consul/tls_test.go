package consul

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

	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store"
	"github.com/bootandshoot/release/test/tools/consultest"
)

// authority signs certificates into a folder.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.issue(name, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// issue writes NAME.pem and NAME.key; the first one is the authority's own.
func (a *authority) issue(name string, c *x509.Certificate) {
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
		if err := os.WriteFile(a.file(file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
}

// TestTLS: Consul asks for a certificate and has one, which settings and Consul's own variables name alike.
func TestTLS(t *testing.T) {
	ours, other := newAuthority(t, "ca"), newAuthority(t, "other")
	ours.issue("server", &x509.Certificate{DNSNames: []string{"consul.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}})
	ours.issue("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	c := consultest.Start(t, consultest.Options{Config: fmt.Sprintf(`ports { https = 8501 } tls { https { ca_file = %q cert_file = %q key_file = %q verify_incoming = true } }`,
		ours.file("ca.pem"), ours.file("server.pem"), ours.file("server.key"))})
	address := c.Servers[0].Host + ":8501"
	good := consulapi.Settings{Address: address, CA: ours.file("ca.pem"), Cert: ours.file("client.pem"), Key: ours.file("client.key"), ServerName: "consul.test"}
	use := func(settings consulapi.Settings) error {
		s, err := Open(t.Context(), Options{Settings: settings, Prefix: "tls/"})
		if err != nil {
			return err
		}
		_, err = s.Commit(t.Context(), store.Write{Key: "a", Value: []byte("x"), Any: true})
		_ = s.Close()
		return err
	}
	if err := use(good); err != nil {
		t.Errorf("with everything: %v", err)
	}
	stranger, wrongName, plain := good, good, consulapi.Settings{Address: address}
	stranger.CA, wrongName.ServerName = other.file("other.pem"), "elsewhere.test"
	for name, settings := range map[string]consulapi.Settings{"another CA": stranger, "another name": wrongName} {
		if err := use(settings); !fault.Is(err, fault.Denied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := use(plain); !fault.Is(err, fault.Invalid) {
		t.Errorf("without TLS: %v", err)
	}
	t.Setenv("CONSUL_HTTP_ADDR", "https://"+address)
	t.Setenv("CONSUL_CACERT", good.CA)
	t.Setenv("CONSUL_CLIENT_CERT", good.Cert)
	t.Setenv("CONSUL_CLIENT_KEY", good.Key)
	t.Setenv("CONSUL_TLS_SERVER_NAME", good.ServerName)
	if err := use(consulapi.Settings{}); err != nil {
		t.Errorf("by variables: %v", err)
	}
}
