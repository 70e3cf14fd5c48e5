package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
)

// pairOf is a certificate and its key, in PEM.
func pairOf(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "shop.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func TestCheckFiles(t *testing.T) {
	dir := t.TempDir()
	cert, key := pairOf(t)
	other, _ := pairOf(t)
	for name, data := range map[string][]byte{
		"cert.pem": cert, "key.pem": key, "other.pem": other, "text.pem": []byte("hello"), "torn.pem": cert[:100],
		"both.pem": append(append([]byte{}, cert...), key...), "bad.pem": []byte("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for tls, want := range map[string]string{
		"{cert: cert.pem, key: key.pem}":                        "",
		"{cert: both.pem, key: both.pem, client_ca: other.pem}": "",
		"{cert: none.pem, key: key.pem}":                        "5:15: route.tls.cert: there is no file DIR/none.pem",
		"{cert: text.pem, key: torn.pem}":                       "5:15: route.tls.cert: DIR/text.pem is no PEM file, or a truncated one\n5:30: route.tls.key: DIR/torn.pem is no PEM file, or a truncated one",
		"{cert: key.pem, key: cert.pem}":                        "5:15: route.tls.cert: DIR/key.pem holds a PRIVATE KEY, not a CERTIFICATE\n5:29: route.tls.key: DIR/cert.pem holds a CERTIFICATE, not a PRIVATE KEY",
		"{cert: other.pem, key: key.pem}":                       "5:31: route.tls.key: DIR/other.pem and DIR/key.pem do not go together: private key does not match public key",
		"{cert: cert.pem, key: key.pem, client_ca: bad.pem}":    "5:50: route.tls.client_ca: DIR/bad.pem holds no certificate that can be read",
		"{acme: {email: a@b.example, root_ca: key.pem}}":        "5:45: route.tls.acme.root_ca: DIR/key.pem holds a PRIVATE KEY, not a CERTIFICATE",
	} {
		path := filepath.Join(dir, "release.yaml")
		text := "app: shop\nroute:\n  listen: \":443\"\n  hosts: [shop.example]\n  tls: " + tls + "\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		app, err := config.Load(path, "")
		if err != nil {
			t.Fatalf("%s: %v", tls, err)
		}
		got := ""
		if err := app.CheckFiles().Err(); err != nil {
			got = strings.ReplaceAll(strings.ReplaceAll(err.Error(), path+":", ""), dir, "DIR")
		}
		if got != want {
			t.Errorf("%s:\n%s\nwant\n%s", tls, got, want)
		}
	}
}
