package config

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// Require is what an image must show before its nodes boot, and again before they get traffic.
type Require struct {
	SignedBy []string `yaml:"signed_by,omitempty" json:"signed_by,omitempty" doc:"Public keys (PEM files, relative to this file, or the PEM text itself): the image must be signed by one of them."`
}

// require puts the keys themselves in the place of their files, so that who checks needs no file of the caller's.
func (c *checker) require(r *Require, dir string) {
	if len(r.SignedBy) == 0 {
		r.SignedBy = nil // an environment that asks for none is one without the key
	}
	for i, entry := range r.SignedBy {
		text := entry
		if !strings.Contains(entry, "-----BEGIN ") {
			data, err := readKey(absolute(dir, entry))
			switch {
			case entry == "" || errors.Is(err, fs.ErrNotExist):
				c.fail(c.at("require", "signed_by", i), "require.signed_by[%d]: there is no key file %q", i, entry).
					WithHint("make a pair with: release images keygen")
				continue
			case err != nil:
				c.fail(c.at("require", "signed_by", i), "require.signed_by[%d]: %v", i, err)
				continue
			}
			text = string(data)
		}
		key, problem := publicKey(text)
		if problem != "" {
			c.fail(c.at("require", "signed_by", i), "require.signed_by[%d]: %s %s", i, keyName(entry), problem).
				WithHint("want the public half of a pair that release images keygen makes, or a cosign.pub")
			continue
		}
		if slices.Contains(r.SignedBy[:i], key) {
			c.fail(c.at("require", "signed_by", i), "require.signed_by[%d]: %s is given twice", i, keyName(entry))
		}
		r.SignedBy[i] = key
	}
}

// maxKey is far above the size of any key, in bytes.
const maxKey = 64 << 10

func readKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKey+1))
	if err == nil && len(data) > maxKey {
		err = fmt.Errorf("%s has more than %d bytes, so it is no key", path, maxKey)
	}
	return data, err
}

// keyName does not show a text: it may be a private key, written there by mistake.
func keyName(entry string) string {
	if strings.Contains(entry, "-----BEGIN ") {
		return "the key"
	}
	return entry
}

// publicKey gives a key in canonical form, or what is wrong with it.
func publicKey(text string) (key, problem string) {
	b, _ := pem.Decode([]byte(text))
	switch {
	case b == nil:
		return "", "is no PEM file, or a truncated one"
	case strings.HasSuffix(b.Type, "PRIVATE KEY"):
		return "", "is a private key, not a public one"
	case b.Type != "PUBLIC KEY":
		return "", "holds a " + b.Type + ", not a PUBLIC KEY"
	}
	parsed, err := x509.ParsePKIXPublicKey(b.Bytes)
	if err != nil {
		return "", "is no public key"
	}
	if e, ok := parsed.(*ecdsa.PublicKey); ok && e.Curve == elliptic.P256() {
		return string(pem.EncodeToMemory(&pem.Block{Type: b.Type, Bytes: b.Bytes})), ""
	}
	if _, ok := parsed.(ed25519.PublicKey); !ok {
		return "", "is neither an ed25519 nor an ECDSA P-256 key"
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: b.Type, Bytes: b.Bytes})), ""
}
