package signature

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

// PEM types of the keys.
const (
	privateType = "PRIVATE KEY"
	publicType  = "PUBLIC KEY"
)

// PrivateKey signs.
type PrivateKey struct {
	Public  PublicKey
	Warning string // what is unwise about the key's file; "" for nothing
	signer  crypto.Signer
}

// PublicKey checks signatures.
type PublicKey struct {
	Name string // what to call it in messages: a file's name, else its ID
	key  crypto.PublicKey
	der  []byte
}

// Generate makes an ed25519 key and gives both halves as PEM.
func Generate() (private, public []byte, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	pubDER, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: privateType, Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: publicType, Bytes: pubDER}), nil
}

// maxKeyFile is far above the size of any key.
const maxKeyFile = 64 << 10

// LoadPrivate reads a private key from a file. One that others than its owner and group may read, or others than its owner
// may write, is fault.Denied; one that the group may read comes with a Warning.
func LoadPrivate(path string) (*PrivateKey, error) {
	f, err := openKey(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	data, err := readKey(f, path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o037 != 0 && !isPublic(data) {
		return nil, fault.New(fault.Denied, "read signing key %s: its mode %04o lets others at it", path, mode).
			WithHint("chmod 600 %s", path)
	}
	k, err := ParsePrivate(path, data)
	if err == nil && info.Mode().Perm()&0o040 != 0 {
		k.Warning = fmt.Sprintf("the signing key %s can be read by its group; chmod 600 keeps it to you", path)
	}
	return k, err
}

func openKey(path string) (*os.File, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "read key: %w", err).WithHint("make a pair with: release images keygen")
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fault.New(fault.Denied, "read key: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	return f, nil
}

func readKey(f *os.File, path string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fault.New(fault.Invalid, "read key %s: %w", path, err)
	}
	if len(data) > maxKeyFile {
		return nil, fault.New(fault.Invalid, "read key %s: it has more than %d bytes, so it is no key", path, maxKeyFile)
	}
	return data, nil
}

// ParsePrivate reads a private key out of PEM text; name is for messages.
func ParsePrivate(name string, text []byte) (*PrivateKey, error) {
	der, err := block(name, text, privateType)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fault.New(fault.Invalid, "read key %s: %w", name, err)
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, unsupported(name, parsed)
	}
	public, err := newPublic(name, signer.Public())
	if err != nil {
		return nil, err
	}
	return &PrivateKey{signer: signer, Public: public}, nil
}

// LoadPublic reads a public key from a file.
func LoadPublic(path string) (PublicKey, error) {
	f, err := openKey(path)
	if err != nil {
		return PublicKey{}, err
	}
	defer f.Close()
	data, err := readKey(f, path)
	if err != nil {
		return PublicKey{}, err
	}
	return ParsePublic(path, data)
}

// ParsePublic reads a public key out of PEM text; name is for messages.
func ParsePublic(name string, text []byte) (PublicKey, error) {
	der, err := block(name, text, publicType)
	if err != nil {
		return PublicKey{}, err
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return PublicKey{}, fault.New(fault.Invalid, "read key %s: %w", name, err)
	}
	return newPublic(name, parsed)
}

func isPublic(text []byte) bool {
	b, _ := pem.Decode(text)
	return b != nil && b.Type == publicType
}

// block finds the one PEM block that must be there, and says what else it found.
func block(name string, text []byte, want string) ([]byte, error) {
	b, rest := pem.Decode(text)
	switch {
	case b == nil:
		return nil, fault.New(fault.Invalid, "read key %s: it is no PEM file, or a truncated one", name).
			WithHint("want a file that begins with -----BEGIN %s----- and ends with -----END %s-----", want, want)
	case b.Type == want && len(strings.TrimSpace(string(rest))) > 0:
		return nil, fault.New(fault.Invalid, "read key %s: more follows after the key", name).WithHint("one key a file")
	case b.Type == want:
		return b.Bytes, nil
	case b.Type == privateType && want == publicType:
		return nil, fault.New(fault.Invalid, "read key %s: it is a private key, a public one is wanted", name).
			WithHint("name the .pub file beside it, and keep this one secret")
	case b.Type == publicType:
		return nil, fault.New(fault.Invalid, "read key %s: it is a public key, a private one is wanted", name).
			WithHint("name the file without .pub that was made with it; release images keygen makes a pair")
	case strings.HasPrefix(b.Type, "ENCRYPTED"):
		return nil, fault.New(fault.Unsupported, "read key %s: password-protected keys are not supported", name).
			WithHint("make a pair with: release images keygen")
	}
	return nil, fault.New(fault.Invalid, "read key %s: it holds a %s, not a %s", name, b.Type, want).
		WithHint("make a pair with: release images keygen")
}

func newPublic(name string, key crypto.PublicKey) (PublicKey, error) {
	switch k := key.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return PublicKey{}, unsupported(name, key)
		}
	default:
		return PublicKey{}, unsupported(name, key)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return PublicKey{}, fault.New(fault.Invalid, "read key %s: %w", name, err)
	}
	return PublicKey{Name: name, key: key, der: der}, nil
}

func unsupported(name string, key any) error {
	kind := strings.TrimPrefix(fmt.Sprintf("%T", key), "*")
	return fault.New(fault.Unsupported, "read key %s: keys of kind %s are not supported, only ed25519 and ECDSA P-256", name, kind).
		WithHint("make a pair with: release images keygen")
}

// ID names the key: SHA-256 over its PKIX form, as "sha256:" and hexadecimal digits.
func (k PublicKey) ID() string {
	sum := sha256.Sum256(k.der)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// PEM is the key as text.
func (k PublicKey) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: publicType, Bytes: k.der})
}

// verify reports whether sig is this key's signature of message.
func (k PublicKey) verify(message, sig []byte) bool {
	switch key := k.key.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(key, message, sig)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(message)
		return ecdsa.VerifyASN1(key, sum[:], sig)
	}
	return false
}

// sign gives the signature of message; the same message has the same signature.
func (k *PrivateKey) sign(message []byte) ([]byte, error) {
	var sig []byte
	var err error
	switch k.signer.(type) {
	case ed25519.PrivateKey:
		sig, err = k.signer.Sign(nil, message, crypto.Hash(0))
	default:
		sum := sha256.Sum256(message)
		sig, err = k.signer.Sign(nil, sum[:], crypto.SHA256) // without a random source: RFC 6979
	}
	if err != nil {
		return nil, fmt.Errorf("sign with %s: %w", k.Public.Name, err)
	}
	return sig, nil
}
